# SPDX-License-Identifier: Apache-2.0
"""/healthz, /readyz and /metrics tell what is so."""

import json
import re
import shutil
import socket
import threading

import processes
import pytest
import requests
from fakes import good, held, never, status, truncated
from raw_http import Connection, ask, head, whole
from remote import GOOD, GOOD_BODY, error_of, gauges
from samples import latent
from wire import Producer

TARGET = f"/sdxl?{GOOD}"
JPEG = {"Accept": "image/jpeg"}
REQUEST = whole("POST", TARGET, GOOD_BODY, JPEG)
PHASES = ("job_queued", "attempt_connect", "attempt_upload",
          "attempt_decode", "attempt_download", "job_finish")


def get(daemon, path):
    return requests.get(daemon.http + path, timeout=processes.PATIENCE_S)


def promtool(text):
    """./dev deps fetches it where it is not installed."""
    path = shutil.which("promtool") or \
        processes.SOURCE_DIR / "build/tools/promtool"
    done = processes.run(path, "check", "metrics", input=text)
    return done.returncode, done.stdout + done.stderr


# ---- health ----


def ready(daemon):
    return get(daemon, "/readyz").status_code == 200


def test_a_daemon_lives_whatever_its_endpoints_do(start_gateway):
    with socket.socket() as sock:
        # Nobody listens on a port that is bound.
        sock.bind(("127.0.0.1", 0))
        daemon = start_gateway({"endpoint dead": {
            "model": "sdxl", "task": "decode",
            "url": f"http://127.0.0.1:{sock.getsockname()[1]}/sdxl",
        }})
        reply = get(daemon, "/healthz")
        assert (reply.status_code, reply.text) == (200, "ok\n")


def test_readiness_follows_the_endpoint(start_endpoint, start_gateway):
    port = processes.free_port()
    section = processes.endpoint_sections(
        f"http://127.0.0.1:{port}", ["sdxl"], ["decode"])
    daemon = start_gateway(section)
    processes.wait_until(lambda: not ready(daemon), "a dead endpoint is seen")
    reply = get(daemon, "/readyz")
    assert reply.status_code == 503
    assert "sdxl" in error_of(reply)
    endpoint = start_endpoint(port=port)
    processes.wait_until(lambda: ready(daemon), "it is ready")
    endpoint.kill()
    # A request finds it out; nobody else asks an endpoint that has answered.
    with Connection(daemon.port) as connection:
        connection.send(REQUEST)
        processes.wait_until(lambda: not ready(daemon), "its death is seen")
    start_endpoint(port=port)
    processes.wait_until(lambda: ready(daemon), "it is ready again")
    assert ask(daemon.port, REQUEST).status == 200


def test_every_model_needs_an_endpoint_that_answers(
    start_endpoint, start_gateway
):
    endpoint = start_endpoint()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{sock.getsockname()[1]}"
        daemon = start_gateway({
            **endpoint.sections(["sdxl"], ["decode"]),
            **processes.endpoint_sections(dead, ["sd-v1"], ["decode"]),
        })

        def is_told():
            reply = get(daemon, "/readyz")
            return reply.status_code == 503 and "sd-v1" in error_of(reply)

        processes.wait_until(is_told, "the dead model is named")
    assert ask(daemon.port, REQUEST).status == 200


# ---- metrics ----


def test_promtool_finds_nothing_to_say(
    start_endpoint, start_gateway, start_fake
):
    endpoint = start_endpoint()
    fake = start_fake(status(503), truncated, status(400, "no"))
    daemon = start_gateway({
        **endpoint.sections(["sd-v1"]), **fake.section(model="sdxl"),
    })
    fresh = get(daemon, "/metrics")
    assert fresh.headers["Content-Type"].startswith(
        "text/plain; version=0.0.4")
    assert promtool(fresh.content) == (0, b"")
    ask(daemon.port, REQUEST)
    ask(daemon.port, REQUEST.replace(b"/sdxl", b"/sd-v1"))
    used = get(daemon, "/metrics")
    assert promtool(used.content) == (0, b"")
    assert used.content != fresh.content
    # promtool would speak if there were something to say.
    assert promtool(used.content.replace(b"_total{", b"{")) != (0, b"")


