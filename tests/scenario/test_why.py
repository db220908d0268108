# SPDX-License-Identifier: Apache-2.0
"""WHY says what a job waits for, in every state, and changes nothing."""

import json
import threading

import pytest

import processes
from fakes import held, never, status
from samples import latent

Z = latent(seed=1)


def submit(producer, key="k", z=Z):
    return producer.submit(key, z.data, **z.fields, output="pixels")


def why(producer, **which):
    return json.loads(producer.ask("WHY", which).expect("REPORT").body)


@pytest.fixture
def gate(stack):
    """An event that opens at the end, so that no fake waits for ever."""
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


def test_a_queued_job_names_its_place_and_the_full_endpoints(
    start_fake, start_daemon, connect, latentctl
):
    fake = start_fake(then=never)
    daemon = start_daemon(fake.section("gpu", parallel=1))
    producer = connect(daemon, "latentctl")
    submit(producer, "first")
    fake.wait_requests(1)
    submit(producer, "second")
    job = submit(producer, "third")
    said = why(producer, key="third")
    assert (said["id"], said["state"], said["position"]) == (job, "queued", 1)
    [endpoint] = said["endpoints"]
    assert (endpoint["name"], endpoint["in_flight"], endpoint["parallel"],
            endpoint["full"]) == ("gpu", 1, 1, True)
    assert "full" in said["why"] and "1 job" in said["why"]
    assert said["attempts"] == [] and said["class"] == "normal"
    assert said["latent_bytes"] == len(Z.data)
    text = latentctl(daemon, "why", "third", check=0).stdout.decode()
    assert f"job {job}: sd-v1 decode pixels, queued since" in text
    assert "endpoint gpu: fit, 1 of 1 requests in flight, full" in text
    assert max(map(len, text.splitlines())) <= 80
    by_id = latentctl(daemon, "why", job, "--json", check=0)
    assert json.loads(by_id.stdout)["key"] == "third"


def test_an_active_job_names_its_endpoint(
    start_fake, start_daemon, connect
):
    fake = start_fake(then=never)
    producer = connect(start_daemon(fake.section("gpu", parallel=2)))
    z = latent(batch=4)
    producer.submit("k", z.data, **z.fields, output="jpg")
    fake.wait_requests(2)
    said = why(producer, key="k")
    assert (said["state"], said["parts"], said["parts_done"]) == (
        "active", 4, 0)
    assert sorted(
        (r["part"], r["endpoint"], r["phase"]) for r in said["running"]
    ) == [(0, "gpu", "requesting"), (1, "gpu", "requesting")]
    assert "gpu" in said["why"]


@pytest.mark.parametrize("code, state, sentence", [
    (503, "warming", "waits for an endpoint that is fit; gpu is warming"),
    (429, "fit", "because endpoint gpu asked for patience"),
])
def test_a_job_that_waits_for_an_endpoint_says_how_long_and_why(
    start_fake, start_daemon, connect, latentctl, code, state, sentence
):
    fake = start_fake(
        status(code, "still loading", headers=[("Retry-After", "500")]))
    daemon = start_daemon(fake.section("gpu"))
    producer = connect(daemon)
    job = submit(producer)
    daemon.wait_line(f"job={job} .*is tried again")
    said = why(producer, key="k")
    assert said["state"] == "queued"
    [endpoint] = said["endpoints"]
    assert endpoint["state"] == state and endpoint["full"]
    assert 490000 < endpoint["pause_ms"] <= 500000
    assert "still loading" in endpoint["last_error"]
    assert "still loading" in said["reason"] and said["code"] == "endpoint"
    assert "still loading" in said["why"] and sentence in said["why"]
    [attempt] = said["attempts"]
    assert (attempt["endpoint"], attempt["http_status"], attempt["code"]) == (
        "gpu", code, "endpoint")
    assert attempt["ago_ms"] >= 0 and attempt["took_ms"] >= 0
    text = latentctl(daemon, "why", job, check=0).stdout.decode()
    assert "still loading" in text and str(code) in text
    # Another job waits for the same, though it has not been tried.
    submit(producer, "next")
    assert sentence in why(producer, key="next")["why"]


