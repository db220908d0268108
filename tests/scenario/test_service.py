# SPDX-License-Identifier: Apache-2.0
"""What the service manager hears: a manager of the test's own takes systemd's
place.  test_units.py has the real one, where it can be started."""

import os
import re
import signal
import socket
import threading

import pytest

import processes
import wire
from fakes import good, held, never
from fleet import submit
from manager import Manager
from samples import latent

# Long enough for sanitizers on a busy machine, short enough for many pings.
WATCHDOG_US = 400000


@pytest.fixture
def manager(short_tmp, stack):
    return stack.enter_context(Manager(short_tmp / "notify"))


@pytest.fixture
def gate(stack):
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


def decode(daemon, connect):
    producer = connect(daemon, f"p{wire.new_key()}")
    submit(producer, "k", latent(seed=1))
    producer.take("k").expect("RESULT", state="done")
    producer.thank()


# ---- start ----


def test_ready_comes_when_producers_can_connect(
    start_fake, start_daemon, connect, manager
):
    daemon = start_daemon(start_fake().section(), env=manager.env())
    ready = manager.wait("READY", "1")
    assert ready["STATUS"] == "0 jobs queued, 0 active, 0 results waiting"
    decode(daemon, connect)


def test_an_abstract_notify_socket_does_as_well(
    start_fake, start_daemon, stack
):
    name = f"@latentd-test-{os.getpid()}-{wire.new_key()}"
    manager = stack.enter_context(Manager(name))
    daemon = start_daemon(start_fake().section(), env=manager.env())
    manager.wait("READY", "1")
    assert daemon.stop() == 0
    manager.wait("STOPPING", "1")


@pytest.mark.parametrize("address", [
    "relative", "@", "/", "vsock:2:1", "/" + "x" * 200, "/no/such/socket",
])
def test_a_notify_socket_that_is_none_is_not_in_the_way(
    start_fake, start_daemon, connect, address
):
    daemon = start_daemon(
        start_fake().section(),
        env={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(WATCHDOG_US)})
    decode(daemon, connect)
    assert daemon.stop() == 0
    assert len(re.findall("NOTIFY_SOCKET is|service manager", daemon.stderr())) \
        == 1


def test_a_start_that_fails_is_never_ready(
    start_fake, start_daemon, manager, short_tmp
):
    first = start_daemon(start_fake().section())
    path = short_tmp / "second.conf"
    path.write_text(first.config.read_text())
    done = processes.run(
        processes.program("latentd"), "--config", path, env=manager.env())
    assert done.returncode == 1
    assert b"another latentd" in done.stderr
    assert manager.said("READY") == []


# ---- STATUS ----


def test_status_counts_jobs_and_results(
    start_fake, start_daemon, connect, manager, gate
):
    fake = start_fake(good, then=held(gate))
    daemon = start_daemon(
        fake.section(parallel=2), env=manager.env())
    producer = connect(daemon)
    for i in range(6):
        submit(producer, f"k{i}", latent(seed=i))
    manager.wait("STATUS", "3 jobs queued, 2 active, 1 results waiting")
    gate.set()
    manager.wait("STATUS", "0 jobs queued, 0 active, 6 results waiting")
    n = manager.n()
    producer.take_all(6)
    producer.thank()
    manager.wait("STATUS", "0 jobs queued, 0 active, 0 results waiting", n)


def test_status_counts_what_is_in_the_spool_and_says_that_it_stays(
    start_fake, start_spooled, connect, manager, gate
):
    fake = start_fake(good, then=held(gate))
    daemon = start_spooled(
        {**fake.section(parallel=1), "daemon": {"drain_s": 60}},
        env=manager.env())
    producer = connect(daemon)
    for i in range(5):
        submit(producer, f"k{i}", latent(seed=i))
    manager.wait("STATUS", "3 jobs queued, 1 active, 1 results waiting")
    daemon.signal(signal.SIGTERM)
    manager.wait_for(
        lambda m: re.fullmatch(
            r"Draining: 1 jobs to finish, 0 results to collect, at most "
            r"\d+ s more; 4 jobs stay in the spool", m.get("STATUS", "")),
        "what stays")
    gate.set()
    assert daemon.wait() == 0


