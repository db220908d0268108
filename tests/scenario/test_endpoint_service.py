# SPDX-License-Identifier: Apache-2.0
"""latentd-endpoint as a service: slots, cache, token, limits, stopping."""

import re
import signal
import socket
import threading
from pathlib import Path

import processes
import pytest
import requests
from processes import wait_until
from remote import GOOD, GOOD_BODY, error_of, gauges, post


class Burst:
    """Requests at the same time, each in a thread; .replies when joined."""

    def __init__(self, url, count):
        self.replies = []
        self.threads = [
            threading.Thread(target=self._run, args=(url,))
            for _ in range(count)
        ]
        for thread in self.threads:
            thread.start()

    def _run(self, url):
        try:
            with requests.Session() as session:
                self.replies.append(
                    post(session, url, "sdxl", GOOD, GOOD_BODY).status_code)
        except requests.RequestException as error:
            self.replies.append(error)

    def join(self):
        for thread in self.threads:
            thread.join(processes.PATIENCE_S)
            assert not thread.is_alive()
        return self.replies


def test_requests_beyond_the_slots_wait_and_are_counted(start_endpoint):
    endpoint = start_endpoint(service_ms=3600000, parallel=2)
    burst = Burst(endpoint.url, 5)
    wait_until(
        lambda: (gauges(endpoint.url)["inf_batch_current_size"],
                 gauges(endpoint.url)["inf_queue_size"]) == (2, 3),
        "two requests are served and three wait",
    )
    # The second signal does not wait for the hour.
    endpoint.signal(signal.SIGTERM)
    endpoint.wait_line("stopping")
    endpoint.signal(signal.SIGTERM)
    assert endpoint.wait() == 0
    assert all(isinstance(r, requests.RequestException) for r in burst.join())


def test_never_more_than_the_slots_are_served(start_endpoint):
    endpoint = start_endpoint(service_ms=20, parallel=3)
    burst = Burst(endpoint.url, 30)
    most = 0
    while any(thread.is_alive() for thread in burst.threads):
        most = max(most, gauges(endpoint.url)["inf_batch_current_size"])
    assert most <= 3
    assert burst.join() == [200] * 30


def test_sigterm_finishes_what_is_under_way(start_endpoint):
    endpoint = start_endpoint(service_ms=2000, parallel=1)
    burst = Burst(endpoint.url, 2)
    wait_until(lambda: gauges(endpoint.url)["inf_queue_size"] == 1,
               "one request waits behind another")
    endpoint.signal(signal.SIGTERM)
    endpoint.wait_line("stopping")

    def refused():
        try:
            socket.create_connection(("127.0.0.1", endpoint.port), 5).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused, "new connections are refused")
    assert burst.join() == [200, 200]
    assert endpoint.wait() == 0


def test_repeated_request_is_answered_from_the_cache(start_endpoint):
    endpoint = start_endpoint("--cache-mib", "8")
    with requests.Session() as session:
        def ask(query, body, accept="tensor/binary"):
            return post(session, endpoint.url, "sdxl", query, body,
                        accept).content

        first = ask(GOOD, GOOD_BODY)
        assert ask(GOOD, GOOD_BODY) == first
        assert ask(GOOD, GOOD_BODY[:-1] + b"\x3c") != first
        assert ask(GOOD + "&output_type=pt", GOOD_BODY) != first
        assert ask(GOOD, GOOD_BODY, "image/jpeg")[:2] == b"\xff\xd8"
        # An error is not kept.
        assert b"error" in ask(GOOD, GOOD_BODY[:-1])
        assert b"error" in ask(GOOD, GOOD_BODY[:-1])
    found = gauges(endpoint.url)
    assert found["latentd_endpoint_cache_hits_total"] == 1
    assert found["latentd_endpoint_cache_misses_total"] == 6
    assert found["latentd_endpoint_cache_bytes"] > 0


# ---- token, limits, command line ----


