# SPDX-License-Identifier: Apache-2.0
"""latentctl watch: the daemon's events as lines and as JSON."""

import itertools
import json
import os
import signal
import subprocess

import pytest

import processes
from fakes import status
from samples import latent

Z = latent(seed=1)

NUDGE = {"endpoint nudge": {
    "model": "hunyuan-video", "task": "decode", "url": "http://127.0.0.1:1/",
}}


def submit(producer, key="k", z=Z, **fields):
    return producer.submit(key, z.data, **z.fields, **fields)


@pytest.fixture
def watch(stack, connect):
    """watch(daemon, *args): latentctl watch, heard by the daemon.

    nng does not tell a subscriber when it is heard; jobs of somebody else's
    are made and cancelled until their events come."""

    def start(daemon, *args):
        process = processes.Process(
            [processes.program("latentctl"), "watch", *args],
            env=daemon.env())
        stack.callback(process.kill)
        process.wait_line("listening at")
        nudge = connect(daemon, "nudge")
        z = latent("hunyuan-video", 1, 1, frames=1)

        def heard():
            submit(nudge, z=z)
            nudge.cancel("k").expect("CANCELLED")
            nudge.take("k")
            nudge.thank()
            return process.stdout()

        processes.wait_until(heard, "an event comes")
        return process

    return start


def end(process):
    process.signal(signal.SIGINT)
    assert process.wait() == 130
    process.check_clean()


def test_every_change_of_a_state_is_a_line(
    start_fake, start_daemon, connect, watch
):
    fake = start_fake(status(500), then=status(400, "no"))
    daemon = start_daemon({
        **fake.section(), **NUDGE, "daemon": {"events": "state"},
    })
    process = watch(daemon)
    producer = connect(daemon, "artist")
    job = submit(producer)
    producer.take("k").expect("RESULT", state="failed")
    producer.thank()
    process.wait_line(f"job {job} failed: sd-v1 decode for artist", "stdout")
    states = [
        line.split()[3].rstrip(":")
        for line in process.stdout().splitlines() if "artist" in line
    ]
    assert states == ["queued", "active", "queued", "active", "failed"]
    producer.ask("ADMIN", {"op": "kick", "id": job}).expect("DONE")
    processes.wait_until(
        lambda: process.stdout().count(f"job {job} queued") == 3,
        "the kick is seen")
    end(process)


def test_json_lines_and_pictures(
    start_fake, start_daemon, connect, watch
):
    daemon = start_daemon({
        **start_fake().section(), **NUDGE, "daemon": {"events": "image"},
    })
    process = watch(daemon, "--json", "--events", f"{daemon.url}.events")
    producer = connect(daemon, "artist")
    job = submit(producer, output="jpg")
    [size] = producer.take("k")["part_bytes"]
    producer.thank()
    process.wait_line('"producer":"artist".*"state":"done"', "stdout")
    events = [json.loads(line) for line in process.stdout().splitlines()]
    mine = [e for e in events if e["producer"] == "artist"]
    assert [e["state"] for e in mine] == ["queued", "active", "done"]
    for event in mine:
        assert (event["id"], event["model"], event["task"]) == (
            job, "sd-v1", "decode")
        assert event["time"] > 1.7e9
    assert (mine[-1]["output"], mine[-1]["bytes"]) == ("jpg", size)
    assert "bytes" not in mine[0]
    end(process)


def test_a_daemon_without_events_is_told_apart(
    start_fake, start_daemon, latentctl
):
    daemon = start_daemon(start_fake().section())
    done = latentctl(daemon, "watch", check=1)
    assert b"sends no events" in done.stderr
    assert b"events = state" in done.stderr


def test_an_address_where_nobody_sends(
    start_fake, start_daemon, latentctl, short_tmp
):
    url = f"ipc://{short_tmp}/nobody"
    done = latentctl(None, "watch", "--events", url, check=3)
    assert url in done.stderr.decode()
    wrong = latentctl(None, "watch", "--events", "http://127.0.0.1", check=2)
    assert b"http://127.0.0.1" in wrong.stderr


def test_time_is_up(start_fake, start_daemon, latentctl):
    daemon = start_daemon({
        **start_fake().section(), "daemon": {"events": "state"},
    })
    latentctl(daemon, "watch", "--timeout", "0.5", check=4)


def test_it_ends_with_whoever_reads_it(
    start_fake, start_daemon, connect, stack
):
    """As in `latentctl watch | head -1`: no line, no harm."""
    daemon = start_daemon({
        **start_fake().section(), "daemon": {"events": "state"},
    })
    child = subprocess.Popen(
        [processes.program("latentctl"), "watch"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **daemon.env()},
    )
    stack.callback(child.stderr.close)
    stack.callback(child.wait)
    stack.callback(child.kill)
    assert b"listening at" in child.stderr.readline()
    child.stdout.close()
    producer = connect(daemon)
    keys = itertools.count()

    def ended():
        key = f"k{next(keys)}"
        submit(producer, key)
        producer.take(key)
        producer.thank()
        return child.poll() is not None

    processes.wait_until(ended, "it has noticed")
    assert child.returncode == -signal.SIGPIPE