def test_status_does_not_repeat_itself_nor_follow_every_change(
    start_fake, start_daemon, connect, manager
):
    daemon = start_daemon(start_fake().section(), env=manager.env())
    producer = connect(daemon)
    for i in range(300):
        submit(producer, f"k{i}", latent(seed=1))
    manager.wait("STATUS", "0 jobs queued, 0 active, 300 results waiting")
    status = manager.said("STATUS")
    assert len(status) < 150
    assert all(a != b for a, b in zip(status, status[1:]))


# ---- reload ----


def reload(daemon, manager):
    """Send SIGHUP; what is said must be that it began and is over."""
    n = manager.n()
    daemon.signal(signal.SIGHUP)
    reloading = manager.wait("RELOADING", "1", n)
    assert int(reloading["MONOTONIC_USEC"]) > 0
    assert "READY" not in reloading
    # The one of the start may come late.
    manager.wait("READY", "1", manager.all.index(reloading) + 1)


def test_a_reload_that_is_refused_ends_with_ready_as_well(
    start_fake, start_daemon, connect, manager
):
    fake = start_fake()
    daemon = start_daemon(fake.section(), env=manager.env(WATCHDOG_US))
    good_text = daemon.config.read_text()
    for text, said in ((good_text + "nonsense\n", "neither a"),
                       (good_text.replace("latentd.sock", "other.sock"),
                        "listen cannot change")):
        daemon.config.write_text(text)
        reload(daemon, manager)
        daemon.wait_line(f"not taken over.*{said}")
        decode(daemon, connect)
    daemon.config.write_text(good_text)
    reload(daemon, manager)
    daemon.wait_line("configuration taken over")
    # The configuration that the start was with is gone; the knocks go on.
    n = manager.n()
    manager.wait_n("WATCHDOG", 5, n)
    os.unlink(daemon.url.removeprefix("ipc://"))
    daemon.wait_line(
        f"not fed: {daemon.url.removeprefix('ipc://')} takes no connection")


def test_a_reload_is_announced_and_ends_with_ready(
    start_fake, start_daemon, connect, manager, short_tmp
):
    token = short_tmp / "token"
    token.write_text("first\n")
    fake = start_fake()
    daemon = start_daemon(
        fake.section(token_file=token), env=manager.env())
    manager.wait("READY", "1")
    for text, sent in (("second\n", "second"), ("two words\n", "second"),
                       ("third\n", "third")):
        token.write_text(text)
        reload(daemon, manager)
        decode(daemon, connect)
        assert fake.requests[-1].headers["Authorization"] == f"Bearer {sent}"


def test_a_token_may_be_a_credential(
    start_fake, start_daemon, connect, manager, short_tmp
):
    directory = short_tmp / "credentials"
    directory.mkdir()
    (directory / "token_fake").write_text("first\n")
    fake = start_fake()
    daemon = start_daemon(
        fake.section(token_file="credential:token_fake"),
        env={"CREDENTIALS_DIRECTORY": str(directory), **manager.env()})
    decode(daemon, connect)
    assert fake.requests[-1].headers["Authorization"] == "Bearer first"
    (directory / "token_fake").write_text("second\n")
    reload(daemon, manager)
    decode(daemon, connect)
    assert fake.requests[-1].headers["Authorization"] == "Bearer second"


