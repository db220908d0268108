# SPDX-License-Identifier: Apache-2.0
"""What the daemon logs: a line for each job, text or JSON, nothing that forges
a line, and no flood of the same."""

import json
import re
import threading

import pytest

from fakes import status
from fleet import submit
from samples import latent

FIELDS = [
    "job", "producer", "key", "task", "model", "output", "outcome",
    "endpoint", "http", "queued_ms", "decode_ms", "finish_ms", "in_bytes",
    "out_bytes", "attempts",
]
HOSTILE = 'no\x1b[31m\nlatentd: job=99 outcome=done "quoted" \\ end'


def lines(daemon):
    return [json.loads(line) for line in daemon.stderr().splitlines()]


@pytest.fixture
def json_daemon(start_daemon):
    def start(sections, *args):
        return start_daemon({
            **sections,
            "daemon": {"log_format": "json"}, "queue": {"attempts": 1}}, *args)

    return start


def test_json_lines_tell_everything_about_a_job(
    start_fake, json_daemon, connect
):
    fake = start_fake(status(400, HOSTILE))
    daemon = json_daemon(fake.section())
    producer = connect(daemon)
    submit(producer, "bad", latent(seed=1))
    producer.take("bad").expect("RESULT", state="failed")
    submit(producer, "good", latent(seed=2))
    result = producer.take("good").expect("RESULT", state="done")
    producer.thank()
    assert daemon.stop() == 0
    found = {
        line["key"]: line for line in lines(daemon) if "outcome" in line}
    assert list(found) == ["bad", "good"]
    good, bad = found["good"], found["bad"]
    assert list(good) == ["time", "level", *FIELDS]
    assert list(bad) == ["time", "level", *FIELDS, "reason"]
    assert good["outcome"] == "done" and bad["outcome"] == "failed"
    assert good["http"] == 200 and bad["http"] == 400
    assert good["out_bytes"] == len(result.body)
    assert good["in_bytes"] == len(latent(seed=2).data)
    assert good["attempts"] == bad["attempts"] == 1
    assert "job=99 outcome=done \"quoted\" \\ end" in bad["reason"]


def test_text_from_outside_forges_no_line(start_fake, start_daemon, connect):
    fake = start_fake(status(400, HOSTILE))
    daemon = start_daemon({**fake.section(), "queue": {"attempts": 1}})
    producer = connect(daemon)
    submit(producer, "bad", latent(seed=1))
    producer.take("bad").expect("RESULT", state="failed")
    producer.thank()
    assert daemon.stop() == 0
    text = daemon.stderr()
    assert "\x1b" not in text
    for line in text.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT[0-9:.]+Z latentd: ", line)
    [line] = [line for line in text.splitlines() if "outcome=" in line]
    [reason] = re.findall(r'outcome=failed .* reason="((?:[^"\\]|\\.)*)"$', line)
    assert r'done \"quoted\"' in reason


def test_failing_requests_do_not_flood_the_log(
    start_fake, start_daemon, connect
):
    gate = threading.Event()

    def broken(exchange):
        gate.wait()
        status(500, "broken")(exchange)

    fake = start_fake(*[broken] * 30)
    daemon = start_daemon({
        **fake.section(parallel=32), "queue": {"attempts": 1000},
    })
    producer = connect(daemon)
    for i in range(30):
        submit(producer, f"k{i}", latent(seed=i))
    fake.wait_requests(30)
    gate.set()
    results = producer.take_all(30)
    producer.thank()
    assert {r["state"] for r in results.values()} == {"done"}
    assert daemon.stop() == 0
    text = daemon.stderr()
    tried_n = len(re.findall(
        '": a request failed; the job is tried again$', text, re.M))
    left_out_n = sum(
        int(n) for n in re.findall(
            r"(\d+) more lines like the next were left out: a request failed",
            text))
    requests_n = len(fake.requests)
    assert tried_n == 20
    assert tried_n + left_out_n == requests_n - 30 >= 30
    assert len(re.findall("outcome=done", text)) == 30


def test_levels_are_those_of_the_configuration_unless_told_otherwise(
    start_fake, start_daemon, connect
):
    sections = {**start_fake().section(), "daemon": {"log_level": "debug"}}
    daemon = start_daemon(sections, "--log-level", "info")
    producer = connect(daemon)
    submit(producer, "k", latent(seed=1))
    producer.take("k")
    producer.thank()
    assert daemon.stop() == 0
    assert "->" not in daemon.stderr() and "outcome=done" in daemon.stderr()
