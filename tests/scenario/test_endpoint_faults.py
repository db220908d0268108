# SPDX-License-Identifier: Apache-2.0
"""latentd-endpoint's fault switches, as a plain client sees them."""

import io
import json
import socket
import threading

import processes
import pytest
import requests
from PIL import Image
from processes import wait_until
from raw import HEALTHY_BYTES, PT, Raw
from remote import GOOD, GOOD_BODY, error_of, gauges, post

@pytest.fixture
def session():
    with requests.Session() as session:
        session.trust_env = False
        yield session


def ask(session, endpoint, query=PT, accept="tensor/binary", **headers):
    session.headers.update(headers)
    return post(session, endpoint.url, "sdxl", query, GOOD_BODY, accept)


def counts(endpoint):
    return endpoint.control()["faults"]


# ---- each switch ----


def test_fail_rate_answers_with_its_statuses(start_endpoint, session):
    endpoint = start_endpoint("--fail-rate", "1:503", "--fail-rate", "1:429",
                              "--retry-after", "7", control=True)
    reply = ask(session, endpoint)
    assert reply.status_code == 503
    assert reply.headers["Retry-After"] == "7"
    assert "fail-rate" in error_of(reply)
    endpoint.control(fail_rate="0:503")
    reply = ask(session, endpoint)
    assert reply.status_code == 429
    assert reply.headers["Retry-After"] == "7"
    endpoint.control(fail_rate=[0, 1])
    reply = ask(session, endpoint)
    assert reply.status_code == 500
    assert "Retry-After" not in reply.headers
    assert counts(endpoint)["fail"] == 3


def test_oom_is_a_400_of_the_endpoints_memory(start_endpoint, session):
    endpoint = start_endpoint("--oom-rate", "1")
    reply = ask(session, endpoint)
    assert reply.status_code == 400
    assert error_of(reply).startswith(
        "CUDA out of memory. Tried to allocate")


