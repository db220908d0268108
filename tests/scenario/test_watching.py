# SPDX-License-Identifier: Apache-2.0
"""What an operator sees: the report, HTTP, events, the log, configuration."""

import json
import os
import re
import select
import threading

import pytest
import requests

import processes
import wire
from fakes import dead_url, held, status
from samples import latent

Z = latent(seed=1)


def submit(producer, key="k", z=Z, **fields):
    return producer.submit(key, z.data, **z.fields, **fields)


@pytest.fixture
def gate(stack):
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


# ---- the report ----


def test_the_report_counts_jobs_in_every_state(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(held(gate), status(400, "not nice"))
    daemon = start_daemon(fake.section(parallel=1))
    producer = connect(daemon)

    def report():
        return json.loads(wire.report(daemon.url))

    empty = report()
    assert empty["state"] == "running"
    assert re.fullmatch("[0-9a-f]{16}", empty["instance"])
    assert int(empty["instance"], 16) == producer.hello()["instance"]
    assert empty["queue"]["jobs"] == empty["queue"]["bytes"] == 0

    submit(producer, "a")
    submit(producer, "b")
    submit(producer, "c")
    fake.wait_requests(1)
    producer.cancel("c")
    busy = report()
    assert busy["jobs"]["active"] == busy["jobs"]["queued"] == 1
    assert busy["jobs"]["cancelled_total"] == busy["jobs"]["kept"] == 1
    assert busy["queue"]["jobs"] == 3
    assert 2 * 512 < busy["queue"]["bytes"] < 2 * 1024
    assert busy["producers"] == [
        {"name": "p", "uid": os.getuid(), "open": 2, "queued": 1,
         "active": 1, "kept": 1, "failed": 0, "buried": 0}
    ]
    [endpoint] = busy["endpoints"]
    assert endpoint["in_flight"] == endpoint["requests_total"] == 1
    assert endpoint["url"] == f"{fake.url}/sd-v1"

    gate.set()
    held_tags = [producer.collect()["tag"] for _ in range(3)]
    ended = report()
    assert ended["jobs"] == {
        "queued": 0, "active": 0, "kept": 3, "failed": 1, "buried": 0,
        "done_total": 1, "failed_total": 1, "cancelled_total": 1,
        "expired_total": 0, "forgotten_total": 0,
    }
    # The failed job keeps its latent.
    assert 512 < ended["queue"]["bytes"] < 1024
    assert ended["queue"]["result_bytes"] > 0
    [endpoint] = ended["endpoints"]
    assert (endpoint["done_total"], endpoint["failed_total"]) == (1, 1)
    assert "not nice" in endpoint["last_error"]

    producer.collect(0, held_tags)
    after = report()
    assert after["queue"]["jobs"] == after["jobs"]["buried"] == 1
    assert after["queue"]["result_bytes"] == 0
    [artist] = after["producers"]
    assert (artist["kept"], artist["buried"]) == (0, 1)
    producer.ask("ADMIN", {"op": "purge", "all": 1}).expect("DONE", jobs=1)
    purged = report()
    assert purged["queue"]["jobs"] == purged["queue"]["bytes"] == 0
    assert purged["producers"] == [] and purged["producers_total"] == 0


def test_http_serves_the_report_and_health(start_fake, start_daemon):
    http = f"127.0.0.1:{processes.free_port()}"
    daemon = start_daemon({
        **start_fake().section(), "daemon": {"http": http},
    })
    url = f"http://{http}"
    health = requests.get(f"{url}/healthz", timeout=60)
    assert (health.status_code, health.text) == (200, "ok\n")
    over_http = requests.get(f"{url}/status", timeout=60)
    assert over_http.headers["Content-Type"] == "application/json"
    over_nng = json.loads(wire.report(daemon.url))
    assert over_http.json().keys() == over_nng.keys()
    assert over_http.json()["instance"] == over_nng["instance"]
    assert requests.head(f"{url}/status", timeout=60).status_code == 200
    missing = requests.get(f"{url}/jobs", timeout=60)
    assert missing.status_code == 404 and "/status" in missing.json()["error"]
    wrong = requests.post(f"{url}/status", data=b"x", timeout=60)
    assert wrong.status_code == 405 and "GET" in wrong.json()["error"]


def test_http_survives_what_is_no_http(start_fake, start_daemon):
    port = processes.free_port()
    start_daemon({
        **start_fake().section(), "daemon": {"http": f"127.0.0.1:{port}"},
    })
    for data in (
        b"", b"\0" * 1000, b"GET /status HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 500000, b"GET / HTTP/1.1\r\nX: " + b"y" * 500000,
        b"POST /status HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        with wire.dial(f"tcp://127.0.0.1:{port}") as sock:
            try:
                sock.sendall(data)
            except ConnectionError:
                pass
    health = requests.get(f"http://127.0.0.1:{port}/healthz", timeout=60)
    assert health.text == "ok\n"


# ---- events ----


NUDGE = {"endpoint nudge": {
    "model": "hunyuan-video", "task": "decode", "url": "http://127.0.0.1:1/",
}}


@pytest.fixture
def subscribe(stack, connect):
    """subscribe(daemon, url): a subscriber that is known to be one.

    nng does not tell a subscriber when it is heard; jobs of somebody else's
    are made and cancelled until their events come."""

    def start(daemon, url=None):
        subscriber = stack.enter_context(
            wire.Connection(url or f"{daemon.url}.events", wire.SUB)
        )
        nudge = connect(daemon, "nudge")
        z = latent("hunyuan-video", 1, 1, frames=1)

        def heard():
            submit(nudge, z=z)
            nudge.cancel("k").expect("CANCELLED")
            nudge.take("k")
            nudge.thank()
            return select.select([subscriber.sock], [], [], 0)[0]

        processes.wait_until(heard, "an event comes")
        return subscriber

    return start


def events_of(subscriber, producer, n):
    """The next n events of a producer."""
    events = []
    while len(events) < n:
        event = wire.Message(subscriber.receive()).expect("EVENT")
        if event["producer"] == producer:
            events.append(event)
    return events


def test_a_subscriber_sees_every_state(
    start_fake, start_daemon, connect, subscribe
):
    fake = start_fake(status(500), then=status(400, "no"))
    daemon = start_daemon({
        **fake.section(), **NUDGE, "daemon": {"events": "state"},
    })
    producer = connect(daemon, "artist")
    subscriber = subscribe(daemon)
    job = submit(producer)
    producer.take("k").expect("RESULT", state="failed")
    producer.thank()
    events = events_of(subscriber, "artist", 5)
    assert [event["state"] for event in events] == [
        "queued", "active", "queued", "active", "failed",
    ]
    for event in events:
        event.expect("EVENT", id=job, model="sd-v1", task="decode")
        assert event.body == b""


@pytest.mark.parametrize("output", ["png", "jpg"])
def test_the_done_event_carries_the_first_file_where_configured(
    start_endpoint, start_daemon, connect, subscribe, short_tmp, output
):
    url = f"ipc://{short_tmp}/gallery"
    daemon = start_daemon({
        **start_endpoint().sections(["sd-v1"], ["decode"]), **NUDGE,
        "daemon": {"events": "image", "events_listen": url},
    })
    producer = connect(daemon, "artist")
    subscriber = subscribe(daemon, url)
    submit(producer, "k", latent(batch=2), output=output)
    result = producer.take("k").expect("RESULT", state="done")
    producer.thank()
    *before, done = events_of(subscriber, "artist", 3)
    assert [event.body for event in before] == [b"", b""]
    done.expect("EVENT", state="done", output=output)
    assert done.body == result.parts[0]
    assert done["part_bytes"] == len(done.body)


def test_a_tensor_is_not_published(
    start_fake, start_daemon, connect, subscribe
):
    daemon = start_daemon({
        **start_fake().section(), **NUDGE, "daemon": {"events": "image"},
    })
    producer = connect(daemon, "artist")
    subscriber = subscribe(daemon)
    submit(producer, output="pixels")
    producer.take("k")
    producer.thank()
    done = events_of(subscriber, "artist", 3)[2]
    assert done.expect("EVENT", state="done").body == b""


def test_a_subscriber_that_does_not_read_holds_nobody_up(
    start_endpoint, start_daemon, connect
):
    daemon = start_daemon({
        **start_endpoint(parallel=4).sections(parallel=4),
        "daemon": {"events": "image"},
    })
    producer = connect(daemon)
    z = latent(height=32, width=32)
    with wire.Connection(f"{daemon.url}.events", wire.SUB):
        for i in range(100):
            submit(producer, f"k{i}", z)
        producer.take_all(100)
    submit(producer)
    producer.take("k").expect("RESULT", state="done")
    producer.thank()


def test_without_events_there_is_no_event_socket(
    start_fake, start_daemon, short_tmp
):
    start_daemon(start_fake().section())
    assert not list(short_tmp.glob("*.events"))


# ---- the log ----


def test_each_job_leaves_one_line(start_fake, start_daemon, connect):
    fake = start_fake()
    daemon = start_daemon(fake.section())
    producer = connect(daemon, "artist")
    submit(producer, "picture-1", output="pixels")
    producer.take("picture-1")
    producer.thank()
    line = daemon.wait_line("^.*job=1 .*$")[0]
    for part in (
        "producer=artist", "key=picture-1", "task=decode", "model=sd-v1",
        "output=pixels", "outcome=done", "endpoint=fake", "http=200",
        "in_bytes=512", "out_bytes=12288", "attempts=1",
    ):
        assert part in line.split(" "), line
    assert daemon.stderr().count("job=1 ") == 1


# ---- configuration ----


def run_latentd(*args):
    done = processes.run(processes.program("latentd"), *args)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


ENDPOINT = """
[endpoint a]
model = sdxl
task = decode
url = http://127.0.0.1:1/sdxl
"""


@pytest.fixture
def check(tmp_path):
    """check(text): run latentd --check on a file with that text."""

    def run(text):
        path = tmp_path / "x.conf"
        path.write_text(text)
        return run_latentd("--config", path, "--check")

    return run


def test_check_prints_what_would_be_used(check, tmp_path):
    code, out, err = check(ENDPOINT)
    assert (code, err) == (0, "")
    for line in (
        "listen = ipc:///run/latentd/latentd.sock", "events = none",
        "jobs = 10000", "bytes = 2147483648", "[endpoint a]", "parallel = auto",
    ):
        assert line in out.splitlines()
    # Its output is a configuration that says the same.
    assert check(out) == (0, out, "")


@pytest.mark.parametrize("text, line, said", [
    ("[daemon]\nlissen = ipc:///x\n" + ENDPOINT, 2,
     'there is no key "lissen"; did you mean "listen"?'),
    ("[deamon]\nlisten = ipc:///x\n" + ENDPOINT, 1,
     'no section "deamon"; did you mean "daemon"?'),
    ("[queue]\nbytes = lots\n" + ENDPOINT, 2, 'bytes is "lots"'),
    ("[queue]\njobs = 0\n" + ENDPOINT, 2, "1 to 10000000"),
    ("[queue]\njobs = 99999999999999999999\n" + ENDPOINT, 2, "jobs is"),
    ("[queue]\njobs = -5\n" + ENDPOINT, 2, 'jobs is "-5"'),
    ("[queue]\njobs = 5\njobs = 6\n" + ENDPOINT, 3, "twice"),
    ("[daemon]\nlisten = latentd.sock\n" + ENDPOINT, 2, "ipc://"),
    ("[daemon]\nlisten = ipc://relative\n" + ENDPOINT, 2, "absolute"),
    ("[daemon]\nlisten = ipc:///" + "x" * 101 + "\n" + ENDPOINT, 2, "100"),
    ("[daemon]\nlisten = tcp://0.0.0.0:1\n" + ENDPOINT, 2, "loopback"),
    ("[daemon]\nhttp = 0.0.0.0:80\n" + ENDPOINT, 2, "loopback"),
    ("[daemon]\nevents = all\n" + ENDPOINT, 2, "none, state or image"),
    (ENDPOINT + "colour = red\n", 6, 'no key "colour"'),
    (ENDPOINT.replace("sdxl\n", "sd9\n", 1), 3, "sd-v1, sdxl, flux"),
    (ENDPOINT.replace("decode", "paint"), 4, "decode or encode"),
    (ENDPOINT.replace("http:", "ftp:"), 5, "http://"),
    (ENDPOINT.replace("127", "user:password@127"), 5, "token_file"),
    (ENDPOINT + "parallel = 0\n", 6, "1 to 1024"),
    (ENDPOINT + "token_file = /no/such/file\n", 6, "/no/such/file"),
    (ENDPOINT + "token_file = /dev/null\n", 6, "empty"),
    (ENDPOINT + ENDPOINT, 7, "line 2 already"),
    (ENDPOINT.replace("url", "#"), 2, 'has no "url"'),
    ("[daemon]\n" + ENDPOINT, 1, "no keys"),
    ("what is this\n" + ENDPOINT, 1, "key = value"),
    ("", 0, "no [endpoint NAME] section"),
    ("[endpoint a b]\nmodel = sdxl\n", 1, '"a b"'),
    ("[endpoint a]\nmodel = sdxl\n" + "x" * 5000 + "\n", 3, "longer than"),
])
def test_a_wrong_configuration_names_line_and_remedy(check, text, line, said):
    code, out, err = check(text)
    assert code == 3 and out == ""
    assert len(err.splitlines()) == 1
    # An empty file has no line to name.
    where = f":{line}" if line > 0 else ""
    assert re.match(rf"latentd: .*/x\.conf{where}: ", err), err
    assert said in err


def test_secrets_are_not_printed_by_check(check, tmp_path):
    token = tmp_path / "token"
    token.write_text("hf_secret_1234567\n")
    code, out, err = check(ENDPOINT + f"token_file = {token}\n")
    assert code == 0 and f"token_file = {token}" in out
    assert "hf_secret" not in out + err


def test_a_token_of_two_lines_is_refused_without_showing_it(check, tmp_path):
    token = tmp_path / "token"
    token.write_text("hf_secret\nX-Other: header\n")
    code, out, err = check(ENDPOINT + f"token_file = {token}\n")
    assert code == 3 and "hf_secret" not in out + err


def test_a_missing_configuration_is_named():
    code, _, err = run_latentd("--config", "/no/such/file")
    assert code == 3 and "/no/such/file" in err


def test_help_and_version():
    code, out, err = run_latentd("--help")
    assert (code, err) == (0, "") and "--config FILE" in out
    code, out, err = run_latentd("--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"latentd \d+\.\d+\.\d+([~+]\S+)?\n", out)


@pytest.mark.parametrize("args, said", [
    (["--confg", "x"], "--config"), (["--config"], "needs a value"),
    (["--log-level", "loud"], "error, warn, info or debug"),
    (["more"], 'unexpected argument "more"'),
])
def test_wrong_usage_is_explained(args, said):
    code, out, err = run_latentd(*args)
    assert code == 2 and out == "" and said in err


def test_check_does_not_touch_the_network(check):
    # Nobody listens there, and nothing is bound.
    code, _, _ = check(ENDPOINT.replace("http://127.0.0.1:1", dead_url()))
    assert code == 0
