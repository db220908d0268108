# SPDX-License-Identifier: Apache-2.0
"""Each phase of a request has its bound; what ran out says which, where, and
the key that sets it, and the job goes on."""

import re
import socket
import threading
from contextlib import contextmanager

import pytest

import fakes
import processes
from fleet import check_fake, endpoints, submit, why
from samples import latent

Z = latent(seed=1)


def tried_again(daemon, sentence):
    return daemon.wait_line(
        rf'job=1 .* wait_ms=\d+ reason="{sentence}.*is tried again')


def trickle(exchange):
    """A byte now and then, for ever."""
    handler = exchange.handler
    handler.send_response(200)
    handler.send_header("Content-Type", "tensor/binary")
    handler.send_header("shape", "[1, 64, 64, 3]")
    handler.send_header("dtype", "uint8")
    handler.send_header("Content-Length", "12288")
    handler.end_headers()
    turn = threading.Event()
    try:
        for _ in range(12288):
            handler.wfile.write(b"x")
            turn.wait(0.2)
    except OSError:
        exchange.request.closed.set()
    exchange.end()


@pytest.mark.parametrize("step, keys, sentence", [
    (fakes.never, {"think_s": 1},
     r"endpoint fake gave no reply within 1 s \(think_s\)"),
    (fakes.stalled, {"stall_s": 1},
     r"endpoint fake sent no byte of the reply for 1 s \(stall_s\)"),
    (trickle, {"stall_s": 1, "total_s": 2},
     r"endpoint fake: .*timed out after 2.* \(download\)"),
    (fakes.never, {"total_s": 1},
     r"endpoint fake: .*timed out after 1.* \(think\)"),
], ids=["think", "download stall", "total in download", "total in think"])
def test_a_time_out_names_its_phase_and_endpoint(
    start_fake, start_daemon, connect, step, keys, sentence
):
    fake = start_fake(step)
    daemon = start_daemon(fake.section(**keys))
    producer = connect(daemon)
    submit(producer, "k", Z)
    tried_again(daemon, sentence)
    result = producer.take("k")
    check_fake(result, Z)
    assert result["attempts"] == 2
    producer.thank()
    assert fake.requests[0].closed.wait(processes.PATIENCE_S)
    assert re.search(sentence, endpoints(daemon)["fake"]["last_error"])


def test_the_reason_of_a_job_given_up_names_the_phase(
    start_fake, start_daemon, connect
):
    fake = start_fake(then=fakes.stalled)
    daemon = start_daemon({
        **fake.section(stall_s=1), "queue": {"attempts": 1}})
    producer = connect(daemon)
    submit(producer, "k", Z)
    result = producer.take("k")
    result.expect("RESULT", state="failed", code="timeout", attempts=1)
    assert "endpoint fake sent no byte of the reply" in result["message"]
    assert "stall_s" in result["message"]
    producer.thank()


@contextmanager
def listening(backlog, receive_bytes=None):
    """A socket that listens; nobody accepts unless the test does."""
    with socket.socket() as sock:
        if receive_bytes is not None:
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.bind(("127.0.0.1", 0))
        sock.listen(backlog)
        yield sock


def section_of(sock, model="sd-v1", **keys):
    return {"endpoint deaf": {
        "model": model, "task": "decode",
        "url": f"http://127.0.0.1:{sock.getsockname()[1]}/{model}", **keys,
    }}


def test_an_upload_that_nobody_reads_is_given_up(
    start_daemon, connect, stack
):
    sock = stack.enter_context(listening(8, 4096))
    daemon = start_daemon(section_of(sock, "flux", stall_s=1))
    producer = connect(daemon)
    # More than the kernel's buffers of both sides take.
    z = latent("flux", height=640, width=640, dtype="float32")
    assert len(z.data) > 24 << 20
    submit(producer, "k", z)
    tried_again(
        daemon, r"endpoint deaf took no byte of the request for 1 s "
        r"\(stall_s\)")
    producer.cancel("k").expect("CANCELLED")


def test_who_does_not_accept_is_out_and_named(start_daemon, connect, stack):
    sock = stack.enter_context(listening(0))
    # Fill its queue, so that the next one gets no answer at all.
    full = []
    while len(full) < 64:
        one = stack.enter_context(socket.socket())
        one.settimeout(0.5)
        full.append(one)
        try:
            one.connect(sock.getsockname())
        except TimeoutError:
            break
    daemon = start_daemon({
        **section_of(sock, connect_s=1), "queue": {"attempts": 1}})
    producer = connect(daemon)
    submit(producer, "k", Z)
    tried_again(daemon, r"endpoint deaf: .*\(connect\)")
    daemon.wait_line("endpoint=deaf is out now")
    told = why(producer, "k")
    assert told["code"] == "timeout"
    assert "deaf" in told["why"]
    producer.cancel("k").expect("CANCELLED")


def test_thinking_is_no_stall(start_fake, start_daemon, connect):
    # Twice stall_s, and not a byte: as a busy endpoint does.
    fake = start_fake(fakes.slow(2.5))
    daemon = start_daemon(fake.section(stall_s=1))
    producer = connect(daemon)
    submit(producer, "k", Z)
    result = producer.take("k")
    check_fake(result, Z)
    assert result["attempts"] == 1
    producer.thank()
