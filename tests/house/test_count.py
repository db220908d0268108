# SPDX-License-Identifier: Apache-2.0
"""The counting behind the last line of ./dev test."""

import subprocess
import sys
from xml.sax.saxutils import escape

import pytest

import count

SYNTHESIS = "[====] Synthesis: Tested: {} | Passing: {} | Failing: {}" \
    " | Crashing: {} \n"


@pytest.mark.parametrize("succeeded, output, expected", [
    (True, SYNTHESIS.format(6, 6, 0, 0), (6, 0, 0)),
    (False, SYNTHESIS.format(6, 4, 2, 1), (4, 2, 0)),
    # A sanitizer's report after the last test.
    (False, SYNTHESIS.format(6, 6, 0, 0), (6, 1, 0)),
    (True, SYNTHESIS.format(0, 0, 0, 0), (0, 1, 0)),
    (True, "..\n2 passed in 0.01s\n", (2, 0, 0)),
    (True, "=== 12 passed in 61.31s (0:01:01) ===\n", (12, 0, 0)),
    (False, "1 failed, 2 passed, 1 warning in 3.0s\n", (2, 1, 0)),
    (False, "2 errors in 0.12s\n", (0, 2, 0)),
    (True, "1 passed, 3 skipped in 0.12s\n", (1, 0, 3)),
    (True, "3 skipped in 0.12s\n", (0, 0, 3)),
    (False, "no tests ran in 0.00s\n", (0, 1, 0)),
    # Neither: one program, one test; a crash or a timeout.
    (True, "whatever\n", (1, 0, 0)),
    (False, "Segmentation fault\n", (0, 1, 0)),
    (False, "", (0, 1, 0)),
])
def test_counts_of_one_ctest_test(succeeded, output, expected):
    assert count.count_test(succeeded, output) == expected


def last_line(path):
    done = subprocess.run(
        [sys.executable, count.__file__, str(path)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return done.returncode, done.stdout.splitlines()[-1]


def junit(tmp_path, *cases):
    path = tmp_path / "tests.xml"
    path.write_text(
        "<testsuite>"
        + "".join(
            f'<testcase name="t" status="{status}">'
            f"<system-out>{escape(output)}</system-out></testcase>"
            for status, output in cases
        )
        + "</testsuite>"
    )
    return path


def test_all_passed_is_success(tmp_path):
    path = junit(tmp_path, ("run", SYNTHESIS.format(6, 6, 0, 0)), ("run", ""))
    assert last_line(path) == (0, "7 passed, 0 failed")


def test_a_failure_is_failure(tmp_path):
    path = junit(tmp_path, ("run", "3 passed in 0.1s\n"), ("fail", ""))
    assert last_line(path) == (1, "3 passed, 1 failed")


def test_a_program_that_was_not_built_is_failure(tmp_path):
    path = junit(tmp_path, ("run", ""), ("notrun", "Unable to find"))
    assert last_line(path) == (1, "1 passed, 1 failed")


def test_no_test_at_all_is_failure(tmp_path):
    assert last_line(junit(tmp_path)) == (1, "0 passed, 0 failed")


def test_a_missing_log_is_failure(tmp_path):
    assert last_line(tmp_path / "none.xml") == (1, "0 passed, 0 failed")
