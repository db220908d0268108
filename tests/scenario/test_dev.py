# SPDX-License-Identifier: Apache-2.0
"""./dev: its arguments."""

import pytest

import processes

DEV = processes.SOURCE_DIR / "dev"


def test_help_names_every_command():
    done = processes.run(DEV, "help", check=0)
    for command in (b"deps", b"build", b"demo", b"test", b"package",
                    b"lint"):
        assert b"\n  " + command in done.stdout
    assert processes.run(DEV, check=0).stdout == done.stdout
    assert processes.run(DEV, "bench", "--help", check=0).stdout \
        == done.stdout


@pytest.mark.parametrize("arguments, sentence", [
    (["buidl"], b'no command "buidl"'),
    (["build", "fast"], b'no preset "fast"'),
    (["deps", "everything"], b'no group "everything"'),
    (["demo", "now"], b"demo takes no arguments"),
    (["package", "--chek"], b'no option "--chek"'),
    (["package", "--check", "now"], b'"now" is too much'),
    (["package", "--test", "sid"], b'no suite "sid"'),
    (["test", "--repeat"], b"--repeat needs a number"),
    (["test", "--repeat", "0"], b"--repeat needs a number"),
    (["test", "--repeat", "x"], b"--repeat needs a number"),
    (["test", "--kill"], b"--kill needs a number"),
    (["test", "--kill", "0"], b"--kill needs a number"),
    (["test", "--fast"], b'no option "--fast"'),
    (["bench", "nonsense"], b'no benchmark "nonsense"; there are peers '),
    (["bench", "--quick", "nonsense"], b'no benchmark "nonsense"'),
    (["bench", "--quick", "queue"], b"queue has no quick form"),
])
def test_a_wrong_argument_is_refused_before_anything_runs(arguments, sentence):
    done = processes.run(DEV, *arguments, check=1)
    assert sentence in done.stderr
    assert done.stdout == b""


def test_it_works_from_any_directory(tmp_path):
    processes.run(DEV, "help", cwd=tmp_path, check=0)
