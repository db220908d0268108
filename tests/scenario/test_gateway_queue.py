# SPDX-License-Identifier: Apache-2.0
"""What comes over HTTP is queued, bounded, shared and answered like any job."""

import json
import threading
from signal import SIGTERM

import processes
import pytest
import requests
import wire
from fakes import good, held, never
from raw_http import Connection, ask, chunks, head, whole
from remote import GOOD, GOOD_BODY, gauges
from samples import direct_jpg, direct_pixels, latent
from wire import Producer

TARGET = f"/sdxl?{GOOD}"
JPEG = {"Accept": "image/jpeg"}
REQUEST = whole("POST", TARGET, GOOD_BODY, JPEG)
OTHER = "shape=1&shape=4&shape=8&shape=8&dtype=float16&do_scaling=True"


@pytest.fixture
def gate():
    """Set at the end, whatever the test did, so that no fake hangs."""
    gate = threading.Event()
    yield gate
    gate.set()


def jobs(daemon, state):
    return gauges(daemon.http)[f'latentd_jobs{{state="{state}"}}']


def ended(daemon, outcome):
    return gauges(daemon.http)[f'latentd_jobs_ended_total{{outcome="{outcome}"}}']


class Waiting:
    """Requests that wait, each on a connection of its own."""

    def __init__(self, stack, daemon):
        self.stack = stack
        self.daemon = daemon
        self.connections = []

    def add(self, request=REQUEST):
        connection = self.stack.enter_context(Connection(self.daemon.port))
        self.connections.append(connection)
        connection.send(request)

    def hold(self, n):
        processes.wait_until(
            lambda: jobs(self.daemon, "queued") + jobs(self.daemon, "active")
            == n, f"{n} jobs are held",
        )

    def replies(self):
        return [c.reply() for c in self.connections]


@pytest.fixture
def waiting(stack):
    return lambda daemon: Waiting(stack, daemon)


# ---- bounds ----


def test_a_full_queue_answers_503_with_retry_after(
    start_fake, start_gateway, waiting, gate
):
    fake = start_fake(then=held(gate))
    daemon = start_gateway({
        **fake.section(model="sdxl", parallel=1), "queue": {"jobs": 3},
    })
    held_ones = waiting(daemon)
    for i in range(3):
        held_ones.add(whole("POST", TARGET, GOOD_BODY, {
            **JPEG, "X-Latentd-Producer": f"p{i}"}))
        held_ones.hold(i + 1)
    with Connection(daemon.port) as connection:
        for _ in range(2):
            connection.send(REQUEST)
            reply = connection.reply()
            assert reply.status == 503
            assert int(reply.headers["retry-after"]) >= 1
            assert "full" in reply.error()
        assert jobs(daemon, "queued") + jobs(daemon, "active") == 3
        gate.set()
        assert [r.status for r in held_ones.replies()] == [200] * 3
        # The same connection gets its turn when there is room.
        connection.send(REQUEST)
        assert connection.reply().status == 200
    assert gauges(daemon.http)['latentd_submits_total{answer="busy"}'] == 2


def test_queued_bytes_are_bounded_too(
    start_fake, start_gateway, waiting, gate
):
    fake = start_fake(then=held(gate))
    daemon = start_gateway({
        **fake.section(model="sdxl", parallel=1), "queue": {"bytes": "1M"},
    })
    query = OTHER.replace("shape=8", "shape=128")

    def large(i):
        return whole("POST", f"/sdxl?{query}", bytes(131072), {
            **JPEG, "X-Latentd-Producer": f"p{i}"})

    held_ones = waiting(daemon)
    for i in range(7):
        held_ones.add(large(i))
        held_ones.hold(i + 1)
    refused = None
    for i in range(7, 10):
        held_ones.add(large(i))
        connection = held_ones.connections[-1]
        processes.wait_until(
            lambda n=i: jobs(daemon, "queued") + jobs(daemon, "active") > n
            or gauges(daemon.http)[
                'latentd_submits_total{answer="busy"}'] == 1,
            "it is taken or refused",
        )
        if jobs(daemon, "queued") + jobs(daemon, "active") == i:
            held_ones.connections.remove(connection)
            refused = connection.reply()
            break
    assert refused is not None and refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert gauges(daemon.http)["latentd_queue_bytes"] <= 1 << 20
    gate.set()
    assert {r.status for r in held_ones.replies()} == {200}


