# SPDX-License-Identifier: Apache-2.0
"""Starting, stopping and surviving: configuration, signals, restarts, and
clients that die while they connect."""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

import processes
import wire
from fakes import good, held, never
from samples import latent

Z = latent(seed=1)


def submit(producer, key="k", z=Z):
    return producer.submit(key, z.data, **z.fields, output="pixels")


def decode(daemon, name="p"):
    with wire.Producer(daemon.url, name) as producer:
        key = wire.new_key()
        submit(producer, key)
        result = producer.take(key).expect("RESULT", state="done")
        producer.thank()
    assert len(result.body) == 64 * 64 * 3


def publishes(daemon):
    """Assert that a new subscriber hears of a job."""
    with wire.Connection(f"{daemon.url}.events", wire.SUB) as subscriber:
        def heard():
            decode(daemon)
            return select.select([subscriber.sock], [], [], 0)[0]

        processes.wait_until(heard, "an event comes")
        wire.Message(subscriber.receive()).expect("EVENT")


@pytest.fixture
def gate(stack):
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


# ---- clients that die while they connect (nng #1518) ----


def test_hundreds_of_connects_and_closes_do_not_end_the_listener(
    start_fake, start_daemon
):
    daemon = start_daemon(start_fake().section())
    for _ in range(400):
        wire.dial(daemon.url).close()
    decode(daemon)
    before = daemon.fd_n()
    sockets = [wire.dial(daemon.url) for _ in range(100)]
    for sock in sockets:
        sock.close()
    decode(daemon)
    processes.wait_until(
        lambda: daemon.fd_n() <= before, "the descriptors are closed"
    )


def test_partial_and_wrong_handshakes_do_not_end_the_listener(
    start_fake, start_daemon
):
    daemon = start_daemon(start_fake().section())
    greeting = wire.greeting(wire.REQ)
    for n in range(8):
        sock = wire.dial(daemon.url)
        sock.sendall(greeting[:n])
        sock.close()
    for bad in (
        b"\0SP\1" + greeting[4:], b"GET / HT", greeting[:6] + b"\1\1",
        wire.greeting(wire.SUB), wire.greeting(wire.PUSH),
        wire.greeting(wire.REP), wire.greeting(0xffff),
    ):
        with wire.dial(daemon.url) as sock:
            sock.sendall(bad)
            # It greets in turn and then ends the connection.
            while sock.recv(64):
                pass
    decode(daemon)


DIALER = """
import socket, struct, sys
while True:
    sockets = []
    for n in (0, 4, 8, 8):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(sys.argv[1])
        sock.sendall(struct.pack(">4sHH", b"\\0SP\\0", 0x30, 0)[:n])
        sockets.append(sock)
    sockets[2].sendall(b"\\1" + struct.pack(">Q", 100) + b"\\x80\\0\\0")
    print("dialled", flush=True)
"""


def test_clients_killed_in_the_middle_of_connecting_do_not_end_the_listener(
    start_fake, start_daemon
):
    daemon = start_daemon(start_fake().section())
    path = daemon.url.removeprefix("ipc://")
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", DIALER, path],
            stdout=subprocess.PIPE,
        )
        child.stdout.readline()
        child.kill()
        child.wait()
        child.stdout.close()
    decode(daemon)


def released(daemon, before):
    """Assert that nng has let all connections go."""
    processes.wait_until(
        lambda: daemon.fd_n() <= before, "the descriptors are closed"
    )
    assert daemon.stop() == 0
    assert "nng does not" not in daemon.stderr()


def test_producers_that_die_while_they_send_are_let_go(
    start_fake, start_daemon
):
    daemon = start_daemon(start_fake().section())
    decode(daemon)
    before = daemon.fd_n()
    request = wire.message("HELLO", {"producer": "p"}, bytes(60000))
    for n in range(150):
        dying = wire.Connection(daemon.url)
        dying.sock.settimeout(0.01)
        with dying, suppress(OSError, wire.Closed):
            for _ in range(n % 40):
                dying.post(request)
    decode(daemon)
    released(daemon, before)