def test_a_producers_secret_may_be_a_credential(short_tmp):
    path = short_tmp / "latentd.conf"
    path.write_text(processes.ini_text({
        "producer studio": {"secret_file": "credential:studio"},
        "endpoint e": {
            "model": "sdxl", "task": "decode", "url": "http://127.0.0.1:1/"},
    }))
    secret = short_tmp / "studio"
    secret.touch(mode=0o600)
    secret.write_text("0123456789abcdef0123456789abcdef\n")
    argv = (processes.program("latentd"), "--config", path, "--check")
    env = {"CREDENTIALS_DIRECTORY": str(short_tmp)}
    done = processes.run(*argv, env=env, check=0)
    assert b"secret_file = credential:studio" in done.stdout
    secret.unlink()
    done = processes.run(*argv, env=env, check=3)
    assert b"credential:studio" in done.stderr


@pytest.mark.parametrize("value, directory, said", [
    ("credential:x", None, "LoadCredential"),
    ("credential:x", "relative", "LoadCredential"),
    ("credential:", "/tmp", "the name of one"),
    ("credential:../x", "/tmp", "the name of one"),
    ("credential:a/b", "/tmp", "the name of one"),
    ("credential:none", "/nonexistent", "No such file"),
])
def test_a_credential_that_is_not_there_is_refused_with_its_name(
    short_tmp, value, directory, said
):
    path = short_tmp / "latentd.conf"
    path.write_text(processes.ini_text({"endpoint e": {
        "model": "sdxl", "task": "decode", "url": "http://127.0.0.1:1/",
        "token_file": value,
    }}))
    env = {"CREDENTIALS_DIRECTORY": directory or ""}
    done = processes.run(
        processes.program("latentd"), "--config", path, "--check", env=env,
        check=3)
    text = done.stderr.decode()
    assert f"{path}:5:" in text and value in text and said in text


# ---- the watchdog ----


def test_the_watchdog_is_fed_again_and_again(
    start_fake, start_daemon, connect, manager
):
    daemon = start_daemon(
        start_fake().section(), env=manager.env(WATCHDOG_US))
    before = daemon.fd_n()
    manager.wait_n("WATCHDOG", 20)
    decode(daemon, connect)
    # The daemon's own visits leave nothing behind.
    processes.wait_until(
        lambda: daemon.fd_n() <= before + 4, "descriptors are given back")


