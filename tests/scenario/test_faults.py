# SPDX-License-Identifier: Apache-2.0
"""Endpoints that lie, fail, stall and vanish.

Whatever an endpoint does, a job ends in the right pixels or in a sentence that
says why it did not, and other jobs go on.
"""

import json
import signal
import threading

import pytest

import fakes
import processes
import wire
from fakes import fake_pixels, good, status
from fleet import wait_why, why
from samples import file_of, latent, picture, pixels_of

Z = latent(seed=1)


def submit(producer, key="k", z=Z, output="pixels"):
    return producer.submit(key, z.data, **z.fields, output=output)


def expected(z=Z):
    n, _, height, width = z.fields["shape"]
    return fake_pixels(z.data, n, height * 8, width * 8)


def check(result, z=Z):
    result.expect("RESULT", state="done", code="ok")
    assert result.body == expected(z).tobytes()


def decode(producer, key="k", output="pixels"):
    submit(producer, key, output=output)
    result = producer.take(key)
    producer.thank()
    return result


def last_error(daemon):
    return json.loads(wire.report(daemon.url))["endpoints"][0]["last_error"]


# ---- one lie, then the truth ----


@pytest.mark.parametrize("lie, output, reason", [
    (fakes.wrong_type, "pixels", r'Content-Type "text/html", expected'),
    (fakes.no_type, "pixels", r'Content-Type "", expected'),
    (fakes.truncated, "pixels", r"\d+ bytes (remaining|missing)|closed"),
    (fakes.short, "pixels", r"sent 6144 bytes, but shape .* takes 12288"),
    (fakes.too_long, "pixels", r"more than the 12288 bytes"),
    (fakes.endless, "pixels", r"Content-Type|more than the 12288 bytes"),
    (fakes.wrong_size, "pixels",
     r"sent shape \[1, 56, 64, 3\], expected \[1,64,64,3\]"),
    (fakes.wrong_shape, "pixels", r"sent shape \[1,2,3,4\], expected"),
    (fakes.hostile_shape, "pixels", r"sent shape \[\[\[\[.*, expected"),
    (fakes.wrong_dtype, "pixels", r'sent dtype "float16", expected uint8'),
    (fakes.no_shape, "pixels", r"no shape header"),
    (fakes.empty, "pixels", r"HTTP 200 without a body"),
    (fakes.garbage, "pixels", r"HTTP/0.9|nonsense|Weird|garbage"),
    (fakes.reset, "pixels", r"reset|Empty reply|Recv failure"),
    (fakes.hang_up, "pixels", r"Empty reply"),
    (fakes.wrong_size, "jpg", r"64x56.*64x64"),
    (fakes.garbage_file, "jpg", r"JPEG"),
    (fakes.cut_file, "jpg", r"JPEG"),
    (fakes.other_file, "jpg", r"PNG.*JPEG|JPEG.*PNG"),
    (status(500, "boom"), "pixels", r"HTTP 500: boom"),
    (status(502, b"<html>Bad Gateway</html>", kind="text/html"), "pixels",
     r"HTTP 502: <html>Bad Gateway"),
    (status(503), "pixels", r"HTTP 503"),
    (status(504, "x" * 100000), "pixels", r"HTTP 504"),
    (status(408, "slow"), "pixels", r"HTTP 408: slow"),
    (status(429, "busy", [("Retry-After", "0")]), "pixels",
     r"HTTP 429: busy"),
    (status(400, "CUDA out of memory. Tried to allocate"), "pixels",
     r"HTTP 400: CUDA out of memory"),
    (status(204), "pixels", r"HTTP 204"),
    (status(206, "a part"), "pixels", r"HTTP 206"),
], ids=lambda value: getattr(value, "__name__", None))
def test_a_lie_is_named_and_tried_again(
    start_fake, start_daemon, connect, lie, output, reason
):
    fake = start_fake(lie)
    daemon = start_daemon(fake.section())
    result = decode(connect(daemon), output=output)
    result.expect("RESULT", state="done", code="ok", attempts=2)
    if output == "pixels":
        assert result.body == expected().tobytes()
    else:
        assert pixels_of(result.body).shape == (64, 64, 3)
    logged = reason.replace('"', r'\\"')
    daemon.wait_line(
        rf'job=1 .* wait_ms=\d+ reason="endpoint fake.*({logged}).*: '
        "a request failed; the job is tried again"
    )
    assert last_error(daemon).startswith("endpoint fake")
    first, second = fake.requests
    key = first.headers["Idempotency-Key"]
    assert key and key == second.headers["Idempotency-Key"]
    assert first.body == second.body == Z.data


