# SPDX-License-Identifier: Apache-2.0
"""Pausing either side of the daemon, resuming, and draining."""

import json
import threading

import pytest

import processes
import wire
from fakes import fake_pixels, held
from samples import latent

Z = latent(seed=1)


def submit(producer, key="k", z=Z):
    return producer.submit(key, z.data, **z.fields, output="pixels")


def check(result, z=Z, **fields):
    result.expect("RESULT", state="done", code="ok", **fields)
    n, _, height, width = z.fields["shape"]
    pixels = fake_pixels(z.data, n, height * 8, width * 8)
    assert result.body == pixels.tobytes()


def report(daemon):
    return json.loads(wire.report(daemon.url))


@pytest.fixture
def gate(stack):
    """An event that opens at the end, so that no fake waits for ever."""
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


# ---- pause, resume, drain ----


def test_pause_out_starts_nothing_new(
    start_fake, start_daemon, connect, latentctl, gate
):
    fake = start_fake(held(gate))
    daemon = start_daemon(fake.section(parallel=2))
    producer = connect(daemon)
    submit(producer, "first")
    fake.wait_requests(1)
    done = latentctl(daemon, "pause", "out", "--json", check=0)
    assert json.loads(done.stdout) == {"in": False, "out": True}
    submit(producer, "second")
    gate.set()
    # What was in flight goes on.
    check(producer.take("first"))
    why = json.loads(producer.ask("WHY", {"key": "second"}).body)
    assert why["state"] == "queued" and "paused" in why["why"]
    producer.collect(0).expect("EMPTY", pending=1)
    assert len(fake.requests) == 1
    text = latentctl(daemon, "status", check=0).stdout
    assert b"paused: out" in text
    latentctl(daemon, "resume", "out", check=0)
    check(producer.take("second"))
    producer.thank()


def test_pause_in_takes_no_jobs_and_goes_on_with_the_others(
    start_fake, start_daemon, connect, latentctl, gate
):
    fake = start_fake(held(gate))
    daemon = start_daemon(fake.section())
    producer = connect(daemon)
    submit(producer, "first")
    latentctl(daemon, "pause", "in", check=0)
    producer.try_submit("second", Z.data, **Z.fields).expect(
        "BUSY", reason="paused"
    )
    # The one that is there is still the same job.
    submit(producer, "first")
    gate.set()
    check(producer.take("first"))
    producer.thank()
    latentctl(daemon, "resume", "both", check=0)
    submit(producer, "second")
    check(producer.take("second"))
    producer.thank()


def test_drain_tells_its_progress_and_ends_the_daemon(
    start_fake, start_daemon, connect, stack, gate
):
    fake = start_fake(held(gate))
    daemon = start_daemon({**fake.section(), "daemon": {"drain_s": 600}})
    producer = connect(daemon)
    submit(producer)
    fake.wait_requests(1)
    drain = processes.Process(
        [processes.program("latentctl"), "drain", "--json"],
        env=daemon.env())
    stack.callback(drain.kill)
    drain.wait_line(r'"jobs":1,"results":0', "stdout")
    now = report(daemon)
    assert now["state"] == "draining"
    assert 0 < now["drain"]["left_ms"] <= 600000
    producer.try_submit("late", Z.data, **Z.fields).expect(
        "BUSY", reason="stopping"
    )
    reply = producer.ask("ADMIN", {"op": "kick", "all": 1})
    reply.expect("REJECTED", code="stopping")
    gate.set()
    drain.wait_line(r'"jobs":0,"results":1', "stdout")
    check(producer.take("k"))
    producer.thank()
    assert daemon.wait() == 0
    assert drain.wait() == 0


def test_drain_without_waiting(start_fake, start_daemon, latentctl):
    daemon = start_daemon({
        **start_fake().section(), "daemon": {"drain_s": 600}})
    latentctl(daemon, "drain", "--no-wait", check=0)
    assert daemon.wait() == 0