def test_producers_that_die_while_they_receive_are_let_go(
    start_fake, start_daemon, connect
):
    daemon = start_daemon(start_fake().section())
    decode(daemon)
    before = daemon.fd_n()
    z = latent(height=96, width=96)
    producer = connect(daemon)
    submit(producer, "k", z)
    whole = producer.collect()
    for n in range(150):
        producer.reconnect()
        producer.post("COLLECT", {"wait_ms": 25000})
        producer.connection.read(len(whole.body) * n // 150 + 1)
    producer.reconnect()
    assert producer.take("k").body == whole.body
    producer.thank()
    producer.close()
    released(daemon, before)


def test_the_event_socket_survives_them_too(start_fake, start_daemon):
    daemon = start_daemon({
        **start_fake().section(), "daemon": {"events": "state"},
    })
    events = f"{daemon.url}.events"
    for n in range(200):
        sock = wire.dial(events)
        sock.sendall(wire.greeting(wire.SUB)[: n % 9])
        sock.close()
    publishes(daemon)


def test_more_connections_than_allowed_are_turned_away(
    start_fake, start_daemon, stack
):
    daemon = start_daemon(start_fake().section())
    connections = []
    with pytest.raises((wire.Closed, OSError)):
        for _ in range(1100):
            connection = stack.enter_context(wire.Connection(daemon.url))
            connections.append(connection)
            connection.ask(wire.message("STATUS"))
    assert len(connections) in (1024, 1025)
    for connection in connections:
        connection.close()
    processes.wait_until(lambda: served(daemon), "there is room again")
    decode(daemon)


def test_running_out_of_descriptors_is_survived(
    start_fake, start_daemon, stack
):
    daemon = start_daemon(start_fake().section())
    limit = daemon.fd_n() + 20
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (limit, limit))
    sockets = [stack.enter_context(wire.dial(daemon.url)) for _ in range(60)]
    for sock in sockets:
        sock.sendall(wire.greeting(wire.REQ))
    processes.wait_until(
        lambda: daemon.fd_n() == limit, "no descriptor is left"
    )
    for sock in sockets:
        sock.close()
    decode(daemon)


def served(daemon):
    try:
        return wire.report(daemon.url)
    except (wire.Closed, OSError):
        return None


# ---- two daemons ----