def test_an_endless_reply_is_cut_off(start_fake, start_daemon, connect):
    fake = start_fake(fakes.endless)
    daemon = start_daemon(fake.section())
    check(decode(connect(daemon)))
    assert fake.requests[0].closed.wait(processes.PATIENCE_S)


@pytest.mark.parametrize("task, output, kind, reply, reason", [
    ("decode", "mp4", "text/plain", b"not a film", "MP4"),
    ("decode", "mp4", "text/plain; charset=utf-8",
     b"\0\0\0\x10ftypmp42\0\0\0\0", "MP4"),
    ("decode", "mp4", "video/x-matroska", b"x", "Content-Type"),
    ("decode", "float", "tensor/binary", bytes(8), "no shape header"),
    ("encode", "latent", "application/json", b"{}", "Content-Type"),
    ("encode", "latent", "tensor/binary", bytes(8), "no shape header"),
])
def test_a_lie_about_films_floats_and_latents_is_named(
    start_fake, start_daemon, connect, task, output, kind, reply, reason
):
    fake = start_fake(then=lambda exchange: exchange.reply(reply, kind))
    daemon = start_daemon(fake.section(model="hunyuan-video", task=task))
    producer = connect(daemon)
    if task == "decode":
        z = latent("hunyuan-video")
        producer.submit("k", z.data, **z.fields, output=output)
    else:
        producer.submit("k", file_of(picture(), "PNG"), task=task,
                        model="hunyuan-video", output=output)
    daemon.wait_line(rf"job=1 .* wait_ms=[1-9]\d* reason=.*{reason}")
    producer.cancel("k").expect("CANCELLED")
    producer.take("k").expect("RESULT", state="cancelled")
    producer.thank()


# ---- statuses that end a job ----


@pytest.mark.parametrize("step, code, sentence", [
    (status(400, "shape is not what I like"), "refused",
     "endpoint fake answered HTTP 400: shape is not what I like"),
    (status(413, "too large"), "refused", "HTTP 413: too large"),
    (status(422, b"plain words", kind="text/plain"), "refused",
     "HTTP 422: plain words"),
    (status(400, b'{"error": "a\\u001b[31m\\nb\\u0000c"}'), "refused",
     "HTTP 400: "),
    (status(400, b"\x1b]0;x\x07\x9b31m\xff\xfe"), "refused", "HTTP 400: "),
])
def test_a_refusal_ends_the_job_with_the_endpoints_sentence(
    start_fake, start_daemon, connect, step, code, sentence
):
    fake = start_fake(step)
    daemon = start_daemon(fake.section())
    result = decode(connect(daemon))
    result.expect("RESULT", state="failed", code=code, attempts=1)
    assert sentence in result["message"]
    assert result["message"].isprintable()
    assert len(fake.requests) == 1
    assert last_error(daemon) == result["message"]
    line = daemon.wait_line("^.*outcome=failed.*$")[0]
    assert line.isprintable() and sentence in line


