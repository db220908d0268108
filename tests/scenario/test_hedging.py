# SPDX-License-Identifier: Apache-2.0
"""A request that is late gets a second one elsewhere, where configured: the
first right reply counts, and there are never many."""

import threading

import pytest

import processes
from fakes import good, never, slow, stalled
from fleet import check_all, check_fake, endpoints, received_n, submit
from samples import latent

# What the daemon must have seen of a size before it calls anything late.
SAMPLES_N = 20
ALLOWANCE_N = 4


def pair(first, second, **keys):
    sections = {}
    for name, endpoint in (("first", first), ("second", second)):
        sections[f"endpoint {name}"] = {
            "model": "sd-v1", "task": "decode",
            "url": f"{endpoint.url}/sd-v1", **keys}
    return sections


def one_by_one(producer, n, seed=0):
    """n jobs, each when the one before has ended; latents and results."""
    latents, results = {}, {}
    for i in range(seed, seed + n):
        key = f"k{i}"
        latents[key] = latent(seed=i)
        submit(producer, key, latents[key])
        results[key] = producer.take(key)
    producer.thank()
    return latents, results


def test_late_requests_get_a_second_one_within_the_percentage(
    start_endpoint, start_daemon, connect
):
    staller = start_endpoint("--seed", "3", control=True)
    other = start_endpoint(control=True)
    daemon = start_daemon({
        **pair(staller, other, stall_s=20, think_s=20),
        "queue": {"hedge_percent": 20},
    })
    producer = connect(daemon)
    latents, results = one_by_one(producer, 40)
    staller.control(stall_rate=0.2)
    more = one_by_one(producer, 80, 1000)
    latents.update(more[0])
    results.update(more[1])
    check_all(results, latents, other.url)
    sent_n = received_n(staller) + received_n(other)
    told = staller.control()
    direct_n = len(latents)  # check_all's, at the other one
    extra_n = sent_n - direct_n - len(latents)
    assert told["faults"]["stall"] > 0
    assert 0 < extra_n <= 0.2 * len(latents) + ALLOWANCE_N
    # Those that stalled were broken off, not waited for.
    processes.wait_until(
        lambda: staller.control()["in_flight"] == 0, "the losers are gone")
    assert endpoints(daemon)["first"]["in_flight"] == 0
    # Each request there has a key, and a job's two have the same.
    assert told["idempotency_keys"]["none"] == 0
    assert told["idempotency_keys"]["repeated"] == 0


def test_the_loser_is_broken_off_and_has_the_same_key(
    start_fake, start_daemon, connect
):
    first, second = start_fake(), start_fake()
    daemon = start_daemon({
        **first.section("first"), **second.section("second"),
        "queue": {"hedge_percent": 20},
    })
    producer = connect(daemon)
    one_by_one(producer, 2 * SAMPLES_N)
    # The next request never ends, wherever it goes; the one beside it does.
    once = threading.Lock()

    def step(exchange):
        if once.acquire(blocking=False):
            stalled(exchange)
        else:
            good(exchange)

    first.then = second.then = step
    late = latent(seed=999)
    submit(producer, "late", late)
    # Others earn its second request, should the allowance be used up.
    for i in range(10000):
        submit(producer, f"o{i}", latent(seed=i))
        result = producer.take()
        if result["key"] == "late":
            break
    check_fake(result, late)
    producer.take().expect("RESULT", state="done")
    producer.thank()
    requests = [
        request for fake in (first, second) for request in fake.requests
        if request.body == late.data
    ]
    assert len(requests) == 2
    assert requests[0].headers["Idempotency-Key"] \
        == requests[1].headers["Idempotency-Key"]
    assert late.data in [r.body for r in first.requests]
    assert late.data in [r.body for r in second.requests]
    processes.wait_until(
        lambda: any(request.closed.is_set() for request in requests),
        "the loser is broken off")
    # Nothing was counted against the one that lost.
    found = endpoints(daemon)
    assert found["first"]["failed_total"] == 0
    assert found["second"]["failed_total"] == 0


@pytest.mark.parametrize("queue", [{}, {"queue": {"hedge_percent": 0}}])
def test_unless_configured_there_is_one_request_for_each_job(
    start_fake, start_daemon, connect, queue
):
    first, second = start_fake(), start_fake()
    daemon = start_daemon({
        **first.section("first"), **second.section("second"), **queue})
    producer = connect(daemon)
    one_by_one(producer, 2 * SAMPLES_N)
    first.then = second.then = slow(1)
    one_by_one(producer, 1, 1000)
    assert len(first.requests) + len(second.requests) == 2 * SAMPLES_N + 1


def test_with_one_endpoint_there_is_nowhere_to_go(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    daemon = start_daemon({
        **fake.section(parallel=4), "queue": {"hedge_percent": 20}})
    producer = connect(daemon)
    one_by_one(producer, 2 * SAMPLES_N)
    fake.then = slow(1)
    one_by_one(producer, 1, 1000)
    assert len(fake.requests) == 2 * SAMPLES_N + 1


def test_while_jobs_wait_no_second_request_is_made(
    start_fake, start_daemon, connect
):
    first, second = start_fake(), start_fake()
    daemon = start_daemon({
        **first.section("first", parallel=1),
        **second.section("second", parallel=1),
        "queue": {"hedge_percent": 20},
    })
    producer = connect(daemon)
    one_by_one(producer, 2 * SAMPLES_N)
    before_n = len(first.requests) + len(second.requests)
    first.then = never
    latents = {f"w{i}": latent(seed=i) for i in range(60)}
    for key, z in latents.items():
        submit(producer, key, z)
    # One hangs at the first; the second has the others to do before.
    results = {}
    while len(results) < 58:
        result = producer.take()
        results[result["key"]] = result
    keys = [r.headers["Idempotency-Key"] for r in second.requests]
    assert len(keys) == len(set(keys))
    # Then it is late, and has its turn there.
    while len(results) < 60:
        result = producer.take()
        results[result["key"]] = result
    producer.thank()
    for key, result in results.items():
        check_fake(result, latents[key])
    after_n = len(first.requests) + len(second.requests)
    # When nothing waits any more, a slow one of the rest may have its own.
    assert before_n + 61 <= after_n <= before_n + 64
