# SPDX-License-Identifier: Apache-2.0
"""parallel = auto finds how many requests an endpoint can use, and follows it
when that changes."""

import pytest

from fleet import endpoints, submit
from samples import latent

ROUND_N = 150
ROUNDS = 6
Z = latent(height=2, width=2)


def limit_after(daemon, producer, number):
    """Do a round of jobs, many waiting; the limit at its end, under load."""
    for i in range(ROUND_N):
        submit(producer, f"r{number}-{i}", Z)
    for i in range(ROUND_N):
        if i == ROUND_N * 3 // 4:
            limit = endpoints(daemon)["e"]["parallel"]
        producer.take().expect("RESULT", state="done")
    producer.thank()
    return limit


def find(daemon, producer, k, numbers):
    """Rounds until the limit fits k; how it went."""
    limits = []
    for _ in range(ROUNDS):
        limits.append(limit_after(daemon, producer, next(numbers)))
        if k <= limits[-1] <= 2 * k + 3:
            return
    raise AssertionError(f"{k} at a time are served, found {limits}")


@pytest.mark.parametrize("ks", [
    (1,), (4,), (16,), (1, 4, 1), (4, 16, 4), (16, 1),
], ids=lambda ks: "-".join(map(str, ks)))
def test_the_limit_finds_and_follows_what_the_endpoint_serves(
    start_endpoint, start_daemon, connect, ks
):
    endpoint = start_endpoint(
        service_ms=20 if max(ks) < 16 else 60, parallel=ks[0], control=True)
    daemon = start_daemon({"endpoint e": {
        "model": "sd-v1", "task": "decode", "url": f"{endpoint.url}/sd-v1"}})
    producer = connect(daemon)
    numbers = iter(range(1000))
    for k in ks:
        endpoint.control(parallel=k)
        find(daemon, producer, k, numbers)


def test_a_large_picture_is_not_taken_for_overload(
    start_endpoint, start_daemon, connect
):
    """Time grows with the pixels; the limit stays where it was useful."""
    endpoint = start_endpoint(service_ms=20, parallel=4)
    daemon = start_daemon({"endpoint e": {
        "model": "sd-v1", "task": "decode", "url": f"{endpoint.url}/sd-v1"}})
    producer = connect(daemon)
    numbers = iter(range(1000))
    find(daemon, producer, 4, numbers)
    large = latent(height=128, width=128)
    for i in range(40):
        for k in range(3):
            submit(producer, f"s{i}-{k}", Z)
        if i % 5 == 0:
            submit(producer, f"l{i}", large)
    limits = []
    for _ in range(40 * 3 + 8):
        producer.take().expect("RESULT", state="done")
        limits.append(endpoints(daemon)["e"]["parallel"])
    producer.thank()
    assert sorted(limits)[len(limits) // 2] >= 2


def test_a_number_is_kept_to_whatever_happens(
    start_endpoint, start_daemon, connect
):
    endpoint = start_endpoint(
        "--fail-rate", "0.2:429", service_ms=5, parallel=2, control=True)
    daemon = start_daemon({"endpoint e": {
        "model": "sd-v1", "task": "decode", "url": f"{endpoint.url}/sd-v1",
        "parallel": 6}})
    producer = connect(daemon)
    limits = set()
    for i in range(40):
        submit(producer, f"k{i}", Z)
    for _ in range(40):
        producer.take().expect("RESULT", state="done")
        limits.add(endpoints(daemon)["e"]["parallel"])
    producer.thank()
    assert limits == {6}
