# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run and count right; how fast anything is, is not asserted."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

import processes

BENCH = processes.SOURCE_DIR / "bench"
sys.path.insert(0, str(BENCH))

import instructions  # noqa: E402
import pictures  # noqa: E402
import png  # noqa: E402


def released():
    """Programs without sanitizers, which valgrind cannot run."""
    return Path(os.environ.get(
        "LATENTD_RELEASE_BIN_DIR", processes.SOURCE_DIR / "build/check/bin"))


def rows(table):
    """The cells of the lines of a Markdown table that hold figures."""
    lines = [line.strip("|").split("|") for line in table.splitlines()
             if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines
            if re.search(r"\d", line[1])]


@pytest.mark.parametrize("kind", png.KINDS)
def test_png_sums_up_what_it_measured(kind):
    def one(ms, size):
        return {"ms": ms, "bytes": size}

    results = [png.judge(f"{n}", kind, {
        "pixels_bytes": 300, "latentd": one([3, 1, 2], 90 + n),
        "libpng_default": one([80, 40, 60], 100),
        "libpng_tuned": one([4, 4, 4], 200)}) for n in (0, 40)]
    assert results[0]["latentd"] == {
        "ms": 2, "ms_least": 1, "ms_most": 3, "bytes": 90, "speed": 30,
        "size": 0.9}
    found = png.summary(results)
    assert list(found) == [kind]
    assert found[kind]["pictures"] == 2
    assert found[kind]["speed"] == pytest.approx(30)
    assert found[kind]["size_most"] == 1.3


def test_png_measures_every_picture_and_those_given(tmp_path):
    given = tmp_path / "mine.png"
    pictures.Image.fromarray(pictures.make(32)[0].pixels).save(given)
    done = processes.run(
        sys.executable, BENCH / "png.py", processes.bin_dir(), tmp_path,
        "--quick", given, check=0)
    found = rows(done.stdout.decode())
    names = [row[0] for row in found]
    assert names[-1] == "mine"
    for picture in pictures.make(32):
        assert names.count(picture.name) == 1
    # Nothing is kept of a quick run.
    assert list(tmp_path.iterdir()) == [given]


def test_png_refuses_an_option_that_it_does_not_have(tmp_path):
    done = processes.run(sys.executable, BENCH / "png.py",
                         processes.bin_dir(), tmp_path, "--slow", check=1)
    assert b"usage: png.py" in done.stderr


@pytest.mark.parametrize("step", instructions.STEPS)
def test_every_step_runs_clean_under_the_sanitizers(step):
    processes.run(processes.program("bench-steps"), step, 3, check=0)


def test_instructions_are_those_of_the_step_alone():
    few, many = (instructions.of_step(
        released() / "bench-steps", "encode-submit", times)
        for times in (10, 40))
    assert few > 100
    # What starting takes, some hundred thousand, is in neither.
    assert abs(few - many) <= few / 10


def test_instructions_says_how_they_differ_from_those_before(tmp_path):
    kept = tmp_path / "before.json"
    kept.write_text(json.dumps({"counts": {"encode SUBMIT": 1}}))
    done = processes.run(
        sys.executable, BENCH / "instructions.py", released(), tmp_path,
        "--quick", "--against", kept, check=0, timeout_s=300)
    found = {row[0]: row[1:] for row in rows(done.stdout.decode())}
    assert set(instructions.STEPS.values()) <= set(found)
    count = int(found["encode SUBMIT"][0].replace(",", ""))
    assert found["encode SUBMIT"][1] == f"+{100 * (count - 1):.1f} %"
    assert found["decode SUBMIT"][1] == "–"
    assert sum("PNG" in name for name in found) == len(instructions.PICTURES)
    assert list(tmp_path.iterdir()) == [kept]