@pytest.mark.parametrize("by_file", [False, True])
def test_token_is_required_everywhere_but_for_health(
    start_endpoint, short_tmp, by_file
):
    if by_file:
        path = short_tmp / "token"
        path.write_text("s3cret\n")
        endpoint = start_endpoint("--token-file", str(path))
        assert b"s3cret" not in Path(f"/proc/{endpoint.pid}/cmdline").read_bytes()
    else:
        endpoint = start_endpoint(token="s3cret")
    with requests.Session() as session:
        session.trust_env = False
        for header in (None, "Bearer s3cre", "Bearer s3crets", "Bearer ",
                       "Basic s3cret", "s3cret"):
            headers = {"Authorization": header} if header else {}
            for path in ("sdxl", "metrics", "nothing"):
                reply = session.post(f"{endpoint.url}/{path}?{GOOD}",
                                     data=GOOD_BODY, headers=headers,
                                     timeout=processes.PATIENCE_S)
                assert reply.status_code == 401
                assert reply.headers["WWW-Authenticate"] == "Bearer"
                assert "Authorization" in error_of(reply)
                assert "s3cret" not in reply.text
        assert session.get(endpoint.url + "/health",
                           timeout=processes.PATIENCE_S).text == "Ok"
        session.headers["Authorization"] = "bearer s3cret"
        reply = post(session, endpoint.url, "sdxl", GOOD, GOOD_BODY)
        assert reply.status_code == 200


def test_body_larger_than_the_limit_gets_413(start_endpoint):
    endpoint = start_endpoint("--max-body-mib", "1")
    with requests.Session() as session:
        reply = post(session, endpoint.url, "sdxl", GOOD, bytes((1 << 20) + 1))
        assert reply.status_code == 413
        assert "1048576" in error_of(reply)
        chunked = post(session, endpoint.url, "sdxl", GOOD,
                       iter([bytes(1 << 20), b"x"]))
        assert chunked.status_code == 413


def test_many_connections_at_once_are_served(start_endpoint):
    endpoint = start_endpoint(parallel=16)
    assert Burst(endpoint.url, 64).join() == [200] * 64


def call(*args):
    return processes.run(processes.program("latentd-endpoint"), *args)


def test_help_tells_what_tokens_on_the_command_line_mean():
    done = call("--help")
    assert done.returncode == 0
    text = done.stdout.decode()
    assert "visible in ps" in text
    for option in ("--listen", "--parallel", "--service-ms", "--token-file",
                   "--max-body-mib", "--cache-mib", "--fps", "--version",
                   "--seed", "--fail-rate", "--retry-after", "--cold-ms",
                   "--drop-rate", "--truncate-rate", "--garbage-rate",
                   "--wrong-size-rate", "--stall-rate", "--stall-ms",
                   "--slow-rate", "--die-after", "--oom-rate", "--control"):
        assert option in text


def test_version_is_the_projects():
    header = (processes.SOURCE_DIR / "include/latentd/version.h").read_text()
    done = call("--version")
    assert done.returncode == 0
    version = re.match(r"latentd-endpoint ([0-9.]+)", done.stdout.decode())[1]
    assert f'"{version}"' in header


@pytest.mark.parametrize("args, status, words", [
    (["--paralell", "3"], 2, ["--paralell", "--parallel"]),
    (["--parallel", "none"], 2, ["--parallel", "none", "1024"]),
    (["--parallel"], 2, ["--parallel", "value"]),
    (["--listen", "somewhere:80"], 2, ["somewhere:80", "numeric"]),
    (["--token-file", "/does/not/exist"], 1, ["/does/not/exist"]),
])
def test_wrong_command_line_is_refused_with_a_sentence(args, status, words):
    done = call(*args)
    assert done.returncode == status
    assert done.stdout == b""
    for word in words:
        assert word in done.stderr.decode()


def test_address_in_use_is_said(start_endpoint):
    endpoint = start_endpoint()
    done = call("--listen", f"127.0.0.1:{endpoint.port}")
    assert done.returncode == 1
    assert f"127.0.0.1:{endpoint.port}" in done.stderr.decode()
