# SPDX-License-Identifier: Apache-2.0
"""Several endpoints of a model, and what becomes of jobs when some are dead,
busy or lie: every job ends in its pixels, and the sick ones are spared."""

import fakes
import processes
import pytest
from fakes import good, held, status
from fleet import (
    check_all, check_fake, endpoints, received_n, submit, wait_state,
    wait_why, why,
)
from samples import latent

ONE_TRY = {"queue": {"attempts": 1}}


def one(endpoint, name, **keys):
    """The section of one endpoint for sd-v1."""
    return {f"endpoint {name}": {
        "model": "sd-v1", "task": "decode", "url": f"{endpoint.url}/sd-v1",
        **keys,
    }}


def batch_of(producer, n, seed=0, **fields):
    """Submit n jobs; their latents by key."""
    latents = {f"k{seed + i}": latent(seed=seed + i) for i in range(n)}
    for key, z in latents.items():
        submit(producer, key, z, **fields)
    return latents


# ---- nobody there ----


def test_jobs_of_a_dead_endpoint_end_right_when_it_is_there(
    start_daemon, connect, latentctl, stack
):
    port = processes.free_port()
    daemon = start_daemon({
        "endpoint late": {"model": "sd-v1", "task": "decode",
                          "url": f"http://127.0.0.1:{port}/sd-v1"},
        **ONE_TRY,
    })
    producer = connect(daemon, "latentctl")
    latents = batch_of(producer, 8)
    wait_state(daemon, "late", "out")
    said = wait_why(
        producer, "k0", "waits for an endpoint that is fit", "late is out")
    assert "tried again in" in said
    text = latentctl(daemon, "why", "k0", check=0).stdout.decode()
    assert "late is out" in " ".join(text.split())
    producer.collect(0).expect("EMPTY", pending=8)
    endpoint = stack.enter_context(
        processes.Endpoint(port=port, control=True))
    check_all(producer.take_all(8), latents, endpoint.url)
    assert endpoints(daemon)["late"]["state"] == "fit"
    assert endpoint.control()["idempotency_keys"]["distinct"] == 8


def test_one_of_two_dies_under_load_and_the_other_does_all(
    start_endpoint, start_daemon, connect
):
    dying = start_endpoint(service_ms=20, parallel=4)
    other = start_endpoint(service_ms=20, parallel=4)
    daemon = start_daemon({
        **one(dying, "dying", parallel=4), **one(other, "other", parallel=4),
    })
    producer = connect(daemon)
    latents = batch_of(producer, 160)
    results = {}
    while len(results) < 20:
        result = producer.take()
        results[result["key"]] = result
    assert dying.kill() < 0
    before_n = endpoints(daemon)["dying"]["requests_total"]
    results.update(producer.take_all(140))
    check_all(results, latents, other.url)
    found = endpoints(daemon)
    assert found["dying"]["state"] == "out"
    assert found["dying"]["in_flight"] == 0
    # Those at the moment of its death, and single trials since.
    assert found["dying"]["requests_total"] - before_n <= 10
    assert found["other"]["requests_total"] > 80


# ---- turned away ----


def test_retry_after_of_429_is_respected_to_the_second(
    start_fake, start_daemon, connect
):
    busy = status(429, "too many", [("Retry-After", "2")])
    fake = start_fake(busy, good, busy)
    daemon = start_daemon({**fake.section(parallel=1), **ONE_TRY})
    producer = connect(daemon)
    latents = batch_of(producer, 4)
    fake.wait_requests(1)
    said = wait_why(producer, "k3", "asked for patience", "too many")
    assert "endpoint fake" in said
    for key, result in producer.take_all(4).items():
        check_fake(result, latents[key])
    at_s = [request.at_s for request in fake.requests]
    assert len(at_s) == 6
    assert at_s[1] - at_s[0] >= 2 and at_s[3] - at_s[2] >= 2
    assert endpoints(daemon)["fake"]["state"] == "fit"


def test_while_one_is_busy_the_other_is_used(
    start_fake, start_daemon, connect
):
    busy = start_fake(
        then=status(429, "too many", [("Retry-After", "600")]))
    fake = start_fake()
    daemon = start_daemon({
        **busy.section("busy"), **fake.section(), **ONE_TRY})
    producer = connect(daemon)
    latents = batch_of(producer, 40)
    for key, result in producer.take_all(40).items():
        check_fake(result, latents[key])
    assert 1 <= len(busy.requests) <= 2


# ---- choice ----


def test_a_backup_serves_only_while_the_other_is_out(
    start_endpoint, start_daemon, connect
):
    first = start_endpoint(control=True)
    spare = start_endpoint(control=True)
    daemon = start_daemon({
        **one(first, "first"), **one(spare, "spare", backup="yes")})
    producer = connect(daemon)
    latents = batch_of(producer, 30)
    check_all(producer.take_all(30), latents, first.url)
    assert received_n(spare) == 0
    first.control(down=1)
    latents = batch_of(producer, 30, 100)
    check_all(producer.take_all(30), latents, spare.url)
    helped_n = endpoints(daemon)["spare"]["requests_total"]
    assert helped_n >= 25
    # Trials are jobs, so it takes some until it is seen to be back.
    first.control(down=0)
    seed = 200

    def back():
        nonlocal seed
        seed += 1
        batch_of(producer, 1, seed)
        producer.take().expect("RESULT", state="done")
        return endpoints(daemon)["first"]["state"] == "fit"

    processes.wait_until(back, "the first one is fit again")
    producer.thank()
    helped_n = endpoints(daemon)["spare"]["requests_total"]
    latents = batch_of(producer, 30, 10000)
    check_all(producer.take_all(30), latents, first.url)
    assert endpoints(daemon)["spare"]["requests_total"] == helped_n