@pytest.mark.parametrize("step, code, sentence", [
    (status(401, "no"), "denied", "check its token_file"),
    (status(403, "no"), "denied", "check its token_file"),
    (status(402, "no money"), "endpoint", "HTTP 402: no money"),
    (status(404, "no such path"), "endpoint", "HTTP 404: no such path"),
    (status(405, "no POST"), "endpoint", "HTTP 405: no POST"),
    (status(410, "moved away"), "endpoint", "HTTP 410: moved away"),
    (fakes.redirect("http://127.0.0.1:1/elsewhere"), "endpoint",
     "redirects are not followed"),
])
def test_an_endpoint_set_up_wrongly_is_stopped_and_its_job_waits(
    start_fake, start_daemon, connect, step, code, sentence
):
    fake = start_fake(step)
    daemon = start_daemon({**fake.section(), "queue": {"attempts": 1}})
    producer = connect(daemon)
    submit(producer)
    daemon.wait_line("endpoint=fake is stopped now")
    # A job that comes later is not sent there either.
    submit(producer, "later")
    producer.collect(100).expect("EMPTY", pending=2)
    [endpoint] = json.loads(wire.report(daemon.url))["endpoints"]
    assert endpoint["state"] == "stopped"
    assert sentence in endpoint["last_error"]
    for key in ("k", "later"):
        told = why(producer, key)
        assert told["state"] == "queued"
        assert "fake" in told["why"] and sentence in told["why"]
    told = why(producer, "k")
    assert (told["code"], told["requests"]) == (code, 1)
    assert len(fake.requests) == 1
    # Somebody has looked after it and says so.
    daemon.signal(signal.SIGHUP)
    for result in producer.take_all(2).values():
        check(result)
    assert len(fake.requests) == 3


def test_an_endpoint_that_never_recovers_costs_the_job_only(
    start_fake, start_daemon, connect
):
    fake = start_fake(*[status(500, "broken")] * 3)
    daemon = start_daemon(
        {**fake.section(parallel=1), "queue": {"attempts": 3}})
    producer = connect(daemon)
    result = decode(producer)
    result.expect("RESULT", state="failed", code="endpoint", attempts=3)
    assert "given up after 3 requests" in result["message"]
    assert "HTTP 500: broken" in result["message"]
    keys = {r.headers["Idempotency-Key"] for r in fake.requests}
    assert len(keys) == 1
    check(decode(producer, "next"))


def test_retries_of_a_batch_keep_what_has_come(
    start_fake, start_daemon, connect
):
    fake = start_fake(good, status(503), good, fakes.cut_file)
    producer = connect(start_daemon(fake.section(parallel=1)))
    z = latent(batch=4, seed=2)
    submit(producer, "k", z, "jpg")
    result = producer.take("k").expect("RESULT", state="done", attempts=6)
    producer.thank()
    # The JPEG of each latent's own bytes, in the latents' order.
    for i, part in enumerate(result.parts):
        pixels = expected(z.one(i))[0].astype(int)
        assert abs(pixels_of(part).astype(int) - pixels).mean() < 60
        others = [expected(z.one(k))[0].astype(int) for k in range(4)]
        nearest = min(
            range(4),
            key=lambda k: abs(pixels_of(part).astype(int) - others[k]).mean(),
        )
        assert nearest == i
    bodies = [request.body for request in fake.requests]
    assert sorted(bodies.count(z.one(i).data) for i in range(4)) \
        == [1, 1, 2, 2]
    by_key = {}
    for request in fake.requests:
        by_key.setdefault(request.headers["Idempotency-Key"], set()).add(
            request.body
        )
    assert len(by_key) == 4
    assert all(len(bodies) == 1 for bodies in by_key.values())


def test_one_refused_latent_fails_the_batch_once(
    start_fake, start_daemon, connect
):
    fake = start_fake(status(400, "not this one"), then=fakes.never)
    producer = connect(start_daemon(fake.section(parallel=4)))
    submit(producer, "k", latent(batch=4), "jpg")
    result = producer.take("k")
    result.expect("RESULT", state="failed", code="refused")
    assert "not this one" in result["message"]
    producer.thank()
    for request in fake.requests[1:]:
        assert request.closed.wait(processes.PATIENCE_S)
    producer.collect(0).expect("EMPTY", pending=0)