def conflict(short_tmp, sections, *args):
    """Start a second daemon by hand; its stderr and status."""
    path = short_tmp / "second.conf"
    path.write_text(processes.ini_text(sections))
    done = processes.run(
        processes.program("latentd"), "--config", path, *args
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("what", ["listen", "events_listen", "http"])
def test_a_second_daemon_leaves_the_first_alone(
    start_fake, start_daemon, short_tmp, what
):
    fake = start_fake()
    http = f"127.0.0.1:{processes.free_port()}"
    first = start_daemon({
        **fake.section(), "daemon": {"events": "state", "http": http},
    })
    keys = {
        "listen": f"ipc://{short_tmp}/other.sock", "events": "state",
        "events_listen": f"ipc://{short_tmp}/other.events",
    }
    keys[what] = {
        "listen": first.url, "events_listen": f"{first.url}.events",
        "http": http,
    }[what]
    code, said = conflict(short_tmp, {"daemon": keys, **fake.section()})
    assert code == 1
    [line] = [text for text in said.splitlines() if "cannot start" in text]
    assert keys[what].removeprefix("ipc://") in line
    publishes(first)
    decode(first, "again")


def test_a_place_that_cannot_be_listened_on_is_named(
    start_fake, short_tmp
):
    section = start_fake().section()
    for url in (f"ipc://{short_tmp}/no/such/dir/x.sock", f"ipc://{short_tmp}"):
        code, said = conflict(
            short_tmp, {"daemon": {"listen": url}, **section}
        )
        assert code == 1 and url.removeprefix("ipc://") in said, said


# ---- SIGTERM ----


def test_sigterm_finishes_what_there_is(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(held(gate))
    daemon = start_daemon({
        **fake.section(parallel=1), "daemon": {"drain_s": 60},
    })
    producer, other = connect(daemon), connect(daemon, "other")
    for i in range(10):
        submit(producer, f"k{i}", latent(seed=i))
    fake.wait_requests(1)
    daemon.signal(signal.SIGTERM)
    daemon.wait_line("draining: 10 jobs to finish, 0 results to collect")
    other.try_submit("new", Z.data, **Z.fields).expect(
        "BUSY", reason="stopping"
    )
    # A key that is known is no new job.
    submit(producer, "k5")
    assert json.loads(wire.report(daemon.url))["state"] == "draining"
    gate.set()
    results = producer.take_all(10)
    assert {r["state"] for r in results.values()} == {"done"}
    assert daemon.wait() == 0
    assert "drained: 0 jobs unfinished, 0 results not collected" \
        in daemon.stderr()


def test_an_idle_daemon_stops_at_once(start_fake, start_daemon, connect):
    daemon = start_daemon({
        **start_fake().section(), "daemon": {"drain_s": 86400},
    })
    producer = connect(daemon)
    waiting = producer.post("COLLECT", {"wait_ms": 25000})
    producer.ask("CANCEL", {"id": 1}).expect("REJECTED")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    # Its waiting COLLECT is answered, or its connection ends; it never hangs.
    try:
        producer.answer(waiting).expect("EMPTY")
    except wire.Closed:
        pass


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once_and_says_what_is_lost(
    start_fake, start_daemon, connect, first
):
    fake = start_fake(good, then=never)
    daemon = start_daemon({
        **fake.section(parallel=2), "daemon": {"drain_s": 86400},
    })
    producer = connect(daemon)
    submit(producer, "done")
    assert producer.collect()["key"] == "done"
    for i in range(5):
        submit(producer, f"k{i}", latent(seed=i))
    fake.wait_requests(3)
    daemon.signal(first)
    daemon.wait_line("draining: 5 jobs to finish, 1 results to collect")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert "stopped with 5 jobs unfinished and 1 results not collected" \
        in daemon.stderr()


def test_a_hail_of_signals_does_not_cut_the_end_short(
    start_fake, start_daemon, connect
):
    daemon = start_daemon(start_fake(then=never).section())
    submit(connect(daemon))
    while daemon.running():
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGINT)
    assert daemon.wait() == 0, daemon.stderr()
    assert "latentd: stopped\n" in daemon.stderr()


def test_drain_ends_after_its_time(start_fake, start_daemon, connect):
    fake = start_fake(then=never)
    daemon = start_daemon({
        **fake.section(), "daemon": {"drain_s": 1},
    })
    submit(connect(daemon))
    fake.wait_requests(1)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert "drained: 1 jobs unfinished" in daemon.stderr()
    assert "stopped with 1 jobs unfinished" in daemon.stderr()


# ---- again on the same path ----


def test_a_restarted_daemon_has_another_instance(start_fake, start_daemon):
    section = start_fake().section()
    instances = []
    for _ in range(2):
        daemon = start_daemon(section)
        with wire.Producer(daemon.url) as producer:
            instances.append(producer.hello()["instance"])
        assert daemon.stop() == 0
    daemon = start_daemon(section)
    decode(daemon)
    assert len(set(instances)) == 2


def test_a_killed_daemon_leaves_nothing_in_the_way(start_fake, start_daemon):
    sections = {**start_fake().section(), "daemon": {"events": "state"}}
    for _ in range(3):
        daemon = start_daemon(sections)
        decode(daemon)
        daemon.kill()
        assert os.path.exists(daemon.url.removeprefix("ipc://"))
    daemon = start_daemon(sections)
    publishes(daemon)


def test_the_sockets_are_for_owner_and_group(start_fake, start_daemon):
    daemon = start_daemon({
        **start_fake().section(), "daemon": {"events": "state"},
    })
    for path in (daemon.url, f"{daemon.url}.events"):
        mode = os.stat(path.removeprefix("ipc://")).st_mode
        assert mode & 0o7777 == 0o660


# ---- memory ----


def release_bin_dir():
    """Programs without sanitizers, if there are any."""
    directory = os.environ.get("LATENTD_RELEASE_BIN_DIR")
    if directory:
        return directory
    binary = (processes.bin_dir() / "latentd").read_bytes()
    return None if b"__asan_init" in binary or b"__tsan_init" in binary \
        else processes.bin_dir()


def test_an_idle_daemon_is_small(start_endpoint, start_daemon):
    directory = release_bin_dir()
    if directory is None:
        pytest.skip("needs a build without sanitizers; LATENTD_RELEASE_BIN_DIR")
    daemon = start_daemon(start_endpoint().sections(), bin=directory)
    assert daemon.rss_bytes() < 20 << 20
    decode(daemon)
    assert daemon.rss_bytes() < 20 << 20
