# SPDX-License-Identifier: Apache-2.0
"""latentctl while jobs are pending: signals, time, terminals, submit and
collect, daemons that come and go."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading

import pytest

import processes
from fakes import good, held, never
from fakes import status as answer
from files import write_latent
from samples import latent, pixels_of

MODEL = ("--model", "sd-v1")


@pytest.fixture
def gate(stack):
    """An event that opens at the end, so that no fake waits for ever."""
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


@pytest.fixture
def start(start_fake, start_daemon):
    """start(*steps, then=good): a daemon with that fake behind it."""

    def call(*steps, **keys):
        fake = start_fake(*steps, **keys)
        sections = processes.endpoint_sections(
            fake.url, ["sd-v1"], ["decode"], parallel=2)
        daemon = start_daemon(sections)
        daemon.fake = fake
        return daemon

    return call


@pytest.fixture
def background(stack):
    """background(daemon, *args): latentctl without waiting for its end."""

    def call(daemon, *args):
        process = processes.Process(
            [processes.program("latentctl"), *args], env=daemon.env())
        stack.callback(process.kill)
        return process

    return call


def make_files(directory, n):
    return [
        write_latent(directory / f"z{i}.safetensors", latent(seed=i))
        for i in range(n)
    ]


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def report_of(latentctl, daemon):
    return json.loads(latentctl(daemon, "status", "--json", check=0).stdout)


def wait_jobs(latentctl, daemon, **counts):
    """Wait until the report's jobs have these counts."""
    return processes.wait_until(
        lambda: all(
            report_of(latentctl, daemon)["jobs"][key] == n
            for key, n in counts.items()
        ),
        f"jobs are {counts}",
    )


# ---- signals and time ----


@pytest.mark.parametrize("producer", [(), ("--producer", "me")])
def test_ctrl_c_cancels_what_is_pending(
        start, background, latentctl, tmp_path, producer):
    daemon = start(then=never)
    files = make_files(tmp_path, 5)
    process = background(daemon, "decode", *files, *MODEL, *producer,
                         "--out", tmp_path / "out")
    wait_jobs(latentctl, daemon, active=2, queued=3)
    process.signal(signal.SIGINT)
    assert process.wait() == 130
    process.check_clean()
    report = report_of(latentctl, daemon)
    assert report["jobs"]["cancelled_total"] == 5
    assert report["jobs"]["queued"] + report["jobs"]["active"] == 0
    assert report["jobs"]["kept"] == 0
    assert names(tmp_path / "out") == []


def test_two_signals_that_come_together_are_one(
        start, background, latentctl, tmp_path):
    """As timeout(1) sends them, to its child and to its child's group."""
    daemon = start(then=never)
    process = background(daemon, "decode", *make_files(tmp_path, 3), *MODEL,
                         "--out", tmp_path / "out")
    wait_jobs(latentctl, daemon, active=2, queued=1)
    # Between two that are sent to who runs, much time may pass here.
    process.signal(signal.SIGSTOP)
    process.signal(signal.SIGINT)
    process.signal(signal.SIGTERM)
    process.signal(signal.SIGCONT)
    assert process.wait() == 130
    report = report_of(latentctl, daemon)
    assert report["jobs"]["cancelled_total"] == 3
    assert report["jobs"]["kept"] == 0


def test_a_second_ctrl_c_ends_at_once(
        start, background, latentctl, tmp_path):
    daemon = start(then=never)
    process = background(daemon, "decode", *make_files(tmp_path, 1), *MODEL,
                         "--out", tmp_path / "out")
    wait_jobs(latentctl, daemon, active=1)
    # A daemon that does not answer keeps the first one busy.
    daemon.signal(signal.SIGSTOP)
    try:
        process.signal(signal.SIGINT)

        def it_ends():
            process.signal(signal.SIGTERM)
            return not process.running()

        processes.wait_until(it_ends, "a later signal ends it")
        assert process.wait() == 130
    finally:
        daemon.signal(signal.SIGCONT)
    assert names(tmp_path / "out") == []