def test_idempotency_keys_differ_between_jobs(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    daemon = start_daemon(fake.section())
    producer = connect(daemon)
    for i in range(5):
        check(decode(producer, f"k{i}"))
    keys = {r.headers["Idempotency-Key"] for r in fake.requests}
    assert len(keys) == 5


# ---- nobody there ----


def dead_section(model, **keys):
    return {f"endpoint dead-{model}": {
        "model": model, "task": "decode",
        "url": f"{fakes.dead_url()}/{model}", **keys,
    }}


def test_a_job_waits_for_a_dead_endpoint_until_its_deadline(
    start_daemon, connect
):
    daemon = start_daemon(
        {**dead_section("sd-v1"), "queue": {"attempts": 1}})
    producer = connect(daemon)
    submit(producer, "for-ever")
    producer.submit("k", Z.data, **Z.fields, deadline_ms=3000)
    result = producer.take("k")
    result.expect("RESULT", state="expired", code="expired")
    producer.thank()
    assert "deadline of 3000 ms" in result["message"]
    wait_why(producer, "for-ever", "endpoint that is fit; dead-sd-v1 is out")
    assert why(producer, "for-ever")["code"] == "unreachable"
    # One trial at a time, after growing pauses.
    [endpoint] = json.loads(wire.report(daemon.url))["endpoints"]
    assert 1 <= endpoint["requests_total"] <= 8
    producer.cancel("for-ever").expect("CANCELLED")


def test_a_dead_endpoint_of_one_model_holds_up_no_other(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    stuck = start_fake(then=fakes.never)
    daemon = start_daemon({
        **dead_section("sdxl", parallel=1),
        **stuck.section("stuck", "flux", parallel=1),
        **fake.section(parallel=1),
    })
    producer = connect(daemon)
    for i in range(20):
        submit(producer, f"dead{i}", latent("sdxl"))
        submit(producer, f"stuck{i}", latent("flux"))
    stuck.wait_requests(1)
    for i in range(20):
        submit(producer, f"k{i}")
    for i in range(20):
        check(producer.take(f"k{i}"))
    for i in range(20):
        producer.cancel(f"dead{i}").expect("CANCELLED")
        producer.cancel(f"stuck{i}").expect("CANCELLED")
    results = producer.take_all(40)
    assert {r["state"] for r in results.values()} == {"cancelled"}


def test_two_endpoints_of_a_model_share_the_work(
    start_fake, start_daemon, connect
):
    first, second = start_fake(), start_fake()
    daemon = start_daemon({
        **first.section("first"), **second.section("second"),
    })
    producer = connect(daemon)
    for i in range(40):
        submit(producer, f"k{i}", latent(seed=i))
    for key, result in producer.take_all(40).items():
        check(result, latent(seed=int(key[1:])))
        assert result["endpoint"] in ("first", "second")
    assert len(first.requests) + len(second.requests) == 40
    assert first.requests and second.requests


def test_parallel_is_the_most_that_an_endpoint_sees(
    start_fake, start_daemon, connect
):
    counted = threading.Condition()
    seen = {"now": 0, "most": 0}

    def count(exchange):
        with counted:
            seen["now"] += 1
            seen["most"] = max(seen["most"], seen["now"])
            counted.notify_all()
            # Others may come now; when three are here, none may.
            counted.wait_for(lambda: seen["most"] >= 3, 5)
            seen["now"] -= 1
        good(exchange)

    fake = start_fake(then=count)
    producer = connect(start_daemon(fake.section(parallel=3)))
    for i in range(30):
        submit(producer, f"k{i}", latent(height=1, width=1, seed=i))
    producer.take_all(30)
    assert seen["most"] == 3


def test_an_endpoint_that_comes_back_serves_the_waiting_job(
    start_daemon, connect, stack
):
    port = processes.free_port()
    daemon = start_daemon({"endpoint late": {
        "model": "sd-v1", "task": "decode",
        "url": f"http://127.0.0.1:{port}/sd-v1",
    }})
    producer = connect(daemon)
    submit(producer)
    daemon.wait_line(r'job=1 .* wait_ms=\d+ reason="endpoint late')
    stack.enter_context(processes.Endpoint(port=port))
    result = producer.take("k").expect("RESULT", state="done")
    producer.thank()
    assert result["attempts"] >= 2
