# SPDX-License-Identifier: Apache-2.0
"""A deadline covers all waiting and all attempts, and nobody works for a job
that is late."""

import re
import threading

import pytest
import requests

import processes
from fakes import fake_pixels, held, never, slow, status
from files import write_latent
from order import wait_ended
from samples import latent

Z = latent(seed=1)
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def gate(stack):
    """An event that opens at the end, so that no fake waits for ever."""
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


def submit(producer, key, z=Z, **fields):
    return producer.submit(key, z.data, **z.fields, output="pixels", **fields)


def expected(z):
    n, _, height, width = z.fields["shape"]
    return fake_pixels(z.data, n, height * 8, width * 8).tobytes()


def test_jobs_that_are_late_in_the_queue_are_never_sent(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(held(gate))
    producer = connect(start_daemon(fake.section(parallel=1)))
    submit(producer, "active", deadline_ms=DAY_MS)
    fake.wait_requests(1)
    latents = {f"late{i}": latent(seed=10 + i) for i in range(10)}
    for key, z in latents.items():
        submit(producer, key, z, deadline_ms=20)
    submit(producer, "in-time", latent(seed=2), deadline_ms=DAY_MS)
    for key, result in producer.take_all(10).items():
        assert key in latents
        result.expect("RESULT", state="expired", code="expired")
        assert result.get("attempts", 0) == 0
        assert "deadline" in result["message"]
    gate.set()
    assert producer.take("active").body == expected(Z)
    assert producer.take("in-time").body == expected(latent(seed=2))
    producer.thank()
    assert [request.body for request in fake.requests] == [
        Z.data, latent(seed=2).data]


def test_under_overload_the_late_expire_and_the_others_are_right(
    start_fake, start_daemon, connect
):
    """40 jobs at an endpoint that takes 30 ms for each, with 300 ms for all:
    whichever make it, requests and results must agree."""
    fake = start_fake(then=slow(0.03))
    daemon = start_daemon(fake.section(parallel=1))
    producer = connect(daemon)
    latents = {f"k{i}": latent(seed=i) for i in range(40)}
    for key, z in latents.items():
        submit(producer, key, z, deadline_ms=300)
    submit(producer, "patient", latent(seed=99), priority="low")
    latents["patient"] = latent(seed=99)
    results = producer.take_all(41)
    sent = [request.body for request in fake.requests]
    for key, result in results.items():
        sent_n = sent.count(latents[key].data)
        if result["state"] == "done":
            assert result.body == expected(latents[key])
            assert sent_n == 1
        else:
            result.expect("RESULT", state="expired", code="expired")
            # A request may be broken off before it arrives.
            assert sent_n <= result.get("attempts", 0)
    states = [result["state"] for result in results.values()]
    assert results["patient"]["state"] == "done"
    assert states.count("expired") > 0
    assert {job.outcome for job in wait_ended(daemon, 41)} <= {
        "done", "expired"}


def test_the_endpoints_own_count_agrees(
    start_endpoint, start_daemon, connect
):
    endpoint = start_endpoint(service_ms=100, parallel=1)
    daemon = start_daemon(
        endpoint.sections(["sd-v1"], ["decode"], parallel=1))
    producer = connect(daemon)
    for i in range(30):
        submit(producer, f"k{i}", latent(seed=i), deadline_ms=700)
    results = producer.take_all(30).values()
    tried = [result for result in results if result.get("attempts", 0)]
    done = [result for result in results if result["state"] == "done"]
    assert {result["state"] for result in results} <= {"done", "expired"}
    assert len(done) <= 8
    assert all(result["attempts"] == 1 for result in tried)
    assert all(result.get("queued_ms", 0) <= 700 for result in tried)
    # What it received: nothing of jobs that expired in the queue.
    page = requests.get(f"{endpoint.url}/metrics", timeout=60).text
    received = int(re.search(r"request_bytes_total (\d+)", page)[1])
    assert len(done) <= received / len(Z.data) <= len(tried)


def test_a_deadline_breaks_off_the_request_in_flight(
    start_fake, start_daemon, connect
):
    fake = start_fake(never)
    producer = connect(start_daemon(fake.section(parallel=1)))
    submit(producer, "k", deadline_ms=100)
    [request] = fake.wait_requests(1)
    producer.take("k").expect(
        "RESULT", state="expired", code="expired", attempts=1)
    assert request.closed.wait(processes.PATIENCE_S)
    # Its slot is free again.
    submit(producer, "next")
    assert producer.take("next").body == expected(Z)
    producer.thank()


def test_a_deadline_ends_the_wait_for_another_try(
    start_fake, start_daemon, connect
):
    fake = start_fake(status(503, headers=[("Retry-After", "3600")]))
    producer = connect(start_daemon(fake.section()))
    submit(producer, "k", deadline_ms=500)
    producer.take("k").expect(
        "RESULT", state="expired", code="expired", attempts=1)
    producer.thank()
    assert len(fake.requests) == 1


def busy_lane(producer, fake, gate):
    """A pace that is known, half a second for each job, and 40 of them."""
    fake.steps += [slow(0.5), held(gate)]
    submit(producer, "known")
    producer.take("known").expect("RESULT", state="done")
    producer.thank()
    submit(producer, "active")
    fake.wait_requests(2)
    for i in range(40):
        submit(producer, f"queued{i}")


def test_what_would_be_late_is_refused_with_the_estimate(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake()
    producer = connect(start_daemon(fake.section(parallel=1)))
    busy_lane(producer, fake, gate)
    fields = {**Z.fields, "output": "pixels", "refuse_late": True}
    busy = producer.try_submit("late", Z.data, **fields, deadline_ms=1)
    busy.expect("BUSY", reason="deadline")
    assert busy["estimated_wait_ms"] >= 40 * 500
    assert busy["retry_after_ms"] >= busy["estimated_wait_ms"] - 1
    # The same without the wish waits, and expires.
    submit(producer, "late", deadline_ms=1)
    producer.take("late").expect("RESULT", state="expired")
    producer.try_submit("fine", Z.data, **fields, deadline_ms=DAY_MS) \
        .expect("ACCEPTED")
    gate.set()
    keys = set(producer.take_all(42))
    assert keys == {"active", "fine"} | {f"queued{i}" for i in range(40)}
    assert len(fake.requests) == 43


def test_latentctl_says_that_it_was_late(
    start_fake, start_daemon, latentctl, short_tmp
):
    fake = start_fake(then=never)
    daemon = start_daemon(fake.section(parallel=1))
    path = write_latent(short_tmp / "z.safetensors", Z)
    done = latentctl(
        daemon, "decode", path, "--model", "sd-v1", "--out", short_tmp,
        "--deadline", "0.3", check=4)
    assert b"z.safetensors: " in done.stderr and b"deadline" in done.stderr
    latentctl(daemon, "submit", path, "--model", "sd-v1", "--deadline", "0.3",
              check=0)
    done = latentctl(daemon, "collect", "--all", "--out", short_tmp, check=4)
    assert b"deadline" in done.stderr


def test_latentctl_says_that_it_would_be_late(
    start_fake, start_daemon, connect, latentctl, short_tmp, gate
):
    fake = start_fake()
    daemon = start_daemon(fake.section(parallel=1))
    busy_lane(connect(daemon), fake, gate)
    path = write_latent(short_tmp / "z.safetensors", Z)
    # Behind its own jobs; another producer would wait for one of them only.
    options = ("--model", "sd-v1", "--out", short_tmp, "--producer", "p")
    done = latentctl(
        daemon, "decode", path, *options, "--deadline", "15",
        "--refuse-late", check=5)
    assert b"expects the result in about" in done.stderr
    done = latentctl(
        daemon, "decode", path, *options, "--refuse-late", check=2)
    assert b"--refuse-late needs a --deadline" in done.stderr
    done = latentctl(
        daemon, "decode", path, *options, "--deadline", "0", check=2)
    assert b'--deadline is "0"' in done.stderr