def test_ctrl_c_while_reading_standard_input(start, stack):
    daemon = start()
    read_end, write_end = os.pipe()
    stack.callback(os.close, write_end)
    child = subprocess.Popen(
        [processes.program("latentctl"), "decode", "-", *MODEL,
         "--out", "-"],
        stdin=read_end, stdout=subprocess.DEVNULL,
        env={**os.environ, **daemon.env()})
    os.close(read_end)
    stack.callback(child.wait)
    stack.callback(child.kill)
    os.write(write_end, b"some")

    def it_waits():
        with open(f"/proc/{child.pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "S"

    processes.wait_until(it_waits, "latentctl waits for more")
    child.send_signal(signal.SIGINT)
    assert child.wait(processes.PATIENCE_S) in (-signal.SIGINT, 130)


def test_timeout_exits_with_4_and_cancels(start, latentctl, tmp_path):
    daemon = start(then=never)
    done = latentctl(daemon, "decode", *make_files(tmp_path, 3), *MODEL,
                     "--out", tmp_path / "out", "--timeout", "2", check=4)
    assert re.search(rb"out of time after 2.0 s with 3 of 3 not done",
                     done.stderr)
    assert names(tmp_path / "out") == []
    wait_jobs(latentctl, daemon, cancelled_total=3, kept=0)


# ---- progress ----


def run_on_terminal(argv, env):
    """Run with standard error on a terminal of 80 columns; (status, text)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=theirs,
        env={**os.environ, **env})
    os.close(theirs)
    text = b""
    while True:
        try:
            some = os.read(ours, 65536)
        except OSError:
            break
        if not some:
            break
        text += some
    os.close(ours)
    return process.wait(processes.PATIENCE_S), text.decode()


def test_a_terminal_gets_a_progress_line_that_fits(start, tmp_path):
    daemon = start()
    files = make_files(tmp_path, 3)
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    status, text = run_on_terminal(
        [processes.program("latentctl"), "decode", *map(str, files),
         str(tmp_path / "bad.safetensors"), *MODEL,
         "--out", str(tmp_path / "out")], daemon.env())
    assert status == 1
    # The last state stands; errors have lines of their own.
    last = [s for s in re.split(r"[\r\n]+", text) if s.strip()][-1]
    assert re.match(r"decode 3/4 done, 1 failed, [0-9.]+/s *$", last)
    for line in text.split("\n"):
        assert max(len(part) for part in line.split("\r")) < 80 or \
            "latentctl:" in line
    assert re.search(r"\rlatentctl: \S+bad.safetensors: ", text)
    status, text = run_on_terminal(
        [processes.program("latentctl"), "decode", str(files[0]), *MODEL,
         "--out", str(tmp_path / "q"), "--quiet"], daemon.env())
    assert (status, text) == (0, "")


def test_a_pipe_gets_none(start, latentctl, tmp_path):
    done = latentctl(start(), "decode", *make_files(tmp_path, 3), *MODEL,
                     "--out", tmp_path / "out", check=0)
    assert (done.stdout, done.stderr) == (b"", b"")


# ---- submit, collect, cancel ----


def submit(latentctl, daemon, files, *args):
    done = latentctl(daemon, "submit", *files, *MODEL, *args, check=0)
    lines = [s.split("\t") for s in done.stdout.decode().splitlines()]
    assert [path for _, path in lines] == [str(path) for path in files]
    return [key for key, _ in lines]


def test_a_script_submits_goes_on_and_collects(
        start, latentctl, gate, tmp_path):
    daemon = start(then=held(gate))
    keys = submit(latentctl, daemon, make_files(tmp_path, 5))
    assert all(re.fullmatch(rf"z{i}-[0-9a-f]{{10}}", key)
               for i, key in enumerate(keys))
    # Nothing is finished: collect says so by doing nothing.
    done = latentctl(daemon, "collect", "--out", tmp_path / "out", check=0)
    assert done.stdout == b""
    done = latentctl(daemon, "collect", "--out", tmp_path / "out",
                     "--wait", "0.5", check=4)
    assert b"with 5 jobs not collected" in done.stderr
    gate.set()
    done = latentctl(daemon, "collect", "--out", tmp_path / "out", "--all",
                     check=0)
    assert names(tmp_path / "out") == sorted(f"{key}.png" for key in keys)
    assert sorted(done.stdout.decode().split()) == sorted(
        f"{tmp_path}/out/{key}.png" for key in keys)
    for key in keys:
        pixels_of((tmp_path / "out" / f"{key}.png").read_bytes())
    report = report_of(latentctl, daemon)
    assert report["jobs"]["kept"] == 0
    assert report["producers"] == []


def test_collect_takes_what_is_finished_and_leaves_the_rest(
        start, latentctl, gate, tmp_path):
    daemon = start(good, good, then=held(gate))
    submit(latentctl, daemon, make_files(tmp_path, 4))
    wait_jobs(latentctl, daemon, kept=2, active=2)
    latentctl(daemon, "collect", "--out", tmp_path / "out", check=0)
    assert len(names(tmp_path / "out")) == 2
    wait_jobs(latentctl, daemon, kept=0, active=2)


def test_submit_of_many_files_needs_no_collect(start, latentctl, tmp_path):
    daemon = start()
    keys = submit(latentctl, daemon, make_files(tmp_path, 300))
    assert len(set(keys)) == 300
    latentctl(daemon, "collect", "--out", tmp_path / "out", "--all", check=0)
    assert len(names(tmp_path / "out")) == 300


def test_what_cannot_be_written_stays_with_the_daemon(
        start, latentctl, tmp_path):
    daemon = start()
    (key,) = submit(latentctl, daemon, make_files(tmp_path, 1))
    out = tmp_path / "out"
    out.mkdir()
    (out / f"{key}.png").write_text("mine")
    done = latentctl(daemon, "collect", "--out", out, "--all", check=1)
    assert b"the daemon keeps it" in done.stderr
    latentctl(daemon, "collect", "--out", out, "--force", "--all", check=0)
    pixels_of((out / f"{key}.png").read_bytes())


def test_failed_jobs_are_told_once(start, latentctl, tmp_path):
    daemon = start(then=answer(400, "no such thing"))
    (key,) = submit(latentctl, daemon, make_files(tmp_path, 1))
    done = latentctl(daemon, "collect", "--out", tmp_path, "--all", check=1)
    assert key in done.stderr.decode()
    assert "no such thing" in done.stderr.decode()
    latentctl(daemon, "collect", "--out", tmp_path, "--all", check=0)


def test_refused_files_have_no_key(start, latentctl, tmp_path):
    path = write_latent(tmp_path / "f.safetensors", latent("flux"))
    done = latentctl(start(), "submit", path, *MODEL, check=1)
    assert done.stdout == b""
    assert "f.safetensors" in done.stderr.decode()


def test_cancel_by_key(start, latentctl, gate, tmp_path):
    daemon = start(then=held(gate))
    keys = submit(latentctl, daemon, make_files(tmp_path, 4))
    latentctl(daemon, "cancel", keys[0], keys[3], check=0)
    wait_jobs(latentctl, daemon, cancelled_total=2)
    done = latentctl(daemon, "cancel", "nothing", check=1)
    assert "nothing" in done.stderr.decode()
    gate.set()
    done = latentctl(daemon, "collect", "--out", tmp_path / "out", "--all",
                     check=1)
    assert names(tmp_path / "out") == sorted(
        f"{key}.png" for key in keys[1:3])
    assert keys[0] in done.stderr.decode()


def test_producers_do_not_see_each_other(start, latentctl, tmp_path):
    daemon = start()
    submit(latentctl, daemon, make_files(tmp_path, 1), "--producer", "a")
    wait_jobs(latentctl, daemon, kept=1)
    latentctl(daemon, "collect", "--producer", "b", "--all",
              "--out", tmp_path / "b", check=0)
    assert names(tmp_path / "b") == []
    latentctl(daemon, "collect", "--producer", "a", "--all",
              "--out", tmp_path / "a", check=0)
    assert len(names(tmp_path / "a")) == 1


def test_a_secret_belongs_to_the_name(start, latentctl, tmp_path):
    daemon = start()
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "other").write_text("other\n")
    mine = ("--producer", "a", "--secret-file", tmp_path / "secret")
    submit(latentctl, daemon, make_files(tmp_path, 1), *mine)
    wait_jobs(latentctl, daemon, kept=1)
    latentctl(daemon, "collect", "--producer", "a", "--secret-file",
              tmp_path / "other", "--timeout", "1",
              "--out", tmp_path / "out")
    assert names(tmp_path / "out") == []
    latentctl(daemon, "collect", *mine, "--out", tmp_path / "out", check=0)
    assert len(names(tmp_path / "out")) == 1
    (tmp_path / "long").write_bytes(b"x" * 66)
    latentctl(daemon, "status", "--secret-file", tmp_path / "long", check=2)


def test_decode_under_a_name_leaves_earlier_jobs_alone(
        start, latentctl, tmp_path):
    daemon = start()
    files = make_files(tmp_path, 3)
    keys = submit(latentctl, daemon, files[:2], "--producer", "a")
    wait_jobs(latentctl, daemon, kept=2)
    latentctl(daemon, "decode", files[2], *MODEL, "--producer", "a",
              "--out", tmp_path / "now", check=0)
    assert names(tmp_path / "now") == ["z2.png"]
    latentctl(daemon, "collect", "--producer", "a", "--all",
              "--out", tmp_path / "later", check=0)
    assert names(tmp_path / "later") == sorted(f"{k}.png" for k in keys)


# ---- daemons that come and go ----


def test_jobs_survive_a_restart_of_the_daemon(
        start_fake, start_daemon, background, latentctl, gate, tmp_path):
    fake = start_fake(then=held(gate))
    sections = processes.endpoint_sections(
        fake.url, ["sd-v1"], ["decode"], parallel=2)
    first = start_daemon(sections)
    process = background(first, "decode", *make_files(tmp_path, 5), *MODEL,
                         "--out", tmp_path / "out")
    wait_jobs(latentctl, first, active=2, queued=3)
    first.kill()
    second = start_daemon(sections)
    gate.set()
    assert process.wait() == 0
    process.check_clean()
    assert names(tmp_path / "out") == [f"z{i}.png" for i in range(5)]
    assert report_of(latentctl, second)["jobs"]["done_total"] == 5
