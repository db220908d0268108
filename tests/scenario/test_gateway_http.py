# SPDX-License-Identifier: Apache-2.0
"""The gateway speaks HTTP/1.1 as clients do, and survives those that do not."""

import json
import threading

import numpy
import processes
import pytest
import requests
from fakes import good, held, never
from raw_http import Closed, Connection, ask, chunks, head, whole
from remote import GOOD, GOOD_BODY, error_of, gauges, post

TARGET = f"/sdxl?{GOOD}"
TENSOR = {"Accept": "tensor/binary"}
MIB = 1 << 20


@pytest.fixture(scope="module")
def gateway():
    with processes.short_directory() as directory:
        with processes.Endpoint(parallel=8) as endpoint:
            sections = {
                "daemon": {"http": "127.0.0.1:0", "drain_s": 0},
                "queue": {"bytes": "4M"},
                **endpoint.sections(["sdxl"], parallel=8),
            }
            with processes.Daemon(directory, sections) as daemon:
                yield processes.find_http(daemon)


def body_of(i):
    """A different latent of GOOD's shape for every i."""
    random = numpy.random.default_rng(i)
    return random.normal(size=64).astype("<f2").tobytes()


@pytest.fixture(scope="module")
def expected(gateway):
    """expected(i): what body_of(i) becomes, asked for alone."""
    known = {}

    def get(i):
        if i not in known:
            known[i] = ask(gateway.port, whole("POST", TARGET, body_of(i),
                                               TENSOR)).body
        return known[i]

    assert get(1) != get(2)
    return get


# ---- connections ----


def test_many_requests_use_one_connection(gateway, expected):
    with Connection(gateway.port) as connection:
        for i in range(10):
            connection.send(whole("POST", TARGET, body_of(i), TENSOR))
            reply = connection.reply()
            assert reply.status == 200
            assert reply.body == expected(i)
        connection.send(head("GET", "/healthz"))
        assert connection.reply().body == b"ok\n"


def test_errors_leave_the_connection_open(gateway):
    with Connection(gateway.port) as connection:
        for target, status in (
            ("/sdxl?shape=x", 400), ("/nothing", 404), (TARGET, 200),
        ):
            connection.send(whole("POST", target, GOOD_BODY))
            assert connection.reply().status == status
        connection.send(head("GET", TARGET))
        assert connection.reply().status == 405


def test_connection_close_is_obeyed(gateway):
    for headers, version in (
        ({"Connection": "close"}, "HTTP/1.1"), ({}, "HTTP/1.0"),
    ):
        with Connection(gateway.port) as connection:
            connection.send(head(
                "POST", TARGET, {"Content-Length": 128, **headers}, version,
            ) + GOOD_BODY)
            assert connection.reply().status == 200
            assert connection.is_closed()


def test_pipelined_requests_are_answered_in_order(gateway, expected):
    n = 12
    with Connection(gateway.port) as connection:
        connection.send(b"".join(
            whole("POST", TARGET, body_of(i), TENSOR) if i % 3
            else head("GET", "/healthz")
            for i in range(n)
        ))
        for i in range(n):
            reply = connection.reply()
            assert reply.status == 200
            assert reply.body == (expected(i) if i % 3 else b"ok\n")


def test_a_request_in_single_bytes_is_the_same_request(gateway, expected):
    with Connection(gateway.port) as connection:
        for byte in whole("POST", TARGET, body_of(1), TENSOR):
            connection.send(bytes([byte]))
        assert connection.reply().body == expected(1)


def test_a_session_of_requests_and_threads_of_it_get_their_own(
    gateway, expected
):
    wrong = []

    def work(i):
        with requests.Session() as session:
            for j in range(i, i + 4):
                reply = post(session, gateway.http, "sdxl", GOOD, body_of(j))
                if reply.content != expected(j):
                    wrong.append((i, j, reply.status_code))

    for i in range(8):
        expected(i), expected(i + 3)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---- bodies ----


