# SPDX-License-Identifier: Apache-2.0
"""An endpoint that scales to zero: jobs wait while it starts, it is asked by
one request at a time, and no job loses a try by that."""

import threading

import pytest

import processes
from fakes import good, held, status
from fleet import (
    check_all, check_fake, endpoints, received_n, submit, wait_state,
    wait_why,
)
from samples import latent

ONE_TRY = {"queue": {"attempts": 1}}
COLD = status(503, "Service Unavailable")


def batch_of(producer, n, seed=0):
    latents = {f"k{seed + i}": latent(seed=seed + i) for i in range(n)}
    for key, z in latents.items():
        submit(producer, key, z)
    return latents


@pytest.fixture
def gate(stack):
    """An event that opens at the end, so that no fake waits for ever."""
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


@pytest.mark.parametrize("code", [502, 503])
def test_while_it_starts_it_is_warming_and_asked_by_one_request(
    start_fake, start_daemon, connect, gate, code
):
    def closed(exchange):
        gate.wait()
        status(code, "starting")(exchange)

    fake = start_fake(status(code, "starting"), closed)
    daemon = start_daemon({**fake.section(), **ONE_TRY})
    producer = connect(daemon)
    latents = batch_of(producer, 1)
    wait_state(daemon, "fake", "warming")
    latents.update(batch_of(producer, 10, 100))
    fake.wait_requests(2)
    found = endpoints(daemon)["fake"]
    assert (found["state"], found["in_flight"]) == ("warming", 1)
    assert len(fake.requests) == 2
    wait_why(
        producer, "k109", "an endpoint that is fit", "fake is warming",
        "starting")
    gate.set()
    results = producer.take_all(11)
    for key, result in results.items():
        check_fake(result, latents[key])
    # The second was asked for nothing, too; then all came at once.
    assert len(fake.requests) == 13
    at_s = [request.at_s for request in fake.requests]
    assert at_s[1] - at_s[0] >= 1 and at_s[2] - at_s[1] >= 1


def test_jobs_wait_for_a_cold_endpoint_and_end_right(
    start_endpoint, start_daemon, connect
):
    endpoint = start_endpoint("--cold-ms", "3500", control=True)
    daemon = start_daemon({
        **endpoint.sections(["sd-v1"], ["decode"]), **ONE_TRY})
    producer = connect(daemon)
    latents = batch_of(producer, 20)
    wait_state(daemon, "sd-v1-decode", "warming")
    check_all(producer.take_all(20), latents, endpoint.url)
    found = endpoints(daemon)["sd-v1-decode"]
    assert found["state"] == "fit"
    # The two that met it, and trials with growing pauses.
    assert 1 <= found["failed_total"] <= 6
    assert endpoint.control()["faults"]["cold"] == found["failed_total"]


def test_the_proxy_is_asked_to_hold_the_request_where_configured(
    start_endpoint, start_daemon, connect
):
    endpoint = start_endpoint("--cold-ms", "600000", control=True)
    daemon = start_daemon({
        **endpoint.sections(["sd-v1"], ["decode"], scale_up_s=500),
        **ONE_TRY,
    })
    producer = connect(daemon)
    z = latent(seed=1)
    # The first is refused with the time that is left, ten minutes.
    endpoint.control(retry_after=1)
    submit(producer, "k", z)
    processes.wait_until(
        lambda: endpoint.control()["in_flight"] == 1, "a request is held")
    assert endpoints(daemon)["sd-v1-decode"]["state"] == "warming"
    batch_of(producer, 3, 100)
    refused_n = endpoint.control()["faults"]["cold"]
    assert received_n(endpoint) == refused_n + 1
    endpoint.control(cold=0)
    result = producer.take("k")
    check_all({"k": result}, {"k": z}, endpoint.url)
    producer.take_all(3)


@pytest.mark.parametrize("keys, said", [
    ({}, [None, None, None]),
    ({"scale_up_s": 30}, [None, "30", None]),
])
def test_only_the_trial_of_one_that_starts_asks_to_be_held(
    start_fake, start_daemon, connect, keys, said
):
    fake = start_fake(COLD)
    daemon = start_daemon({**fake.section(**keys), **ONE_TRY})
    producer = connect(daemon)
    for i in range(2):
        latents = batch_of(producer, 1, i)
        check_fake(producer.take(f"k{i}"), latents[f"k{i}"])
    producer.thank()
    assert [
        request.headers["X-Scale-Up-Timeout"] for request in fake.requests
    ] == said


def test_when_it_is_up_its_load_begins_with_one_request(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(COLD, good, then=held(gate))
    daemon = start_daemon({**fake.section(), **ONE_TRY})
    producer = connect(daemon)
    latents = batch_of(producer, 1)
    wait_state(daemon, "fake", "warming")
    latents.update(batch_of(producer, 20, 100))
    fake.wait_requests(3)
    found = wait_state(daemon, "fake", "fit")
    assert (found["parallel"], found["in_flight"]) == (1, 1)
    assert len(fake.requests) == 3
    gate.set()
    for key, result in producer.take_all(21).items():
        check_fake(result, latents[key])


def test_jobs_go_to_the_other_while_one_starts(
    start_endpoint, start_daemon, connect
):
    cold = start_endpoint("--cold-ms", "600000")
    warm = start_endpoint(control=True)
    sections = {}
    for name, endpoint in (("cold", cold), ("warm", warm)):
        sections[f"endpoint {name}"] = {
            "model": "sd-v1", "task": "decode",
            "url": f"{endpoint.url}/sd-v1"}
    daemon = start_daemon({**sections, **ONE_TRY})
    producer = connect(daemon)
    latents = batch_of(producer, 40)
    check_all(producer.take_all(40), latents, warm.url)
    found = endpoints(daemon)["cold"]
    assert found["state"] == "warming"
    assert found["requests_total"] <= 4
