# SPDX-License-Identifier: Apache-2.0
"""A changed configuration is taken over while jobs go on, whole or not at
all; nothing is dropped by it, neither job nor connection."""

import json
import os
import signal
import threading

import pytest
import requests

import processes
import wire
from fakes import held
from fleet import check_fake, endpoints, submit, wait_why
from samples import latent


def reload(daemon, latentctl, **keys):
    return latentctl(daemon, "reload", **keys)


def refused(daemon, latentctl, *words):
    """A reload is refused with a sentence that has all the words."""
    before = wire.report(daemon.url)
    done = reload(daemon, latentctl, check=1)
    text = " ".join(done.stderr.decode().split())
    for word in words:
        assert word in text
    assert done.stdout == b""
    after = json.loads(wire.report(daemon.url))
    assert all(word in after["config"]["refused"] for word in words)
    assert after["endpoints"] == json.loads(before)["endpoints"]
    return text


@pytest.fixture
def gate(stack):
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


def test_endpoints_come_and_go_and_no_job_is_dropped(
    start_fake, start_daemon, connect, latentctl, gate
):
    old, new = start_fake(held(gate)), start_fake()
    daemon = start_daemon(old.section(parallel=1))
    producer = connect(daemon)
    latents = {f"k{i}": latent(seed=i) for i in range(4)}
    for key, z in latents.items():
        submit(producer, key, z)
    old.wait_requests(1)
    daemon.configure({
        "endpoint fake": None,
        "endpoint new": new.section()["endpoint fake"],
    })
    assert reload(daemon, latentctl).stdout == (
        b"the configuration was taken over\n")
    daemon.wait_line("endpoint=fake is used no more; 1 requests to finish")
    assert list(endpoints(daemon)) == ["new"]
    # On the same connection, before and after.
    others = [producer.collect() for _ in range(3)]
    assert len(new.requests) == 3 and len(old.requests) == 1
    gate.set()
    last = producer.collect()
    for result in [*others, last]:
        check_fake(result, latents[result["key"]])
    assert last["endpoint"] == "fake" if "endpoint" in last.fields else True
    producer.thank()


@pytest.mark.parametrize("section, key, value, words", [
    ("daemon", "listen", "ipc:///tmp/latentd-elsewhere.sock", ["listen"]),
    ("daemon", "http", "127.0.0.1:0", ["http"]),
    ("daemon", "events", "state", ["events", "events_listen"]),
    ("queue", "jobs", "many", ["latentd.conf:", "jobs", "many"]),
    ("queue", "jbos", "1", ["jbos", "did you mean \"jobs\"?"]),
    ("endpoint fake", "token_file", "/nonexistent", ["token_file"]),
    ("endpoint fake", "url", None, ["url"]),
])
def test_what_is_wrong_or_cannot_change_is_named_and_nothing_changes(
    start_fake, start_daemon, connect, latentctl, section, key, value, words
):
    fake, other = start_fake(), start_fake()
    daemon = start_daemon({**fake.section(), "queue": {"producer_jobs": 9}})
    producer = connect(daemon)
    daemon.configure({
        section: {key: value},
        "endpoint other": other.section()["endpoint fake"],
    })
    refused(daemon, latentctl, *words)
    z = latent(seed=1)
    submit(producer, "k", z)
    check_fake(producer.take("k"), z)
    producer.thank()
    assert list(endpoints(daemon)) == ["fake"] and not other.requests
    # Put right, it is taken over.
    old = {"daemon": {"listen": daemon.url}}.get(section, {}).get(key)
    if key == "url":
        old = fake.section()["endpoint fake"]["url"]
    daemon.configure({section: {key: old}})
    reload(daemon, latentctl)
    assert list(endpoints(daemon)) == ["fake", "other"]
    assert json.loads(wire.report(daemon.url))["config"]["refused"] == ""


def test_a_file_that_is_gone_changes_nothing(
    start_fake, start_daemon, connect, latentctl
):
    fake = start_fake()
    daemon = start_daemon(fake.section())
    daemon.config.unlink()
    refused(daemon, latentctl, "cannot read", str(daemon.config))
    z = latent(seed=2)
    producer = connect(daemon)
    submit(producer, "k", z)
    check_fake(producer.take("k"), z)
    producer.thank()