def test_one_producer_that_is_full_leaves_room_for_others(
    start_fake, start_gateway, waiting, gate
):
    fake = start_fake(then=held(gate))
    daemon = start_gateway({
        **fake.section(model="sdxl", parallel=1),
        "queue": {"producer_jobs": 2},
    })
    held_ones = waiting(daemon)
    for i in range(2):
        held_ones.add()
        held_ones.hold(i + 1)
    reply = ask(daemon.port, REQUEST)
    assert reply.status == 503
    assert int(reply.headers["retry-after"]) >= 1
    assert "producer_jobs" in reply.error()
    held_ones.add(whole("POST", TARGET, GOOD_BODY, {
        **JPEG, "X-Latentd-Producer": "other"}))
    held_ones.hold(3)
    gate.set()
    assert [r.status for r in held_ones.replies()] == [200] * 3


def test_a_chunked_body_gets_the_room_that_a_whole_one_gets(
    start_endpoint, start_gateway
):
    # A producer's share is a quarter, and the first one always fits.
    daemon = start_gateway({
        **start_endpoint().sections(["sdxl"]), "queue": {"bytes": "1M"},
    })
    query = OTHER.replace("shape=8", "shape=256")
    body = bytes(2 * 4 * 256 * 256)
    reply = ask(daemon.port, whole("POST", f"/sdxl?{query}", body, JPEG))
    assert reply.status == 200
    processes.wait_until(
        lambda: gauges(daemon.http)["latentd_result_bytes"] == 0,
        "its reply has left, so that the next one is the first again",
    )
    piece = len(body) // 8
    reply = ask(daemon.port, head("POST", f"/sdxl?{query}", {
        **JPEG, "Transfer-Encoding": "chunked",
    }) + chunks(*(body[i: i + piece] for i in range(0, len(body), piece))))
    assert reply.status == 200, reply


def test_a_model_without_an_endpoint_is_not_found(start_fake, start_gateway):
    daemon = start_gateway(start_fake().section(model="sdxl"))
    reply = ask(daemon.port, whole("POST", "/sd-v1?" + GOOD, GOOD_BODY))
    assert reply.status == 404
    assert "sd-v1" in reply.error()
    reply = ask(daemon.port, whole("POST", "/encode/sdxl", b"x"))
    assert reply.status in (400, 404)
    reply.error()


def test_a_deadline_that_passes_is_answered_504(
    start_fake, start_gateway, waiting
):
    fake = start_fake(never, then=good)
    daemon = start_gateway(fake.section(model="sdxl", parallel=1))
    held_ones = waiting(daemon)
    # In flight and queued.
    for deadline_ms in (300, 200):
        held_ones.add(whole("POST", TARGET, GOOD_BODY, {
            **JPEG, "X-Latentd-Deadline-Ms": deadline_ms}))
        fake.wait_requests(1)
    for reply in held_ones.replies():
        assert reply.status == 504
        assert "deadline" in reply.error()
    assert fake.requests[0].closed.wait(processes.PATIENCE_S)
    assert len(fake.requests) == 1
    # One that holds changes nothing.
    reply = ask(daemon.port, whole("POST", TARGET, GOOD_BODY, {
        **JPEG, "X-Latentd-Deadline-Ms": 3600000}))
    assert reply.status == 200


def test_priority_overtakes_what_waits(
    start_fake, start_gateway, waiting, gate
):
    fake = start_fake(then=held(gate))
    daemon = start_gateway(fake.section(model="sdxl", parallel=1))
    held_ones = waiting(daemon)
    order = ["normal", "low", "normal", "high", "urgent", None]
    for i, priority in enumerate(order):
        own = {"X-Latentd-Priority": priority} if priority else {}
        held_ones.add(whole("POST", TARGET, bytes([i]) * 128, {
            **JPEG, **own}))
        held_ones.hold(i + 1)
        fake.wait_requests(1)
    gate.set()
    assert [r.status for r in held_ones.replies()] == [200] * len(order)
    # The first was under way already.
    assert [r.body[0] for r in fake.requests] == [0, 4, 3, 2, 5, 1]


# ---- the end ----


def test_a_drain_answers_what_is_under_way_and_then_ends(
    start_fake, start_gateway, waiting, gate
):
    fake = start_fake(then=held(gate))
    daemon = start_gateway({
        **fake.section(model="sdxl", parallel=1), "daemon": {"drain_s": 60},
    })
    held_ones = waiting(daemon)
    for i in range(3):
        held_ones.add()
        held_ones.hold(i + 1)
    daemon.signal(SIGTERM)
    daemon.wait_line("draining")
    gate.set()
    assert [r.status for r in held_ones.replies()] == [200] * 3
    assert daemon.wait() == 0


