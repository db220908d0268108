# SPDX-License-Identifier: Apache-2.0
"""Tokens of endpoints: a wrong one stops its endpoint with words that say what
to mend, a mended one is read on SIGHUP, and none is to be read anywhere."""

import json
import signal
import threading

import pytest
import requests

import processes
import wire
from fleet import (
    check_all, endpoints, submit, wait_state, wait_why, why,
)
from samples import latent

RIGHT = "hf_RIGHTsecrettokenofabearer0123456789"
WRONG = "hf_WRONGsecrettokenofabearer0123456789"


@pytest.fixture
def token_file(short_tmp):
    path = short_tmp / "token"
    path.write_text(WRONG + "\n")
    return path


@pytest.fixture
def house(start_endpoint, start_gateway, token_file):
    """(endpoint, daemon): the daemon has the wrong token at first."""
    endpoint = start_endpoint(token=RIGHT, control=True)
    daemon = start_gateway({
        **endpoint.sections(["sd-v1"], ["decode"], token_file=token_file),
        "queue": {"attempts": 1},
    }, "--log-level", "debug")
    return endpoint, daemon


def said_everywhere(daemon, producer, latentctl):
    """What the daemon tells to anybody, as one text."""
    texts = [
        daemon.stderr(), daemon.stdout(), wire.report(daemon.url).decode(),
        producer.ask("LIST", {}).expect("REPORT").body.decode(),
        requests.get(f"{daemon.http}/metrics", timeout=60).text,
        requests.get(f"{daemon.http}/status", timeout=60).text,
        requests.get(f"{daemon.http}/readyz", timeout=60).text,
        latentctl(daemon, "status").stdout.decode(),
        latentctl(daemon, "jobs").stdout.decode(),
        open(f"/proc/{daemon.pid}/cmdline").read(),
        open(f"/proc/{daemon.pid}/environ").read(),
    ]
    return "\n".join(texts)


def test_a_wrong_token_stops_the_endpoint_and_a_mended_one_resumes_it(
    house, connect, latentctl, token_file
):
    endpoint, daemon = house
    producer = connect(daemon, "latentctl")
    latents = {f"k{i}": latent(seed=i) for i in range(6)}
    for key, z in latents.items():
        submit(producer, key, z)
    found = wait_state(daemon, "sd-v1-decode", "stopped")
    assert "HTTP 401" in found["last_error"]
    assert "check its token_file" in found["last_error"]
    wait_why(
        producer, "k5", "sd-v1-decode", "check its token_file", "latentctl reload")
    text = latentctl(daemon, "why", "k5", check=0).stdout.decode()
    assert "token_file" in " ".join(text.split())
    producer.collect(0).expect("EMPTY", pending=6)
    asked_n = endpoints(daemon)["sd-v1-decode"]["requests_total"]
    assert asked_n <= 2
    texts = said_everywhere(daemon, producer, latentctl)
    texts += json.dumps([why(producer, key) for key in latents])
    # Still the wrong one: it is tried once and stopped again.
    daemon.signal(signal.SIGHUP)
    daemon.wait_line("configuration taken over")
    processes.wait_until(
        lambda: endpoints(daemon)["sd-v1-decode"]["requests_total"]
        == asked_n + 1, "it is tried again")
    wait_state(daemon, "sd-v1-decode", "stopped")
    producer.collect(0).expect("EMPTY", pending=6)
    token_file.write_text(RIGHT + "\n")
    daemon.signal(signal.SIGHUP)
    results = producer.take_all(6)
    found = endpoints(daemon)["sd-v1-decode"]
    assert (found["state"], found["done_total"]) == ("fit", 6)
    assert found["requests_total"] == asked_n + 7
    texts += said_everywhere(daemon, producer, latentctl)
    texts += str([result.fields for result in results.values()])
    assert daemon.stop() == 0
    texts += daemon.stderr()
    for secret in (RIGHT, WRONG):
        assert secret not in texts
        assert secret[3:20] not in texts
    assert {r["state"] for r in results.values()} == {"done"}


def test_a_token_is_replaced_while_jobs_go_on(
    start_fake, start_daemon, connect, token_file
):
    fake = start_fake()
    daemon = start_daemon(fake.section(token_file=token_file))
    producer = connect(daemon)
    for i, token in enumerate((WRONG, RIGHT, WRONG)):
        token_file.write_text(f"{token}\n")
        daemon.signal(signal.SIGHUP)
        processes.wait_until(
            lambda: daemon.stderr().count("taken over:") == i + 1,
            "the tokens are read")
        submit(producer, f"k{i}", latent(seed=i))
        producer.take(f"k{i}").expect("RESULT", state="done")
        assert fake.requests[-1].headers["Authorization"] == f"Bearer {token}"
    producer.thank()


def test_an_endpoint_that_repeats_a_replaced_token_gives_it_away_to_nobody(
    start_fake, start_gateway, connect, token_file, latentctl, stack
):
    gate = threading.Event()
    stack.callback(gate.set)

    def repeat(exchange):
        gate.wait()
        said = exchange.request.headers["Authorization"]
        exchange.reply(
            json.dumps({"error": f"{said} was revoked"}).encode(),
            "application/json", code=400)

    fake = start_fake(repeat)
    daemon = start_gateway(
        fake.section(token_file=token_file), "--log-level", "debug")
    producer = connect(daemon)
    submit(producer, "k", latent(seed=1))
    fake.wait_requests(1)
    token_file.write_text(f"{RIGHT}\n")
    daemon.signal(signal.SIGHUP)
    daemon.wait_line("taken over:")
    gate.set()
    result = producer.take("k").expect("RESULT", state="failed")
    producer.thank()
    texts = said_everywhere(daemon, producer, latentctl) + str(result.fields)
    assert "was revoked" in texts
    assert WRONG not in texts


@pytest.mark.parametrize("spoil", [
    lambda path: path.unlink(),
    lambda path: path.write_text(""),
    lambda path: path.write_text("two words\n"),
    lambda path: path.write_text("x" * 100000),
], ids=["gone", "empty", "two words", "too long"])
def test_a_token_file_that_cannot_be_used_leaves_the_old_token(
    start_fake, start_daemon, connect, token_file, spoil
):
    fake = start_fake()
    daemon = start_daemon(fake.section(token_file=token_file))
    producer = connect(daemon)
    spoil(token_file)
    daemon.signal(signal.SIGHUP)
    line = daemon.wait_line("configuration not taken over.*")[0]
    assert "token_file" in line
    submit(producer, "k", latent(seed=1))
    producer.take("k").expect("RESULT", state="done")
    producer.thank()
    assert fake.requests[0].headers["Authorization"] == f"Bearer {WRONG}"
    assert WRONG not in daemon.stderr()


def test_an_endpoint_without_a_token_gets_none(
    start_endpoint, start_daemon, connect
):
    endpoint = start_endpoint()
    daemon = start_daemon(endpoint.sections(["sd-v1"], ["decode"]))
    producer = connect(daemon)
    daemon.signal(signal.SIGHUP)
    z = latent(seed=3)
    submit(producer, "k", z)
    result = producer.take("k")
    producer.thank()
    check_all({"k": result}, {"k": z}, endpoint.url)