def test_limits_change_for_producers_that_are_there(
    start_fake, start_daemon, connect, latentctl, gate
):
    fake = start_fake(held(gate))
    daemon = start_daemon({
        **fake.section(parallel=1), "queue": {"producer_jobs": 2}})
    producer = connect(daemon)
    submit(producer, "a", latent(seed=1))
    submit(producer, "b", latent(seed=2))

    def more(key):
        fields = latent(seed=3)
        return producer.try_submit(key, fields.data, **fields.fields)

    more("c").expect("BUSY", reason="producer_jobs")
    daemon.configure({"producer p": {"jobs": 3}})
    reload(daemon, latentctl)
    more("c").expect("ACCEPTED")
    more("d").expect("BUSY", reason="producer_jobs")
    daemon.configure({"queue": {"jobs": 1}})
    reload(daemon, latentctl)
    more("d").expect("BUSY", reason="jobs")
    daemon.configure({"producer p": None, "queue": {
        "producer_jobs": 100, "jobs": 100}})
    reload(daemon, latentctl)
    more("d").expect("ACCEPTED")
    gate.set()
    assert len(producer.take_all(4)) == 4
    producer.thank()


def test_parallel_weight_and_log_level_change(
    start_fake, start_daemon, connect, latentctl, gate
):
    fake = start_fake(*[held(gate)] * 3)
    daemon = start_daemon(fake.section(parallel=1))
    producer = connect(daemon)
    for i in range(3):
        submit(producer, f"k{i}", latent(seed=i))
    fake.wait_requests(1)
    assert endpoints(daemon)["fake"]["in_flight"] == 1
    assert "queued -> active" not in daemon.stderr()
    daemon.configure({
        "endpoint fake": {"parallel": 3, "weight": 7},
        "daemon": {"log_level": "debug"},
    })
    reload(daemon, latentctl)
    fake.wait_requests(3)
    daemon.wait_line("job 2: queued -> active")
    gate.set()
    producer.take_all(3)
    producer.thank()


def test_kept_results_outlive_a_shorter_time_only_if_it_is_long_enough(
    start_fake, start_daemon, connect, latentctl
):
    fake = start_fake()
    daemon = start_daemon(fake.section())
    producer = connect(daemon)
    submit(producer, "k", latent(seed=1))
    daemon.wait_line("outcome=done")
    daemon.configure({"queue": {"keep_s": 1}})
    reload(daemon, latentctl)
    daemon.wait_line("key=k out_bytes=.*result dropped")
    producer.take("k").expect("RESULT", code="dropped")
    producer.thank()


def test_jobs_wait_for_a_model_that_nobody_decodes_any_more(
    start_fake, start_daemon, connect, latentctl, gate
):
    fake = start_fake(held(gate))
    daemon = start_daemon(fake.section(parallel=1))
    producer = connect(daemon)
    latents = {f"k{i}": latent(seed=i) for i in range(2)}
    for key, z in latents.items():
        submit(producer, key, z)
    fake.wait_requests(1)
    section = daemon.sections["endpoint fake"]
    daemon.configure({
        "endpoint fake": None,
        "endpoint flux": {**section, "model": "flux"},
    })
    reload(daemon, latentctl)
    daemon.wait_line("1 jobs wait to decode sd-v1, which no endpoint does")
    wait_why(producer, "k1", "until an endpoint is configured", "sd-v1")
    z = latent(seed=9)
    producer.try_submit("new", z.data, **z.fields).expect(
        "REJECTED", code="model")
    gate.set()
    check_fake(producer.take("k0"), latents["k0"])
    daemon.configure({"endpoint flux": None, "endpoint fake": section})
    reload(daemon, latentctl)
    check_fake(producer.take("k1"), latents["k1"])
    producer.thank()


def test_the_http_token_changes(start_fake, start_gateway, latentctl, short_tmp):
    token = short_tmp / "http.token"
    token.write_text("first-token-0123456789\n")
    daemon = start_gateway({
        **start_fake().section(), "daemon": {"http_token_file": token}})

    def status(shown):
        return requests.get(
            f"{daemon.http}/status", timeout=60,
            headers={"Authorization": f"Bearer {shown}"}).status_code

    assert status("first-token-0123456789") == 200
    token.write_text("second-token-0123456789\n")
    reload(daemon, latentctl)
    assert status("first-token-0123456789") == 401
    assert status("second-token-0123456789") == 200