def test_drop_resets_before_or_amid_the_reply(start_endpoint):
    endpoint = start_endpoint("--drop-rate", "1", control=True)
    seen = set()
    for _ in range(16):
        raw = Raw(endpoint)
        raw.close()
        assert raw.ended == "reset"
        assert len(raw.body) in (0, HEALTHY_BYTES // 2)
        seen.add(len(raw.body))
    assert seen == {0, HEALTHY_BYTES // 2}
    assert counts(endpoint)["drop"] == 16


def test_truncated_reply_closes_before_its_length(start_endpoint):
    endpoint = start_endpoint("--truncate-rate", "1")
    lengths = set()
    for _ in range(8):
        raw = Raw(endpoint)
        raw.close()
        assert raw.ended == "closed"
        assert raw.status() == 200
        assert raw.length() == HEALTHY_BYTES
        assert len(raw.body) < HEALTHY_BYTES
        lengths.add(len(raw.body))
    assert len(lengths) > 1


def test_garbage_has_the_right_headers_and_length(start_endpoint, session):
    endpoint = start_endpoint(control=True)
    good = ask(session, endpoint)
    endpoint.control(garbage_rate=1)
    bad = ask(session, endpoint)
    for name in ("Content-Type", "Content-Length", "shape", "dtype"):
        assert bad.headers[name] == good.headers[name]
    assert bad.content != good.content
    file = ask(session, endpoint, GOOD + "&image_format=png", "image/png")
    assert file.headers["Content-Type"] == "image/png"
    with pytest.raises(OSError):
        Image.open(io.BytesIO(file.content)).load()


def test_wrong_size_is_well_formed(start_endpoint, session):
    endpoint = start_endpoint("--wrong-size-rate", "1", "--cache-mib", "8",
                              control=True)
    reply = ask(session, endpoint)
    assert reply.status_code == 200
    assert json.loads(reply.headers["shape"]) == [1, 40, 32, 3]
    assert len(reply.content) == 40 * 32 * 3
    for kind in ("png", "jpg"):
        reply = ask(session, endpoint, GOOD + f"&image_format={kind}",
                    "image/png" if kind == "png" else "image/jpeg")
        picture = Image.open(io.BytesIO(reply.content))
        picture.load()
        assert picture.size == (32, 40)
    assert counts(endpoint)["wrong-size"] == 3
    # It was not kept as the right answer.
    endpoint.control(wrong_size_rate=0)
    assert len(ask(session, endpoint).content) == HEALTHY_BYTES


def test_wrong_size_of_a_packed_latent_and_of_encodes(start_endpoint, session):
    endpoint = start_endpoint("--wrong-size-rate", "1")
    packed = ("shape=1&shape=4&shape=64&dtype=float16&height=32&width=32"
              "&output_type=pt&partial_postprocess=True")
    reply = post(session, endpoint.url, "flux", packed, bytes(4 * 64 * 2))
    assert json.loads(reply.headers["shape"]) == [1, 48, 32, 3], reply.text
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, "png")
    reply = post(session, endpoint.url, "encode/sdxl", "", file.getvalue(),
                 accept="*/*", kind=None)
    assert json.loads(reply.headers["shape"]) == [1, 4, 5, 4], reply.text
    reply = post(session, endpoint.url, "encode/sdxl",
                 "shape=1&shape=3&shape=32&shape=32&dtype=uint8",
                 bytes(3 * 32 * 32), accept="*/*")
    assert json.loads(reply.headers["shape"]) == [1, 4, 5, 4], reply.text


def test_stall_sends_the_head_or_half_and_lasts_until_the_peer_gives_up(
    start_endpoint
):
    endpoint = start_endpoint("--stall-rate", "1", control=True)
    halves = set()
    for n in range(1, 9):
        raw = Raw(endpoint, until_bytes=0)
        assert raw.ended == "open"
        # A reply that stops is one that has begun and is in flight.
        assert counts(endpoint)["stall"] == n
        assert endpoint.control()["in_flight"] == 1
        raw.sock.setblocking(False)
        body = raw.body
        try:
            body += raw.sock.recv(65536)
        except BlockingIOError:
            pass
        halves.add(len(body))
        raw.close()
        wait_until(lambda: endpoint.control()["in_flight"] == 0,
                   "the endpoint has noticed that the peer gave up")
    assert halves == {0, HEALTHY_BYTES // 2}


def test_stall_ms_ends_a_stall(start_endpoint, session):
    endpoint = start_endpoint("--stall-rate", "1", "--stall-ms", "30")
    for _ in range(4):
        assert len(ask(session, endpoint).content) == HEALTHY_BYTES


def test_stalled_replies_do_not_hold_up_the_end(start_endpoint):
    endpoint = start_endpoint("--stall-rate", "1")
    raw = Raw(endpoint, until_bytes=0)
    assert endpoint.stop() == 0
    raw.close()


def test_slow_requests_hold_their_slot_for_longer(start_endpoint):
    endpoint = start_endpoint("--slow-rate", "1:1000", service_ms=3600,
                              parallel=1, control=True)
    threads = [threading.Thread(target=lambda: Raw(endpoint).close())]
    threads[0].start()
    wait_until(lambda: gauges(endpoint.url)["inf_batch_current_size"] == 1,
               "it is served")
    endpoint.control(down=1)
    threads[0].join(processes.PATIENCE_S)
    endpoint.control(down=0, service_ms=1, slow_rate="1:5")
    assert Raw(endpoint).ended == "whole"
    assert counts(endpoint)["slow"] == 1


def test_cold_endpoint_answers_503_and_says_when(start_endpoint, session):
    endpoint = start_endpoint("--cold-ms", "3600000", control=True)
    reply = ask(session, endpoint)
    assert reply.status_code == 503
    assert 3500 < int(reply.headers["Retry-After"]) <= 3600
    assert session.get(endpoint.url + "/health",
                       timeout=processes.PATIENCE_S).status_code == 503
    assert endpoint.control(cold=0)["cold_left_ms"] == 0
    assert ask(session, endpoint).status_code == 200
    assert session.get(endpoint.url + "/health",
                       timeout=processes.PATIENCE_S).text == "Ok"
    assert endpoint.control(cold=1)["cold_left_ms"] > 0
    assert ask(session, endpoint).status_code == 503
    endpoint.control(cold_ms=1)
    wait_until(lambda: ask(session, endpoint).status_code == 200,
               "it is warm")


def test_request_with_scale_up_timeout_waits_for_warmth(
    start_endpoint, session
):
    endpoint = start_endpoint("--cold-ms", "3600000", control=True)
    waiting = []
    thread = threading.Thread(target=lambda: waiting.append(
        Raw(endpoint, headers="X-Scale-Up-Timeout: 600\r\n")))
    thread.start()
    wait_until(lambda: endpoint.control()["in_flight"] == 1, "it is held")
    assert counts(endpoint)["cold"] == 0
    endpoint.control(cold=0)
    thread.join(processes.PATIENCE_S)
    assert waiting[0].ended == "whole" and waiting[0].status() == 200
    waiting[0].close()
    # Held for as long as it says, and no longer.
    endpoint.control(cold=1)
    reply = ask(session, endpoint, **{"X-Scale-Up-Timeout": "1"})
    assert reply.status_code == 503
    assert counts(endpoint)["cold"] == 1


def test_held_requests_do_not_hold_up_the_end(start_endpoint):
    endpoint = start_endpoint("--cold-ms", "3600000", control=True)
    waiting = []
    thread = threading.Thread(target=lambda: waiting.append(
        Raw(endpoint, headers="X-Scale-Up-Timeout: 600\r\n")))
    thread.start()
    wait_until(lambda: endpoint.control()["in_flight"] == 1, "it is held")
    assert endpoint.stop() == 0
    thread.join(processes.PATIENCE_S)
    assert waiting[0].status() == 503
    waiting[0].close()


def test_die_after_exits_at_the_nth_request_without_a_reply(
    start_endpoint, session
):
    endpoint = start_endpoint("--die-after", "3", control=True)
    assert ask(session, endpoint).status_code == 200
    assert endpoint.control()["settings"]["die-after"] == 3
    assert ask(session, endpoint).status_code == 200
    with pytest.raises(requests.ConnectionError):
        ask(session, endpoint)
    assert endpoint.wait() == 1
    assert "request 3: dying" in endpoint.stderr()


# ---- the control path ----


def test_down_resets_what_waits_and_what_comes_until_it_is_up(
    start_endpoint, session
):
    endpoint = start_endpoint(service_ms=3600000, parallel=1, control=True)
    ended = []
    threads = [
        threading.Thread(target=lambda: ended.append(Raw(endpoint).ended))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: gauges(endpoint.url)["inf_queue_size"] == 2,
               "one is served and two wait")
    endpoint.control(down=1)
    for thread in threads:
        thread.join(processes.PATIENCE_S)
    assert ended == ["reset"] * 3
    assert Raw(endpoint).ended == "reset"
    assert session.get(endpoint.url + "/health",
                       timeout=processes.PATIENCE_S).status_code == 503
    told = endpoint.control(down=0, service_ms=0)
    assert told["faults"]["down"] == 4
    assert told["in_flight"] == 0
    # The slot of the one that was served is free again.
    assert ask(session, endpoint).status_code == 200


def test_changes_take_effect_for_the_next_request(start_endpoint, session):
    endpoint = start_endpoint(control=True)
    for _ in range(3):
        endpoint.control(fail_rate="1:502")
        assert ask(session, endpoint).status_code == 502
        endpoint.control(fail_rate=0)
        assert ask(session, endpoint).status_code == 200


def test_parallel_and_service_time_change_while_it_runs(start_endpoint):
    endpoint = start_endpoint(service_ms=3600000, parallel=1, control=True)
    ended = []
    threads = [
        threading.Thread(target=lambda: ended.append(Raw(endpoint).ended))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: gauges(endpoint.url)["inf_queue_size"] == 3,
               "three wait")
    endpoint.control(parallel=3)
    assert gauges(endpoint.url)["inf_batch_current_size"] == 3
    settings = endpoint.control(parallel=4, service_ms=1)["settings"]
    assert settings["parallel"] == 4 and settings["service-ms"] == 1
    # The fourth got the new service time, the others keep theirs.
    wait_until(lambda: ended == ["whole"], "the fourth is answered")
    endpoint.control(down=1)
    for thread in threads:
        thread.join(processes.PATIENCE_S)
    assert sorted(ended) == ["reset"] * 3 + ["whole"]


@pytest.mark.parametrize("changes, words", [
    ({"fail_rat": 1, "seed": 3, "colour": 2}, ["fail-rat", "colour"]),
    ({"seed": 3, "drop_rate": 2}, ["drop-rate", "0 to 1"]),
    ({"seed": 3, "parallel": 0}, ["parallel", "1024"]),
    ({"seed": 3, "down": 2}, ["down"]),
])
def test_wrong_change_is_refused_whole(start_endpoint, changes, words):
    endpoint = start_endpoint(control=True)
    before = endpoint.control()["settings"]
    with pytest.raises(AssertionError) as refusal:
        endpoint.control(**changes)
    for word in words:
        assert word in str(refusal.value)
    assert endpoint.control()["settings"] == before


def test_control_is_there_only_when_asked_for(start_endpoint, session):
    endpoint = start_endpoint()
    for method in ("GET", "POST"):
        reply = session.request(method, endpoint.url + "/control?down=1",
                                timeout=processes.PATIENCE_S)
        assert reply.status_code == 404
    assert ask(session, endpoint).status_code == 200


def own_address():
    """An address of this machine that is not loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            # Nothing is sent: the kernel only looks up the route.
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = sock.getsockname()[0]
    return None if address.startswith("127.") else address


def test_control_is_for_peers_on_loopback_only(session):
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    with processes.Process([processes.program("latentd-endpoint"), "--control",
                            "--listen", f"{address}:0"]) as endpoint:
        url = endpoint.wait_line(r"listening on (\S+)", "stdout")[1]
        # It does not leave the machine, but it does not come from loopback.
        reply = session.post(url + "/control?seed=2",
                             timeout=processes.PATIENCE_S)
        assert reply.status_code == 403
        assert "this machine" in error_of(reply)


def test_control_needs_the_token(start_endpoint, session):
    endpoint = start_endpoint(token="s3cret", control=True)
    reply = session.get(endpoint.url + "/control",
                        timeout=processes.PATIENCE_S)
    assert reply.status_code == 401
    assert endpoint.control()["settings"]["seed"] == 1


def test_counters_are_right(start_endpoint, session):
    endpoint = start_endpoint("--oom-rate", "1", control=True)
    for key in ("a", "b", "a", "a"):
        ask(session, endpoint, **{"Idempotency-Key": key})
    del session.headers["Idempotency-Key"]
    ask(session, endpoint)
    for path in ("nothing", "else"):
        session.get(f"{endpoint.url}/{path}", timeout=processes.PATIENCE_S)
    told = endpoint.control()
    assert told["received"] == {"/sdxl": 5, "other": 2, "/control": 1}
    assert told["idempotency_keys"] == {
        "distinct": 2, "repeated": 2, "none": 1, "untracked": 0}
    assert told["faults"]["oom"] == 5
    assert sum(told["faults"].values()) == 5
    assert told["in_flight"] == 0
    found = gauges(endpoint.url)
    assert found['latentd_endpoint_faults_total{fault="oom"}'] == 5
    assert found['latentd_endpoint_replies_total{status="400"}'] == 5


def test_seed_is_told_when_verbose(start_endpoint):
    endpoint = start_endpoint("--verbose")
    endpoint.wait_line("seed 1")
