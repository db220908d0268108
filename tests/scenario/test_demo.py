# SPDX-License-Identifier: Apache-2.0
"""./dev demo: what it promises, and that nothing of it remains."""

import os
import re
import signal
from pathlib import Path

import numpy
import pytest
from PIL import Image

import processes

DEMO = processes.SOURCE_DIR / "examples/demo.sh"
JOBS = 4
DEMO_PATIENCE_S = 300


@pytest.fixture
def demo(short_tmp, stack):
    """Start the demo with its temporary files in short_tmp."""

    def start():
        temporary = short_tmp / "t"
        temporary.mkdir()
        return stack.enter_context(
            processes.Process(
                [DEMO, processes.bin_dir(), short_tmp / "out", JOBS],
                env={"TMPDIR": str(temporary)},
                new_session=True,
            )
        )

    return start


def session_members(session):
    """Command lines of the processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
            line = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, _, number = stat[stat.rindex(")") + 2:].split()[:4]
        if int(number) == session and state != "Z":
            found.append(line.replace(b"\0", b" ").decode())
    return found


def eighth(image):
    """The picture at an eighth of its size, as floats."""
    small = image.convert("RGB").reduce(8)
    return numpy.asarray(small, dtype=float)


def psnr_db(a, b):
    error = numpy.mean((a - b) ** 2)
    return 10 * numpy.log10(255**2 / max(error, 1e-9))


def test_pictures_of_all_models_come_back_recognisable(demo, short_tmp):
    process = demo()
    status = process.wait(DEMO_PATIENCE_S)
    assert status == 0, process.stdout() + process.stderr()
    process.check_clean()
    table = process.stdout()
    assert re.search(rf"latentd +{3 * JOBS} +[\d.]+ ms +\d+ ms", table)
    assert re.search(rf"without.* +{3 * JOBS} +[\d.]+ ms +\d+ ms", table)

    out = short_tmp / "out"
    for producer in (1, 2, 3):
        original = eighth(Image.open(out / f"original-{producer}.png"))
        for number, model in enumerate(("sd-v1", "sdxl", "flux"), 1):
            path = out / f"p{producer}-{number:02}-{model}.png"
            assert psnr_db(eighth(Image.open(path)), original) > 20, path
        video = out / f"p{producer}-04-hunyuan-video.mp4"
        assert video.read_bytes()[4:8] == b"ftyp"
    assert len(list(out.iterdir())) == 3 + 3 * JOBS


def test_nothing_runs_or_lies_about_after_the_demo(demo, short_tmp):
    process = demo()
    assert process.wait(DEMO_PATIENCE_S) == 0
    assert session_members(process.pid) == []
    assert os.listdir(short_tmp / "t") == []


def test_ctrl_c_in_the_middle_stops_everything(demo, short_tmp):
    process = demo()
    process.wait_line("three producers push", "stdout", DEMO_PATIENCE_S)
    process.signal_group(signal.SIGINT)
    assert process.wait(DEMO_PATIENCE_S) == 130
    assert session_members(process.pid) == []
    assert os.listdir(short_tmp / "t") == []