def test_every_metric_has_help_type_and_the_programs_name(
    start_endpoint, start_gateway
):
    daemon = start_gateway(start_endpoint().sections(["sdxl"]))
    ask(daemon.port, REQUEST)
    described, typed = set(), {}
    for line in get(daemon, "/metrics").text.splitlines():
        if line.startswith("# HELP "):
            name, text = line[7:].split(" ", 1)
            assert name not in described, "described twice"
            assert text.endswith(".")
            described.add(name)
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            typed[name] = kind
        else:
            name = re.match(r"[a-z_]+", line)[0]
            base = re.sub("_(bucket|sum|count)$", "", name)
            family = base if typed.get(base) == "histogram" else name
            assert family.startswith("latentd_")
            assert family in described and family in typed, line
            assert (typed[family] == "counter") == name.endswith("_total"), \
                line
    # Base units only.
    assert not [n for n in typed if re.search("_(ms|us|ns|kb|mib)(_|$)", n)]
    for phase in PHASES + ("result_delivery",):
        assert typed[f"latentd_{phase}_seconds"] == "histogram"


def histogram(found, phase):
    """(bounds, cumulative counts, count, sum) of a phase."""
    name = f"latentd_{phase}_seconds"
    pairs = [
        (key[len(name) + 12: -2], n) for key, n in found.items()
        if key.startswith(f"{name}_bucket{{")
    ]
    bounds = [float(bound) for bound, _ in pairs]
    counts = [n for _, n in pairs]
    assert bounds == sorted(bounds) and bounds[-1] == float("inf")
    assert counts == sorted(counts)
    assert counts[-1] == found[f"{name}_count"]
    return bounds, counts, counts[-1], found[f"{name}_sum"]


def test_counts_after_known_jobs_are_exactly_right(
    start_fake, start_gateway, stack
):
    # 3 good ones; one good at the second try; one refused; one cancelled.
    fake = start_fake(good, good, good, status(503), good,
                      status(400, "no"), never)
    daemon = start_gateway(
        fake.section("one", model="sdxl", parallel=1))
    with Connection(daemon.port) as connection:
        replies = []
        for n in range(5):
            connection.send(whole("POST", TARGET, GOOD_BODY, {
                **JPEG, "X-Latentd-Producer": "a" if n else "b"}))
            replies.append(connection.reply())
        leaving = Connection(daemon.port)
        leaving.send(REQUEST)
        fake.wait_requests(7)
        leaving.close()
        connection.send(whole("POST", TARGET + "&dtype=x", GOOD_BODY))
        assert connection.reply().status == 400
    assert [r.status for r in replies[:4]] == [200] * 4
    assert replies[4].status != 200
    ended = "latentd_jobs_ended_total{outcome=\"%s\"}"
    processes.wait_until(
        lambda: gauges(daemon.http)[ended % "cancelled"] == 1,
        "the client's leaving is noticed",
    )
    found = gauges(daemon.http)
    assert {o: found[ended % o] for o in ("done", "failed", "cancelled")} \
        == {"done": 4, "failed": 1, "cancelled": 1}
    assert found['latentd_submits_total{answer="accepted"}'] == 6
    assert found['latentd_submits_total{answer="busy"}'] == 0
    for producer, done, failed in (("a", 3, 1), ("b", 1, 0)):
        name = 'latentd_producer_%s{producer="' + producer + '"%s}'
        assert found[name % ("jobs_total", ',outcome="done"')] == done
        assert found[name % ("jobs_total", ',outcome="failed"')] == failed
        assert found[name % ("received_bytes_total", "")] \
            == 128 * (done + failed)
    own = 'latentd_producer_result_bytes_total{producer="%s"}'
    assert found[own % "b"] == len(replies[0].body)
    assert found[own % "a"] == sum(len(r.body) for r in replies[1:4])
    assert found['latentd_endpoint_sent_bytes_total{endpoint="one"}'] \
        >= 6 * 128
    assert found['latentd_endpoint_received_bytes_total{endpoint="one"}'] \
        >= sum(len(r.body) for r in replies[:4])
    tries = {
        re.search('outcome="(.*)"', key)[1]: n for key, n in found.items()
        if key.startswith("latentd_endpoint_attempts_total{endpoint=\"one\"")
    }
    assert tries["ok"] == 4
    assert sum(tries.values()) == 7
    # What was aborted has no times.
    for phase, n in zip(PHASES, (6, 6, 6, 6, 6, 4)):
        assert histogram(found, phase)[2] == n, phase
    for name in ('endpoint_in_flight{endpoint="one"}', 'queue_bytes',
                 'result_bytes', 'jobs{state="queued"}',
                 'jobs{state="active"}'):
        assert found["latentd_" + name] == 0, name
    assert found['latentd_endpoint_limit{endpoint="one"}'] == 1


