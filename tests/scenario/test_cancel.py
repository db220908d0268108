# SPDX-License-Identifier: Apache-2.0
"""CANCEL finds a job wherever it is, and leaves everything else alone."""

import json
import threading

import numpy
import pytest

import processes
import wire
from fakes import fake_pixels, good, held, never, status
from samples import latent

Z = latent(seed=1)


def submit(producer, key, z=Z):
    return producer.submit(key, z.data, **z.fields, output="pixels")


def check(result, z=Z):
    result.expect("RESULT", state="done", code="ok")
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


def test_cancel_takes_a_queued_job_out(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(held(gate))
    producer = connect(start_daemon(fake.section(parallel=1)))
    submit(producer, "active")
    fake.wait_requests(1)
    job = submit(producer, "queued", latent(seed=2))
    producer.cancel("queued").expect("CANCELLED", id=job, state="queued")
    result = producer.take("queued")
    result.expect("RESULT", state="cancelled", code="cancelled")
    assert result.body == b""
    gate.set()
    check(producer.take("active"))
    producer.thank()
    assert len(fake.requests) == 1


@pytest.mark.parametrize("by", ["key", "id"])
def test_cancel_breaks_off_the_request_in_flight(
    start_fake, start_daemon, connect, by
):
    fake = start_fake(never)
    producer = connect(start_daemon(fake.section(parallel=1)))
    job = submit(producer, "k")
    [request] = fake.wait_requests(1)
    producer.ask("CANCEL", {"key": "k"} if by == "key" else {"id": job}) \
        .expect("CANCELLED", id=job, state="active")
    assert request.closed.wait(processes.PATIENCE_S)
    producer.take("k").expect("RESULT", state="cancelled", code="cancelled")
    # Its slot is free again.
    submit(producer, "next")
    check(producer.take("next"))
    producer.thank()


def test_cancel_of_a_batch_ends_all_its_requests(
    start_fake, start_daemon, connect
):
    fake = start_fake(good, then=never)
    producer = connect(start_daemon(fake.section(parallel=3)))
    z = latent(batch=6)
    producer.submit("k", z.data, **z.fields, output="jpg")
    fake.wait_requests(4)
    producer.cancel("k").expect("CANCELLED", state="active")
    producer.take("k").expect("RESULT", state="cancelled")
    producer.thank()
    for request in fake.requests[1:]:
        assert request.closed.wait(processes.PATIENCE_S)
    assert len(fake.requests) == 4


def test_cancel_of_a_job_that_waits_for_its_retry(
    start_fake, start_daemon, connect
):
    fake = start_fake(status(503, headers=[("Retry-After", "3600")]))
    daemon = start_daemon(fake.section())
    producer = connect(daemon)
    submit(producer, "k")
    # The endpoint's wish is respected, up to ten minutes.
    daemon.wait_line("job=1 .*is tried again")
    why = json.loads(producer.ask("WHY", {"key": "k"}).body)
    [endpoint] = why["endpoints"]
    assert endpoint["state"] == "warming"
    assert 590000 < endpoint["pause_ms"] <= 600000
    producer.cancel("k").expect("CANCELLED", state="queued")
    producer.take("k").expect("RESULT", state="cancelled", attempts=1)
    producer.thank()


def test_a_second_cancel_is_told_that_the_job_has_ended(
    start_fake, start_daemon, connect
):
    fake = start_fake(never)
    producer = connect(start_daemon(fake.section(parallel=1)))
    job = submit(producer, "k")
    producer.cancel("k").expect("CANCELLED", id=job)
    producer.cancel("k").expect("REJECTED", code="ended")
    producer.take("k").expect("RESULT", state="cancelled")
    producer.thank()
    producer.cancel("k").expect("REJECTED", code="not_found")


def test_cancel_of_a_done_job_leaves_its_result(
    start_fake, start_daemon, connect
):
    producer = connect(start_daemon(start_fake().section()))
    submit(producer, "k")
    check(producer.collect())
    reply = producer.cancel("k").expect("REJECTED", code="ended")
    assert "done" in reply["message"]
    producer.reconnect()
    check(producer.take("k"))
    producer.thank()


@pytest.mark.parametrize("what, found", [
    ({"key": "nothing"}, 'key "nothing"'),
    ({"id": 77}, "77"),
    ({}, "key"),
])
def test_cancel_of_nothing_says_so(
    start_fake, start_daemon, connect, what, found
):
    producer = connect(start_daemon(start_fake().section()))
    reply = producer.ask("CANCEL", what).expect("REJECTED")
    assert reply["code"] == ("not_found" if what else "invalid")
    assert found in reply["message"]


def test_cancels_while_everything_runs_lose_nothing(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    daemon = start_daemon(fake.section(parallel=4))
    producer = connect(daemon)
    random = numpy.random.default_rng(7)
    latents = {f"k{i}": latent(seed=i) for i in range(100)}
    for i, (key, z) in enumerate(latents.items()):
        submit(producer, key, z)
        if random.random() < 0.5:
            reply = producer.cancel(f"k{random.integers(0, i + 1)}")
            assert reply.type == "CANCELLED" or reply["code"] == "ended"
    for key, result in producer.take_all(100).items():
        if result["state"] == "done":
            check(result, latents[key])
        else:
            result.expect("RESULT", state="cancelled", code="cancelled")
    whole = report(daemon)
    assert whole["queue"]["jobs"] == whole["queue"]["result_bytes"] == 0
    assert [e["in_flight"] for e in whole["endpoints"]] == [0]
    assert whole["jobs"]["done_total"] + whole["jobs"]["cancelled_total"] == 100