@pytest.mark.parametrize("env", [
    {}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"},
    {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
], ids=["none", "0", "not a number", "of another process"])
def test_without_a_watchdog_there_is_no_ping(
    start_fake, start_daemon, connect, manager, env
):
    daemon = start_daemon(
        start_fake().section(), env={**manager.env(), **env})
    decode(daemon, connect)
    assert daemon.stop() == 0
    manager.wait("STOPPING", "1")
    assert manager.said("WATCHDOG") == []


def answer_knocks(listener, n, greet):
    """Take n connections; answer each as an SP peer would, or not at all."""
    for _ in range(n):
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(processes.PATIENCE_S)
            if greet:
                sock.sendall(wire.greeting(wire.REP))
            # Until the daemon leaves.
            while sock.recv(64):
                pass


def test_a_socket_that_takes_nobody_starves_the_watchdog(
    start_fake, start_daemon, manager, stack
):
    daemon = start_daemon(
        start_fake().section(), env=manager.env(WATCHDOG_US))
    path = daemon.url.removeprefix("ipc://")
    manager.wait_n("WATCHDOG", 2)
    os.unlink(path)
    daemon.wait_line("the watchdog is not fed: .*no such file")
    n = manager.n()
    # Somebody else listens there, and says nothing.
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(path)
    listener.listen()
    listener.settimeout(processes.PATIENCE_S)
    answer_knocks(listener, 8, greet=False)
    assert manager.said("WATCHDOG", n) == []
    answer_knocks(listener, 3, greet=True)
    manager.wait_n("WATCHDOG", 3, n)
    daemon.wait_line("the watchdog is fed again")
    assert daemon.stderr().count("the watchdog is not fed") == 1


def test_somebody_else_on_the_path_starves_the_watchdog(
    start_fake, start_daemon, manager, stack
):
    daemon = start_daemon(
        start_fake().section(), env=manager.env(WATCHDOG_US))
    path = daemon.url.removeprefix("ipc://")
    manager.wait_n("WATCHDOG", 2)
    os.unlink(path)
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(path)
    listener.listen()
    listener.settimeout(processes.PATIENCE_S)

    def greet_wrongly():
        sock, _ = listener.accept()
        with sock:
            sock.sendall(wire.greeting(wire.PUB))
            while sock.recv(64):
                pass

    greet_wrongly()
    n = manager.n()
    for _ in range(4):
        greet_wrongly()
    assert manager.said("WATCHDOG", n) == []


def test_the_watchdog_is_fed_when_connections_are_at_their_limit(
    start_fake, start_daemon, manager, stack
):
    daemon = start_daemon(
        start_fake().section(), env=manager.env(WATCHDOG_US))
    for _ in range(1024):
        stack.enter_context(wire.Connection(daemon.url))
    n = manager.n()
    manager.wait_n("WATCHDOG", 10, n)


def test_over_tcp_alone_a_loop_that_turns_is_enough(
    start_fake, start_daemon, manager
):
    start_daemon({
        **start_fake().section(),
        "daemon": {"listen": f"tcp://127.0.0.1:{processes.free_port()}"},
    }, env=manager.env(WATCHDOG_US))
    manager.wait_n("WATCHDOG", 5)


# ---- drain, crash, restart ----


def test_a_drain_tells_its_progress_and_asks_for_time(
    start_fake, start_daemon, connect, manager, gate
):
    fake = start_fake(held(gate))
    daemon = start_daemon({
        **fake.section(parallel=1), "daemon": {"drain_s": 60},
    }, env=manager.env(WATCHDOG_US))
    producer = connect(daemon)
    for i in range(5):
        submit(producer, f"k{i}", latent(seed=i))
    fake.wait_requests(1)
    daemon.signal(signal.SIGTERM)
    stopping = manager.wait("STOPPING", "1")
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) == 30_000_000
    manager.wait_for(
        lambda m: re.fullmatch(
            r"Draining: 5 jobs to finish, 0 results to collect, "
            r"at most (60|5\d) s more", m.get("STATUS", "")), "its progress")
    n = manager.n()
    manager.wait_n("WATCHDOG", 2, n)
    gate.set()
    manager.wait_for(
        lambda m: m.get("STATUS", "").startswith(
            "Draining: 0 jobs to finish, 5 results"), "results wait")
    producer.take_all(5)
    producer.thank()
    assert daemon.wait() == 0
    assert manager.said("READY") == ["1"]


def test_what_a_drain_leaves_is_returned_with_a_reason(
    start_fake, start_daemon, connect, manager
):
    fake = start_fake(then=never)
    daemon = start_daemon({
        **fake.section(parallel=1), "daemon": {"drain_s": 1},
    }, env=manager.env())
    producer = connect(daemon)
    for i in range(2):
        submit(producer, f"k{i}", latent(seed=i))
    fake.wait_requests(1)
    request = producer.post("COLLECT", {"wait_ms": 25000})
    daemon.signal(signal.SIGTERM)
    result = producer.answer(request).expect("RESULT", state="failed")
    assert result["code"] == "stopping"
    assert "the daemon was stopped" in result["message"]
    assert daemon.wait() == 0
    assert manager.said("STOPPING")[-1] == "1"
    assert "stopped with 2 jobs unfinished" in daemon.stderr()


def test_a_crash_and_a_restart_lose_no_ready(
    start_fake, start_daemon, connect, manager
):
    sections = start_fake().section()
    daemon = start_daemon(sections, env=manager.env(WATCHDOG_US))
    manager.wait("READY", "1")
    daemon.kill()
    n = manager.n()
    assert manager.said("STOPPING") == []
    daemon = start_daemon(sections, env=manager.env(WATCHDOG_US))
    manager.wait("READY", "1", n)
    manager.wait_n("WATCHDOG", 2, n)
    decode(daemon, connect)