def test_gauges_show_what_is_there_now(start_fake, start_gateway, stack):
    gate = threading.Event()
    fake = start_fake(then=held(gate))
    daemon = start_gateway(fake.section("one", model="sdxl", parallel=2))
    connections = [
        stack.enter_context(Connection(daemon.port)) for _ in range(5)
    ]
    for connection in connections:
        connection.send(REQUEST)
    processes.wait_until(
        lambda: gauges(daemon.http)['latentd_jobs{state="queued"}'] == 3,
        "all have come",
    )
    found = gauges(daemon.http)
    assert found['latentd_jobs{state="active"}'] == 2
    assert found['latentd_endpoint_in_flight{endpoint="one"}'] == 2
    assert found['latentd_endpoint_limit{endpoint="one"}'] == 2
    assert found["latentd_queue_bytes"] == 5 * 128
    gate.set()
    assert [c.reply().status for c in connections] == [200] * 5
    assert gauges(daemon.http)["latentd_queue_bytes"] == 0


def test_times_add_up_in_seconds(start_endpoint, start_gateway):
    service_ms = 150
    endpoint = start_endpoint(service_ms=service_ms, parallel=1)
    daemon = start_gateway(endpoint.sections(["sdxl"], parallel=1))
    for _ in range(3):
        assert ask(daemon.port, REQUEST).status == 200
    found = gauges(daemon.http)
    # The endpoint keeps each request at least so long.
    assert histogram(found, "attempt_decode")[3] >= 3 * service_ms / 1000
    bounds, counts, _, _ = histogram(found, "attempt_decode")
    assert [n for bound, n in zip(bounds, counts) if bound <= 0.1] \
        == [0] * sum(bound <= 0.1 for bound in bounds)


def test_deliveries_to_nng_producers_are_counted_when_acknowledged(
    start_endpoint, start_gateway
):
    daemon = start_gateway(start_endpoint().sections(["sdxl"]))
    z = latent("sdxl", seed=1)
    with Producer(daemon.url, "p") as producer:
        producer.submit("k", z.data, **z.fields, output="jpg")
        result = producer.take("k")
        before = gauges(daemon.http)
        assert before["latentd_result_bytes"] == len(result.body)
        assert histogram(before, "result_delivery")[2] == 0
        producer.thank()
    found = gauges(daemon.http)
    assert histogram(found, "result_delivery")[2] == 1
    assert found["latentd_result_bytes"] == 0


def test_no_name_can_break_the_text(start_fake, start_gateway, short_tmp):
    fake = start_fake()
    section = fake.section('a"b\\c{d}', model="sdxl")
    path = short_tmp / "check.conf"
    path.write_text(processes.ini_text({
        "daemon": {"listen": f"ipc://{short_tmp}/x.sock"}, **section}))
    done = processes.run(
        processes.program("latentd"), "--config", path, "--check")
    if done.returncode != 0:
        # Refused with a sentence, so that no such name comes into the text.
        assert b"a\"b\\c{d}" in done.stderr
        section = fake.section(model="sdxl")
    daemon = start_gateway(section)
    for name in ('x"y', 'x\\', 'x\ty', "x{y}"):
        reply = ask(daemon.port, whole("POST", TARGET, GOOD_BODY, {
            **JPEG, "X-Latentd-Producer": name}))
        assert reply.status in (200, 400)
        with Producer(daemon.url, name) as producer:
            z = latent("sdxl")
            producer.try_submit("k", z.data, **z.fields, output="jpg")
    ask(daemon.port, REQUEST)
    code, said = promtool(get(daemon, "/metrics").content)
    assert (code, said) == (0, b"")


def test_more_producers_than_are_told_apart_are_counted_together(
    start_endpoint, start_gateway
):
    daemon = start_gateway(start_endpoint().sections(["sdxl"], ["decode"]))
    n = 600
    with Connection(daemon.port) as connection:
        for i in range(n):
            connection.send(whole("POST", TARGET, GOOD_BODY, {
                **JPEG, "X-Latentd-Producer": f"run-{i}"}))
            assert connection.reply().status == 200
    told = {
        key: value for key, value in gauges(daemon.http).items()
        if key.startswith("latentd_producer_jobs_total")
        and 'outcome="done"' in key
    }
    assert len(told) < 400
    assert sum(told.values()) == n


def test_the_build_is_told(start_fake, start_gateway):
    daemon = start_gateway(start_fake().section())
    header = (processes.SOURCE_DIR / "include/latentd/version.h").read_text()
    version = re.search('LATENTD_VERSION "(.*)"', header)[1]
    found = gauges(daemon.http)
    assert [value for key, value in found.items()
            if key.startswith("latentd_build_info{")
            and f'version="{version}"' in key] == [1]
    assert json.loads(ask(daemon.port, head("GET", "/status")).body)