def test_weights_are_about_kept(start_endpoint, start_daemon, connect):
    heavy = start_endpoint(service_ms=10, parallel=8, control=True)
    light = start_endpoint(service_ms=10, parallel=8, control=True)
    daemon = start_daemon({
        **one(heavy, "heavy", parallel=8, weight=4),
        **one(light, "light", parallel=8),
    })
    producer = connect(daemon)
    batch_of(producer, 5)
    # Never so many that both are full.
    for i in range(5, 200):
        producer.take().expect("RESULT", state="done")
        batch_of(producer, 1, i)
    producer.take_all(5)
    counts = received_n(heavy), received_n(light)
    assert sum(counts) == 200
    assert 2 * counts[1] < counts[0] < 12 * counts[1]


def test_each_try_of_a_job_has_its_key_and_goes_elsewhere_first(
    start_fake, start_daemon, connect
):
    # One of three is bad, which is not enough to take it out.
    sick = start_fake(*[status(500, "no"), good, good] * 100)
    well = start_fake()
    daemon = start_daemon({**sick.section("sick"), **well.section("well")})
    producer = connect(daemon)
    for i in range(60):
        latents = batch_of(producer, 1, i)
        check_fake(producer.take(f"k{i}"), latents[f"k{i}"])
    producer.thank()

    def by_key(fake):
        found = {}
        for request in fake.requests:
            found.setdefault(
                request.headers["Idempotency-Key"], []).append(request.body)
        return found

    first, second = by_key(sick), by_key(well)
    both = first.keys() & second.keys()
    assert both and len(first.keys() | second.keys()) == 60
    # Nobody saw a job twice, and who saw it saw it under the same key.
    assert all(len(bodies) == 1 for bodies in first.values())
    assert all(len(bodies) == 1 for bodies in second.values())
    assert all(first[key] == second[key] for key in both)
    found = endpoints(daemon)["sick"]
    assert len(both) == found["failed_total"]


# ---- lies ----


@pytest.mark.parametrize("lie, output", [
    (fakes.truncated, "pixels"),
    (fakes.short, "pixels"),
    (fakes.wrong_type, "pixels"),
    (fakes.wrong_size, "pixels"),
    (fakes.wrong_dtype, "pixels"),
    (fakes.reset, "pixels"),
    (fakes.garbage_file, "jpg"),
    (fakes.cut_file, "jpg"),
    (status(400, "CUDA out of memory. Tried to allocate"), "pixels"),
    (status(500, "no"), "pixels"),
], ids=lambda value: getattr(value, "__name__", None))
def test_who_lies_is_taken_out_and_the_jobs_end_right_elsewhere(
    start_fake, start_daemon, connect, lie, output
):
    liar, fake = start_fake(then=lie), start_fake()
    daemon = start_daemon({**liar.section("liar"), **fake.section("honest")})
    producer = connect(daemon)
    seen = []

    def out():
        z = latent(seed=len(seen))
        seen.append(z)
        submit(producer, f"k{len(seen)}", z, output)
        result = producer.take().expect("RESULT", state="done")
        assert result["endpoint"] == "honest"
        if output == "pixels":
            check_fake(result, z)
        return endpoints(daemon)["liar"]["state"] == "out"

    processes.wait_until(out, "the liar is out")
    producer.thank()
    found = endpoints(daemon)["liar"]
    assert found["done_total"] == 0
    assert 3 <= found["failed_total"] == len(liar.requests)
    assert found["last_error"].startswith("endpoint liar")
    assert endpoints(daemon)["honest"]["state"] == "fit"


def test_a_job_that_all_endpoints_fail_ends_when_they_are_well(
    start_fake, start_daemon, connect
):
    liars = [start_fake(*[status(500, "no")] * 40) for _ in range(3)]
    sections = {}
    for i, liar in enumerate(liars):
        sections.update(liar.section(f"liar{i}", parallel=1))
    daemon = start_daemon({**sections, "queue": {"attempts": 1000}})
    producer = connect(daemon)
    submit(producer, "k", latent())
    processes.wait_until(
        lambda: "out" in [e["state"] for e in endpoints(daemon).values()],
        "one is out",
    )
    for liar in liars:
        liar.steps.clear()
    check_fake(producer.take("k"), latent())
    producer.thank()


# ---- nobody to be had ----


def test_a_job_whose_endpoints_are_all_stopped_ends_with_its_deadline(
    start_fake, start_daemon, connect
):
    fake = start_fake(then=status(404, "no such model"))
    daemon = start_daemon({**fake.section(), **ONE_TRY})
    producer = connect(daemon)
    submit(producer, "k", latent(), deadline_ms=1500)
    wait_state(daemon, "fake", "stopped")
    wait_why(producer, "k", "fake", "no such model", "mend")
    result = producer.take("k")
    result.expect("RESULT", state="expired", code="expired", attempts=1)
    assert "no such model" in result["message"]
    producer.thank()
    assert len(fake.requests) == 1


def test_a_trial_is_one_request_at_a_time(
    start_fake, start_daemon, connect, stack
):
    gates = fakes.threading.Event()
    stack.callback(gates.set)
    fake = start_fake(*[fakes.reset] * 3, held(gates))
    daemon = start_daemon({**fake.section(parallel=8)})
    producer = connect(daemon)
    latents = batch_of(producer, 3)
    wait_state(daemon, "fake", "out")
    latents.update(batch_of(producer, 10, 100))
    fake.wait_requests(4)
    found = wait_state(daemon, "fake", "out")
    assert (found["in_flight"], len(fake.requests)) == (1, 4)
    assert why(producer, "k109")["endpoints"][0]["full"]
    gates.set()
    for key, result in producer.take_all(13).items():
        check_fake(result, latents[key])