def test_a_chunked_body_is_the_same_body(gateway, expected):
    body = body_of(2)
    with Connection(gateway.port) as connection:
        for pieces in ([body], [body[:1], body[1:100], body[100:]]):
            connection.send(head(
                "POST", TARGET, {"Transfer-Encoding": "chunked", **TENSOR}
            ) + chunks(*pieces))
            assert connection.reply().body == expected(2)
    with requests.Session() as session:
        reply = post(session, gateway.http, "sdxl", GOOD,
                     iter([body[:50], body[50:]]))
    assert reply.content == expected(2)


@pytest.mark.parametrize("size", [b"zz", b"-1", b"ffffffffffffffffff", b""])
def test_a_chunk_of_nonsense_size_ends_only_its_connection(gateway, size):
    with Connection(gateway.port) as connection:
        connection.send(
            head("POST", TARGET, {"Transfer-Encoding": "chunked"})
            + size + b"\r\nxxxx\r\n0\r\n\r\n"
        )
        try:
            assert connection.reply().status in (400, 413)
        except Closed:
            pass
    assert ask(gateway.port, whole("POST", TARGET, GOOD_BODY)).status == 200


def test_expect_100_continue_is_told_to_go_on(gateway, expected):
    with Connection(gateway.port) as connection:
        connection.send(head("POST", TARGET, {
            "Content-Length": 128, "Expect": "100-continue", **TENSOR}))
        assert connection.reply().status == 100
        connection.send(body_of(3))
        assert connection.reply().body == expected(3)


@pytest.mark.parametrize("size", [4 * MIB + 1, 1 << 30, 1 << 40, 1 << 62])
def test_what_is_too_large_gets_413_before_it_is_sent(gateway, size):
    with Connection(gateway.port) as connection:
        connection.send(head("POST", TARGET, {
            "Content-Length": size, "Expect": "100-continue"}))
        reply = connection.reply()
        assert reply.status == 413
        assert str(4 * MIB) in reply.error()


def test_what_is_far_too_large_gets_413_without_expect(gateway):
    with Connection(gateway.port) as connection:
        connection.send(head("POST", TARGET, {"Content-Length": 1 << 30}))
        assert connection.reply().status == 413


def test_what_is_a_little_too_large_gets_413_after_it_is_sent(gateway):
    with requests.Session() as session:
        whole_body = post(session, gateway.http, "sdxl", GOOD,
                          bytes(4 * MIB + 1))
        chunked = post(session, gateway.http, "sdxl", GOOD,
                       iter([bytes(MIB)] * 4 + [b"x"]))
    for reply in (whole_body, chunked):
        assert reply.status_code == 413
        assert str(4 * MIB) in error_of(reply)


def refused(gateway, headers):
    """What comes for a request with these headers and one behind it."""
    with Connection(gateway.port) as connection:
        connection.send(
            f"POST {TARGET} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode()
            + GOOD_BODY + head("GET", "/healthz")
        )
        reply = connection.reply()
        assert b" 200 " not in connection.rest()
        return reply


@pytest.mark.parametrize("headers", [
    "Content-Length: 167\r\nContent-Length: 128",
    "Content-Length: 128\r\nContent-Length: 167",
    "Content-Length: 128\r\ncontent-length: 128",
    "Transfer-Encoding: chunked\r\nContent-Length: 128",
    "Content-Length: 128\r\nTransfer-Encoding: chunked",
])
def test_a_body_of_two_lengths_never_becomes_two_requests(gateway, headers):
    reply = refused(gateway, headers)
    assert reply.status == 400
    assert "Content-Length" in reply.error()


@pytest.mark.parametrize("length", ["128x", "-1", "+128", "", "0x80", "1e2",
                                    "18446744073709551616"])
def test_a_length_that_is_no_number_is_refused(gateway, length):
    assert refused(gateway, f"Content-Length: {length}").status in (400, 413)


# ---- methods and paths ----


@pytest.mark.parametrize("path", ["/healthz", "/status", "/metrics",
                                  "/readyz"])