@pytest.mark.parametrize("drain_s", [0, 1])
def test_a_stop_answers_what_it_gives_up(
    start_fake, start_gateway, waiting, drain_s
):
    fake = start_fake(then=never)
    daemon = start_gateway({
        **fake.section(model="sdxl", parallel=1),
        "daemon": {"drain_s": drain_s},
    })
    held_ones = waiting(daemon)
    for i in range(3):
        held_ones.add()
        held_ones.hold(i + 1)
    fake.wait_requests(1)
    daemon.signal(SIGTERM)
    for reply in held_ones.replies():
        assert reply.status == 503
        reply.error()
    assert daemon.wait() == 0
    daemon.check_clean()


# ---- together ----


def ask_http(daemon, number, z, expected, wrong):
    """Three requests on one connection, as a producer of its own."""
    fields = z.fields
    query = [("shape", d) for d in fields["shape"]]
    query += [("dtype", fields["dtype"]), ("scaling_factor", 0.13025),
              ("output_type", "pt"), ("partial_postprocess", "True")]
    with requests.Session() as session:
        for _ in range(3):
            reply = session.post(
                f"{daemon.http}/sdxl", params=query, data=z.data,
                headers={"Accept": "tensor/binary",
                         "Content-Type": "tensor/binary",
                         "X-Latentd-Producer": f"client-{number}"},
                timeout=processes.PATIENCE_S,
            )
            if reply.content != expected:
                wrong.append((number, reply.status_code, reply.content[:200]))


def ask_nng(daemon, number, z, expected, wrong):
    with Producer(daemon.url, f"nng-{number}") as producer:
        for i in range(4):
            producer.submit(f"k{i}", z.data, **z.fields, output="pixels")
        for result in producer.take_all(4).values():
            if result.body != expected:
                wrong.append((number, result))


def test_64_clients_and_nng_producers_share_one_endpoint(
    start_endpoint, start_gateway
):
    endpoint = start_endpoint(parallel=4)
    daemon = start_gateway(endpoint.sections(["sdxl"], parallel=4))
    latents = [latent("sdxl", seed=i) for i in range(72)]
    expected = [direct_pixels(endpoint.url, z).tobytes() for z in latents]
    assert len(set(expected)) == 72
    wrong = []
    threads = [
        threading.Thread(
            target=ask_http if i < 64 else ask_nng,
            args=(daemon, i, latents[i], expected[i], wrong),
        )
        for i in range(72)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    found = gauges(daemon.http)
    total = 'latentd_producer_jobs_total{producer="%s-%d",outcome="done"}'
    for i in range(72):
        name, n = ("client", 3) if i < 64 else ("nng", 4)
        assert found[total % (name, i)] == n
    assert found['latentd_jobs_ended_total{outcome="done"}'] == 64 * 3 + 8 * 4
    assert found["latentd_queue_bytes"] == 0


def test_an_http_client_cannot_reach_the_jobs_of_an_nng_producer(
    start_endpoint, start_gateway
):
    endpoint = start_endpoint()
    daemon = start_gateway(endpoint.sections(["sdxl"]))
    z = latent("sdxl", seed=1)
    with Producer(daemon.url, "same") as producer:
        producer.submit("http-1", z.data, **z.fields, output="jpg")
        reply = ask(daemon.port, whole("POST", TARGET, GOOD_BODY, {
            **JPEG, "X-Latentd-Producer": "same"}))
        assert reply.status == 200
        result = producer.take("http-1").expect("RESULT", state="done")
        assert result.body == direct_jpg(endpoint.url, z) != reply.body
        producer.thank()
        producer.collect(0).expect("EMPTY")


def test_the_report_tells_of_http_jobs_like_of_others(
    start_fake, start_gateway, waiting, gate
):
    fake = start_fake(then=held(gate))
    daemon = start_gateway(fake.section(model="sdxl", parallel=1))
    held_ones = waiting(daemon)
    for i in range(2):
        held_ones.add()
        held_ones.hold(i + 1)
    told = json.loads(ask(daemon.port, head("GET", "/status")).body)
    assert told == json.loads(wire.report(daemon.url))
    assert (told["jobs"]["queued"], told["jobs"]["active"]) == (1, 1)
    gate.set()
    held_ones.replies()
