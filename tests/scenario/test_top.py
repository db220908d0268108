# SPDX-License-Identifier: Apache-2.0
"""latentctl top: on a terminal, without one, and as JSON."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest

import processes
from fakes import held, never, status
from samples import latent

Z = latent(seed=1)
SHOW, HIDE = b"\x1b[?1049h", b"\x1b[?1049l"


def submit(producer, key="k"):
    return producer.submit(key, Z.data, **Z.fields, output="pixels")


class Terminal:
    """A pty with a program on it, and what it has written."""

    def __init__(self, argv, env, columns=80, rows=24):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.child = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave,
            env={**os.environ, **env}, start_new_session=True,
        )
        self.output = b""

    def resize(self, columns, rows):
        fcntl.ioctl(
            self.master, termios.TIOCSWINSZ,
            struct.pack("HHHH", rows, columns, 0, 0),
        )

    def read(self, timeout_s):
        """Take what has come; False at the end of the time."""
        if not select.select([self.master], [], [], timeout_s)[0]:
            return False
        try:
            self.output += os.read(self.master, 65536)
        except OSError:
            return False
        return True

    def wait_for(self, condition, what):
        """Until condition(the picture's lines) is true; these lines."""
        deadline = time.monotonic() + processes.PATIENCE_S
        while True:
            lines = self.picture()
            if lines and condition(lines):
                return lines
            assert time.monotonic() < deadline, (
                f"waited in vain until {what}: {self.output!r}")
            self.read(0.2)

    def picture(self):
        """The lines of the latest whole picture."""
        whole = re.findall(rb"\x1b\[H(.*?)\x1b\[J", self.output, re.S)
        if not whole:
            return []
        text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", whole[-1])
        return [line.strip("\r") for line in text.decode().split("\n")]

    def press(self, keys):
        os.write(self.master, keys)

    def wait(self):
        """The exit status, everything read."""
        deadline = time.monotonic() + processes.PATIENCE_S
        while self.child.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            self.read(0.1)
        while self.read(0):
            pass
        return self.child.returncode

    def restored(self):
        """The terminal is as it was."""
        return (
            termios.tcgetattr(self.slave) == self.before
            and self.output.endswith(HIDE)
            and b"\x1b[?25h" in self.output
        )

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture
def gate(stack):
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


@pytest.fixture
def top(stack):
    """top(daemon, *args, columns=80, rows=24): latentctl top on a pty."""

    def start(daemon, *args, **size):
        terminal = Terminal(
            [processes.program("latentctl"), "top", *args], daemon.env(),
            **size)
        stack.callback(terminal.close)
        return terminal

    return start


@pytest.fixture
def busy(start_fake, start_daemon, connect, gate):
    """A daemon with one job active and two waiting."""
    fake = start_fake(status(400, "no luck"), then=held(gate))
    daemon = start_daemon(fake.section("gpu", parallel=1))
    producer = connect(daemon, "artist")
    submit(producer, "failed")
    producer.take("failed")
    producer.thank()
    for key in ("a", "b", "c"):
        submit(producer, key)
    fake.wait_requests(2)
    return daemon


def find(lines, start):
    [line] = [line for line in lines if line.startswith(start)]
    return line.split()


def test_it_shows_queue_endpoints_and_producers(busy, top, gate):
    terminal = top(busy)
    lines = terminal.wait_for(
        lambda lines: any("2 queued, 1 active" in s for s in lines),
        "the jobs are shown")
    assert SHOW in terminal.output
    assert lines[0].startswith("latentd 0.") and "running" in lines[0]
    assert "1 buried" in lines[1] and "1 failed" in lines[1]
    assert find(lines, "sd-v1")[:3] == ["sd-v1", "decode", "2"]
    assert find(lines, "gpu")[:4] == ["gpu", "sd-v1", "decode", "1/1"]
    assert any("no luck" in line for line in lines)
    assert find(lines, "artist")[2:] == ["2", "1", "0", "1"]
    assert max(map(len, lines)) <= 80 and len(lines) <= 24
    # It follows what happens.
    gate.set()
    lines = terminal.wait_for(
        lambda lines: any("0 queued, 0 active" in s for s in lines),
        "the jobs are done")
    assert find(lines, "artist")[2:] == ["0", "0", "3", "1"]
    assert find(lines, "gpu")[-2:] == ["3", "1"]
    terminal.press(b"q")
    assert terminal.wait() == 0
    assert terminal.restored()


def test_other_keys_do_nothing_and_are_not_echoed(busy, top):
    terminal = top(busy)
    terminal.wait_for(bool, "there is a picture")
    terminal.press(b"xyz\r\x1a")
    seen = len(terminal.output)
    terminal.wait_for(
        lambda lines: terminal.output.count(b"\x1b[H", seen) >= 1,
        "there is another picture")
    assert not re.search(rb"\x1b\[J[^\x1b]*xyz", terminal.output)
    terminal.press(b"Q")
    assert terminal.wait() == 0
    assert terminal.restored()


def test_ctrl_c_restores_the_terminal(busy, top):
    terminal = top(busy)
    terminal.wait_for(bool, "there is a picture")
    terminal.press(b"\x03")
    # A pty without a foreground group sends no signal by itself.
    if terminal.child.poll() is None:
        terminal.child.send_signal(signal.SIGINT)
    assert terminal.wait() == 130
    assert terminal.restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_restore_it_too(busy, top, number):
    terminal = top(busy)
    terminal.wait_for(bool, "there is a picture")
    terminal.child.send_signal(number)
    assert terminal.wait() == 130
    assert terminal.restored()


def test_it_follows_the_size_of_the_terminal(busy, top):
    terminal = top(busy, columns=40, rows=5)
    lines = terminal.wait_for(bool, "there is a picture")
    assert len(lines) == 5 and max(map(len, lines)) <= 40
    terminal.resize(120, 40)
    terminal.child.send_signal(signal.SIGWINCH)
    lines = terminal.wait_for(
        lambda lines: len(lines) > 10, "it has grown")
    assert find(lines, "artist")


def test_a_daemon_that_goes_away_and_comes_back(
    start_fake, start_daemon, top
):
    daemon = start_daemon(start_fake().section())
    terminal = top(daemon)
    terminal.wait_for(bool, "there is a picture")
    daemon.signal(signal.SIGSTOP)
    try:
        terminal.wait_for(
            lambda lines: lines[0].startswith("no answer to STATUS"),
            "the trouble is shown")
    finally:
        daemon.signal(signal.SIGCONT)
    terminal.wait_for(
        lambda lines: lines[0].startswith("latentd"), "it is over")
    terminal.press(b"q")
    assert terminal.wait() == 0


def test_without_a_terminal_it_prints_one_picture_after_the_other(
    busy, stack
):
    process = processes.Process(
        [processes.program("latentctl"), "top"], env=busy.env())
    stack.callback(process.kill)
    process.wait_line(r"(?s)2 queued, 1 active.*2 queued, 1 active", "stdout")
    process.signal(signal.SIGINT)
    assert process.wait() == 130
    process.check_clean()
    assert "\x1b" not in process.stdout()
    assert max(map(len, process.stdout().splitlines())) <= 80


def test_once(busy, latentctl):
    text = latentctl(busy, "top", "--once", check=0).stdout.decode()
    assert text.count("ENDPOINT") == 1 and "\x1b" not in text
    assert "2 queued, 1 active" in text
    assert max(map(len, text.splitlines())) <= 80


def test_json_is_the_report(busy, latentctl):
    done = latentctl(busy, "top", "--json", check=0)
    whole = json.loads(done.stdout)
    assert whole["jobs"]["queued"] == 2
    [lane] = whole["lanes"]
    assert (lane["model"], lane["task"], lane["waiting"], lane["active"]) == (
        "sd-v1", "decode", 2, 1)
    assert lane["done_total"] == 0 and lane["done_per_s"] >= 0


def test_the_report_tells_pace_and_wait(start_fake, start_daemon, connect,
                                        latentctl, gate):
    fake = start_fake(then=never)
    fake.steps = [held(gate)] * 4
    gate.set()
    daemon = start_daemon(fake.section(parallel=1))
    producer = connect(daemon)
    for i in range(4):
        submit(producer, f"k{i}")
    producer.take_all(4)
    for i in range(3):
        submit(producer, f"w{i}")
    fake.wait_requests(5)
    [lane] = json.loads(
        latentctl(daemon, "top", "--json", check=0).stdout)["lanes"]
    assert lane["waiting"] == 2 and lane["done_total"] == 4
    assert lane["done_per_s"] > 0 and lane["wait_ms"] > 0


def test_time_is_up(busy, latentctl):
    done = latentctl(busy, "top", "--timeout", "0.5", check=4)
    assert b"ENDPOINT" in done.stdout