def test_head_is_get_without_the_body(gateway, path):
    with Connection(gateway.port) as connection:
        connection.send(head("GET", path))
        got = connection.reply()
        connection.send(head("HEAD", path))
        headed = connection.reply(to_head=True)
        assert (got.status, headed.status) == (200, 200)
        assert int(headed.headers["content-length"]) > 0
        assert headed.headers["content-type"] == got.headers["content-type"]
        # No body came: what follows is the next reply.
        connection.send(head("GET", "/healthz"))
        assert connection.reply().body == b"ok\n"


@pytest.mark.parametrize("method, target, status, word", [
    ("GET", TARGET, 405, "POST"), ("PUT", TARGET, 405, "POST"),
    ("DELETE", "/encode/sdxl", 405, "POST"),
    ("POST", "/", 404, "/MODEL"), ("GET", "/", 404, "/MODEL"),
    ("POST", "/sdxxl?" + GOOD, 404, "/MODEL"),
    ("POST", "/encode", 404, "/MODEL"), ("POST", "/encode/", 404, "/MODEL"),
    ("POST", "/sdxl/more", 404, "/MODEL"),
    ("POST", "//sdxl", 404, "/MODEL"),
    ("POST", "/flux?" + GOOD, 404, "flux"),
])
def test_what_is_not_there_is_refused_with_a_sentence(
    gateway, method, target, status, word
):
    body = GOOD_BODY
    if "flux" in target:
        target = target.replace("shape=4&", "shape=16&", 1)
        body = bytes(512)
    reply = ask(gateway.port, whole(method, target, body))
    assert reply.status == status
    assert word in reply.error()


def test_paths_with_bytes_of_all_kinds_are_not_found(gateway):
    for path in ("/%00", "/sdxl%00", "/%ff%fe", "/..%2f..%2fetc", "/" * 500,
                 "/" + "a" * 5000, "/%", "/%zz"):
        reply = ask(gateway.port, head("GET", path))
        assert reply.status == 404
        reply.error()


def test_curl_gets_a_file_and_a_sentence(gateway, tmp_path, expected):
    (tmp_path / "latent").write_bytes(body_of(4))

    def curl(*args):
        return processes.run(
            "curl", "-q", "-sS", "--noproxy", "*", "-o", "reply",
            "-w", "%{http_code} %{content_type}", *args, cwd=tmp_path,
            check=0,
        ).stdout.decode()

    url = f"{gateway.http}{TARGET}"
    said = curl("--data-binary", "@latent", "-H", "Accept: tensor/binary",
                "-H", "Content-Type: tensor/binary", url)
    assert said == "200 tensor/binary"
    assert (tmp_path / "reply").read_bytes() == expected(4)
    said = curl("-T", "latent", "-X", "POST", "-H", "Accept: tensor/binary",
                "-H", "Transfer-Encoding: chunked", url)
    assert said == "200 tensor/binary"
    assert (tmp_path / "reply").read_bytes() == expected(4)
    # curl's own content type for --data-binary is not a tensor's.
    said = curl("--data-binary", "@latent", "-H", "Accept: image/png", url)
    assert said == "200 image/jpeg"
    said = curl("--data-binary", "@latent", "-H", "Expect: 100-continue",
                url + "&dtype=float64")
    assert said == "400 application/json"
    assert "dtype" in json.loads((tmp_path / "reply").read_text())["error"]


# ---- clients that do not go on ----


