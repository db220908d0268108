# SPDX-License-Identifier: Apache-2.0
"""What one user may take: connections, jobs and bytes, of all its producers
together, and that others are served meanwhile."""

import json
import os
from contextlib import contextmanager

import pytest
import requests

import processes
import wire
from fakes import fake_pixels
from samples import latent

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can come as other users")

GREEDY, MODEST = 61001, 61002
Z = latent(seed=9)


@contextmanager
def as_uid(uid):
    """The kernel tells the daemon this uid of who connects meanwhile."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def connect_as(stack, daemon):
    """connect_as(uid, name): a wire.Producer of that user."""

    def call(uid, name="p", **keys):
        with as_uid(uid):
            return stack.enter_context(wire.Producer(daemon.url, name, **keys))

    return call


@pytest.fixture
def keys():
    """More keys of the configuration; tests override it by parametrize."""
    return {}


@pytest.fixture
def daemon(start_gateway, start_fake, short_tmp, keys):
    found = start_gateway({
        **start_fake().section(), **keys.get("sections", {}),
        "daemon": {"user_connections": 5, **keys.get("daemon", {})},
        "queue": {"jobs": 100, "user_jobs": 4, "user_bytes": 1 << 20,
                  **keys.get("queue", {})},
    })
    os.chmod(short_tmp, 0o755)
    os.chmod(short_tmp / "latentd.sock", 0o666)
    return found


def metric(daemon, name):
    text = requests.get(f"{daemon.http}/metrics", timeout=60).text
    [line] = [line for line in text.splitlines()
              if line.startswith(f"latentd_{name} ")]
    return int(line.split()[1])


def is_served(producer):
    try:
        return producer.ask("HELLO").type == "WELCOME"
    except (wire.Closed, OSError):
        return False


def submit(producer, key):
    return producer.try_submit(key, Z.data, **Z.fields, output="pixels")


def collect(producer, key):
    result = producer.take(key)
    producer.thank()
    n, _, height, width = Z.fields["shape"]
    assert result.body == fake_pixels(
        Z.data, n, height * 8, width * 8).tobytes()


def flood(connect_as, n):
    """Connections of one user that are served, of n."""
    served = []
    for _ in range(n):
        try:
            producer = connect_as(GREEDY)
        except (wire.Closed, OSError):
            continue
        if is_served(producer):
            served.append(producer)
    return served


def test_a_flood_of_connections_of_one_user_leaves_others_served(
    daemon, connect_as
):
    served = flood(connect_as, 30)
    assert len(served) == 5
    assert metric(daemon, "connections_refused_total") == 25
    assert metric(daemon, "connections") == 5
    daemon.wait_line(f"connections of uid {GREEDY} are turned away")
    for uid in (MODEST, 0):
        producer = connect_as(uid, "other")
        assert submit(producer, "k").type == "ACCEPTED"
        collect(producer, "k")
    # One that ends makes room for one more.
    served.pop().close()
    processes.wait_until(lambda: metric(daemon, "connections") == 6,
                         "its connection has ended")
    assert len(flood(connect_as, 3)) == 1
    # The log is not flooded, too.
    assert daemon.stderr().count("turned away") <= 2


def test_root_has_as_many_connections_as_there_are(daemon, connect_as):
    assert all(is_served(connect_as(0)) for _ in range(20))
    assert metric(daemon, "connections_refused_total") == 0


@pytest.mark.parametrize("keys", [{"daemon": {"drain_s": 0}}])
def test_a_user_s_jobs_are_bounded_under_all_its_names_together(
    daemon, connect_as, latentctl
):
    latentctl(daemon, "pause", "out", check=0)
    a, b = connect_as(GREEDY, "a"), connect_as(GREEDY, "b")
    for producer, key in ((a, "1"), (b, "1"), (a, "2"), (b, "2")):
        assert submit(producer, key).type == "ACCEPTED"
    for producer in (a, b):
        submit(producer, "3").expect("BUSY", reason="user_jobs")
    # Known keys are not new jobs.
    submit(a, "1").expect("ACCEPTED")
    other = connect_as(MODEST, "a")
    assert submit(other, "1").type == "ACCEPTED"
    root = connect_as(0, "a")
    for key in map(str, range(6)):
        assert submit(root, key).type == "ACCEPTED"
    latentctl(daemon, "resume", "out", check=0)
    collect(other, "1")
    collect(a, "1")
    submit(b, "3").expect("ACCEPTED")


@pytest.mark.parametrize("keys", [{"queue": {"jobs": 1000,
                                            "user_jobs": 500}}])
def test_a_user_s_bytes_are_bounded_with_its_results(daemon, connect_as):
    a, b = connect_as(GREEDY, "a"), connect_as(GREEDY, "b")
    # Each result has 64 x 64 x 3 bytes; 1 MiB holds 85 of them.
    reply = None
    for i in range(100):
        reply = submit((a, b)[i % 2], f"k{i}")
        if reply.type == "BUSY":
            break
        processes.wait_until(
            lambda n=i + 1: json.loads(wire.report(daemon.url))
            ["queue"]["result_bytes"] == n * 12288, "it is decoded")
    reply.expect("BUSY", reason="user_bytes")
    other = connect_as(MODEST, "a")
    assert submit(other, "k").type == "ACCEPTED"
    collect(other, "k")


@pytest.mark.parametrize("keys", [{"daemon": {}}])
def test_over_tcp_an_address_is_a_user_of_connections(
    start_daemon, start_fake, short_tmp, stack, keys
):
    port = processes.free_port()
    daemon = start_daemon({
        **start_fake().section(),
        "daemon": {"user_connections": 3, "listen": [
            f"ipc://{short_tmp}/latentd.sock", f"tcp://127.0.0.1:{port}"]},
    })
    url = f"tcp://127.0.0.1:{port}"
    served = 0
    for _ in range(8):
        try:
            producer = stack.enter_context(wire.Producer(url))
        except (wire.Closed, OSError):
            continue
        served += is_served(producer)
    assert served == 3
    daemon.wait_line("connections of 127.0.0.1 are turned away")
    with wire.Producer(daemon.url) as producer:
        assert is_served(producer)