def test_metrics_tell_of_a_refused_configuration(
    start_fake, start_gateway, latentctl
):
    daemon = start_gateway(start_fake().section())

    def line():
        text = requests.get(f"{daemon.http}/metrics", timeout=60).text
        return [
            line for line in text.splitlines()
            if line.startswith("latentd_config_last_reload_successful ")
        ]

    assert line() == ["latentd_config_last_reload_successful 1"]
    daemon.configure({"queue": {"jobs": "0"}})
    reload(daemon, latentctl, check=1)
    assert line() == ["latentd_config_last_reload_successful 0"]
    daemon.configure({"queue": {"jobs": "5"}})
    reload(daemon, latentctl)
    assert line() == ["latentd_config_last_reload_successful 1"]


def test_endpoints_that_stay_and_go_are_asked_for_their_health_meanwhile(
    start_fake, start_gateway, latentctl, connect
):
    fake = start_fake()
    section = fake.section(health="/health")["endpoint fake"]
    daemon = start_gateway({"endpoint a": section})
    before = "a"
    for names in ("a", "a", "b", "b", "ab", "a"):
        daemon.configure({f"endpoint {name}": None for name in before})
        daemon.configure({f"endpoint {name}": section for name in names})
        before = names
        reload(daemon, latentctl)
        assert list(endpoints(daemon)) == list(names)
    producer = connect(daemon)
    z = latent(seed=7)
    submit(producer, "k", z)
    check_fake(producer.take("k"), z)
    producer.thank()


def test_many_reloads_at_once_are_all_answered(
    start_fake, start_daemon, connect, latentctl
):
    fake = start_fake()
    daemon = start_daemon(fake.section())
    producers = [connect(daemon, f"p{i}") for i in range(8)]
    answers = []
    askers = [
        threading.Thread(target=lambda p=p: answers.append(
            p.ask("ADMIN", {"op": "reload"}).type))
        for p in producers
    ]
    for asker in askers:
        asker.start()
    for _ in range(20):
        daemon.signal(signal.SIGHUP)
    for asker in askers:
        asker.join()
    assert answers == ["DONE"] * 8
    z = latent(seed=4)
    submit(producers[0], "k", z)
    check_fake(producers[0].take("k"), z)
    producers[0].thank()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_other_users_may_not_reload(start_fake, start_daemon, short_tmp):
    daemon = start_daemon(start_fake().section())
    os.chmod(short_tmp, 0o711)
    os.chmod(short_tmp / "latentd.sock", 0o666)
    # The directory above may be closed to others.
    done = processes.run(
        "setpriv", "--reuid=65534", "--clear-groups",
        processes.program("latentctl"), "reload", env=daemon.env())
    assert done.returncode != 0
    assert b"only root" in done.stderr or b"permission" in (
        done.stderr.lower())


def test_reload_as_json(start_fake, start_daemon, latentctl):
    daemon = start_daemon(start_fake().section())
    done = latentctl(daemon, "reload", "--json")
    assert json.loads(done.stdout) == {"reloaded": True}
    daemon.configure({"queue": {"jobs": "none"}})
    done = latentctl(daemon, "reload", "--json", check=1)
    said = json.loads(done.stdout)
    assert said["reloaded"] is False and "none" in said["message"]


def test_more_room_for_results_lets_jobs_go_on(
    start_fake, start_daemon, connect, latentctl
):
    """Jobs whose results had no room within the old bound."""
    z, bound = latent(height=64, width=64), 4 << 20
    fake = start_fake()
    daemon = start_daemon({
        **fake.section(parallel=2),
        "queue": {"producer_bytes": bound, "producer_jobs": 20},
    })
    producer = connect(daemon)
    for i in range(10):
        submit(producer, f"k{i}", z)
    # 786,432 bytes each: five fit.
    processes.wait_until(
        lambda: json.loads(wire.report(daemon.url))["jobs"]["done_total"] == 5,
        "the bound is full")
    wait_why(producer, "k9", "until its producer collects results")
    daemon.configure({"queue": {"producer_bytes": 4 * bound}})
    reload(daemon, latentctl)
    processes.wait_until(
        lambda: json.loads(wire.report(daemon.url))["jobs"]["done_total"] == 10,
        "all are done")
    assert len(producer.take_all(10)) == 10
    producer.thank()