def silent_requests():
    """What a client may have sent when it falls silent."""
    done = whole("POST", TARGET, body_of(5), TENSOR)
    chunked = head("POST", TARGET, {"Transfer-Encoding": "chunked"})
    silent = [b"", chunked + b"80\r\nxxx"]
    return silent + [done[: i * len(done) // 20] for i in range(1, 20)]


def test_clients_that_do_not_go_on_are_closed_and_cost_nothing_meanwhile(
    start_endpoint, start_gateway, stack, expected
):
    gateway = start_gateway(start_endpoint().sections(["sdxl"]))
    # The connection to the endpoint stays.
    assert ask(gateway.port, whole("POST", TARGET, GOOD_BODY)).status == 200
    before = gateway.fd_n()
    silent = [
        stack.enter_context(Connection(gateway.port))
        for _ in silent_requests()
    ]
    for connection, data in zip(silent, silent_requests()):
        connection.send(data)
    # One that has had its answer, and one that does not read what it gets:
    # replies of 6 MiB, which no socket takes.
    answered, deaf = (
        stack.enter_context(Connection(gateway.port)) for _ in range(2)
    )
    answered.send(whole("POST", TARGET, body_of(5), TENSOR))
    assert answered.reply().body == expected(5)
    query = GOOD.replace("shape=4&shape=4&dtype", "shape=128&shape=128&dtype")
    deaf.send(2 * whole("POST", f"/sdxl?{query}&output_type=pt",
                        bytes(131072), TENSOR))
    # And some that go away in the middle.
    for i, data in enumerate(silent_requests()):
        with Connection(gateway.port) as connection:
            connection.send(data)
            if i % 2:
                connection.reset()
    # Others are served.
    assert ask(gateway.port, whole("POST", TARGET, GOOD_BODY)).status == 200
    assert gateway.fd_n() >= before + len(silent) + 2
    for connection in [*silent, answered]:
        assert connection.is_closed()
    processes.wait_until(lambda: gateway.fd_n() <= before,
                         "all their descriptors are closed")


# ---- clients that leave ----


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_takes_its_request_in_flight_along(
    start_fake, start_gateway, how
):
    fake = start_fake(never)
    daemon = start_gateway(fake.section(model="sdxl", parallel=1))
    with Connection(daemon.port) as connection:
        connection.send(whole("POST", TARGET, GOOD_BODY))
        request, = fake.wait_requests(1)
        getattr(connection, how)()
    assert request.closed.wait(processes.PATIENCE_S)
    processes.wait_until(
        lambda: gauges(daemon.http)[
            'latentd_jobs_ended_total{outcome="cancelled"}'] == 1,
        "its job is cancelled",
    )
    # The slot is free again.
    assert ask(daemon.port, whole("POST", TARGET, GOOD_BODY, {
        "Accept": "image/jpeg"})).status == 200


def test_a_client_that_leaves_takes_its_queued_job_along(
    start_fake, start_gateway
):
    gate = threading.Event()
    fake = start_fake(held(gate), then=good)
    daemon = start_gateway(fake.section(model="sdxl", parallel=1))
    request = whole("POST", TARGET, GOOD_BODY, {"Accept": "image/jpeg"})
    with Connection(daemon.port) as first:
        first.send(request)
        fake.wait_requests(1)
        second = Connection(daemon.port)
        second.send(request)
        processes.wait_until(
            lambda: gauges(daemon.http)['latentd_jobs{state="queued"}'] == 1,
            "its job is queued",
        )
        second.close()
        processes.wait_until(
            lambda: gauges(daemon.http)[
                'latentd_jobs_ended_total{outcome="cancelled"}'] == 1,
            "its job is cancelled",
        )
        assert gauges(daemon.http)['latentd_jobs{state="queued"}'] == 0
        gate.set()
        assert first.reply().status == 200
    assert len(fake.requests) == 1


def test_a_client_that_leaves_behind_pipelined_requests_loses_all(
    start_fake, start_gateway
):
    fake = start_fake(then=never)
    daemon = start_gateway(fake.section(model="sdxl", parallel=1))
    with Connection(daemon.port) as connection:
        connection.send(whole("POST", TARGET, GOOD_BODY) * 3)
        request, = fake.wait_requests(1)
        connection.close()
    assert request.closed.wait(processes.PATIENCE_S)
    processes.wait_until(
        lambda: gauges(daemon.http)['latentd_jobs{state="active"}'] == 0
        and gauges(daemon.http)['latentd_jobs{state="queued"}'] == 0,
        "nothing is left to do for it",
    )
    assert ask(daemon.port, head("GET", "/healthz")).status == 200