def test_a_job_that_waits_for_its_retry_says_when_and_why(
    start_fake, start_daemon, connect
):
    # The seventh try comes after eight seconds at the least.
    fake = start_fake(then=status(500, "no luck"))
    daemon = start_daemon({
        **fake.section("gpu"), "queue": {"attempts": 100}})
    producer = connect(daemon)
    job = submit(producer)
    daemon.wait_line(f"job={job} .*no luck.*is tried again")

    def look():
        said = why(producer, key="k")
        return said if "retry_in_ms" in said else None

    said = processes.wait_until(look, "it waits for its retry")
    assert 0 <= said["retry_in_ms"] <= 30000
    assert "no luck" in said["why"]
    assert f"request {said['requests'] + 1}" in said["why"]


def test_a_failed_job_tells_its_attempts_and_how_to_kick_it(
    start_fake, start_daemon, connect, latentctl
):
    fake = start_fake(*[status(500, f"try {i}") for i in range(5)])
    daemon = start_daemon({**fake.section("gpu"), "queue": {"attempts": 5}})
    producer = connect(daemon)
    job = submit(producer)
    producer.collect().expect("RESULT", state="failed")
    said = why(producer, key="k")
    assert (said["state"], said["delivery"], said["buried"]) == (
        "failed", "delivered", False)
    assert 0 < said["kept_ms"] <= 3600000
    producer.reconnect()
    producer.take("k")
    producer.thank()
    said = why(producer, id=job)
    assert (said["delivery"], said["requests"]) == ("buried", 5)
    assert 0 < said["kept_ms"] <= 86400000
    assert [a["http_status"] for a in said["attempts"]] == [500] * 5
    assert f"latentctl kick {job}" in said["why"] and "try 4" in said["why"]
    text = latentctl(daemon, "why", job, check=0).stdout.decode()
    assert max(map(len, text.splitlines())) <= 80
    assert f"latentctl kick {job}" in " ".join(text.split())


def test_a_result_that_waits_says_so(start_fake, start_daemon, connect):
    daemon = start_daemon(start_fake().section())
    producer = connect(daemon)
    submit(producer)
    daemon.wait_line("outcome=done")
    said = why(producer, key="k")
    assert (said["state"], said["delivery"]) == ("done", "waiting")
    assert said["result_bytes"] > 0 and said["latent_bytes"] == 0
    assert "collects" in said["why"]


def test_questions_change_nothing(start_fake, start_daemon, connect, gate):
    fake = start_fake(then=held(gate))
    daemon = start_daemon(fake.section(parallel=2))
    producer = connect(daemon)
    keys = [f"k{i}" for i in range(6)]
    for key in keys:
        submit(producer, key)
    fake.wait_requests(2)
    for _ in range(3):
        states = [why(producer, key=key)["state"] for key in keys]
        assert states == ["active"] * 2 + ["queued"] * 4
        producer.ask("LIST", {}).expect("REPORT")
    gate.set()
    assert sorted(producer.take_all(6)) == keys


@pytest.mark.parametrize("which, code, said", [
    ({}, "invalid", "key"), ({"key": "k"}, "not_found", '"k"'),
    ({"id": 12}, "not_found", "12"), ({"id": -1}, "invalid", "id"),
])
def test_wrong_questions(
    start_fake, start_daemon, connect, which, code, said
):
    producer = connect(start_daemon(start_fake().section()))
    reply = producer.ask("WHY", which).expect("REJECTED", code=code)
    assert said in reply["message"]


def test_latentctl_why_goes_on_behind_one_that_is_not_there(
    start_fake, start_daemon, connect, latentctl
):
    daemon = start_daemon(start_fake(then=never).section())
    submit(connect(daemon, "latentctl"), "k")
    done = latentctl(daemon, "why", "nothing", "k", check=1)
    assert b"nothing: " in done.stderr
    assert b"key k" in done.stdout
