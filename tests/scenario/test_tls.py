# SPDX-License-Identifier: Apache-2.0
"""tls+tcp:// and secrets: who is listened to, who is who, and that a secret is
nowhere to be read.  The daemon listens beyond loopback, all traffic is on it."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess

import pytest

import certificates
import processes
import wire
from certificates import NAME, PRODUCER
from fakes import fake_pixels
from samples import latent

Z = latent(seed=5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Of another authority, with another secret."""
    return certificates.make(tmp_path_factory.mktemp("others"))


@pytest.fixture
def start(short_tmp, start_daemon, start_fake, made):
    """start(**daemon_keys): with a fake endpoint; .tls is where to dial."""

    def call(sections=None, **keys):
        port = processes.free_port()
        fake = start_fake()
        daemon = start_daemon({
            **fake.section(), **made.rule, **(sections or {}),
            "daemon": {
                **made.daemon,
                "listen": [f"ipc://{short_tmp}/latentd.sock",
                           f"tls+tcp://0.0.0.0:{port}"],
                **keys,
            },
        }, "--log-level", "debug")
        daemon.tls = f"tls+tcp://127.0.0.1:{port}"
        daemon.port = port
        return daemon

    return call


@pytest.fixture
def ctl(made):
    """ctl(daemon, *args, **env): latentctl over TLS; None unsets."""

    def call(daemon, *args, producer=PRODUCER, **env):
        whole = {**made.env, "LATENTD_URL": daemon.tls, **env}
        whole = {key: value or "" for key, value in whole.items()}
        return processes.run(
            processes.program("latentctl"), *args, "--producer", producer,
            "--timeout", "20", env=whole)

    return call


@pytest.fixture
def far(stack, made):
    """far(daemon, name=PRODUCER): a wire.Producer over TLS."""
    return lambda daemon, name=PRODUCER, **keys: stack.enter_context(
        wire.Producer(daemon.tls, name, context=made.context(), **keys))


def decode(producer, key="k"):
    producer.submit(key, Z.data, **Z.fields, output="pixels")
    result = producer.take(key)
    producer.thank()
    result.expect("RESULT", state="done")
    n, _, height, width = Z.fields["shape"]
    assert result.body == fake_pixels(
        Z.data, n, height * 8, width * 8).tobytes()


def test_what_operations_md_shows_works(
    made, start_endpoint, start_daemon, short_tmp, ctl
):
    port = processes.free_port()
    config = re.search(r"^```ini\n(.*?)^```", certificates.SECTION,
                       re.M | re.S)[1]
    config = config.replace("/etc/latentd", str(made.directory))
    config = config.replace("/run/latentd", str(short_tmp))
    config = config.replace("8376", str(port))
    path = short_tmp / "shown.conf"
    path.write_text(config + processes.ini_text(
        start_endpoint().sections(["sdxl"])))
    with processes.Process(
        [processes.program("latentd"), "--config", path]
    ) as daemon:
        daemon.wait_line("ready: tls")
        url = f"tls+tcp://127.0.0.1:{port}"
        commands = certificates.CLIENT.replace(
            f"tls+tcp://{NAME}:8376", url)
        env = {"LATENTD_TLS_NAME": NAME, "PATH":
               f"{processes.bin_dir()}:{os.environ['PATH']}"}
        told = processes.run("sh", "-euc", commands, cwd=made.directory,
                             env=env, check=0)
        assert b"running" in told.stdout


def test_a_picture_comes_over_tls(start, far, made):
    producer = far(start())
    producer.prove(made.secret)
    decode(producer)


def test_latentctl_decodes_over_tls(
    start_endpoint, start_daemon, made, short_tmp, ctl
):
    import numpy

    port = processes.free_port()
    daemon = start_daemon({
        **start_endpoint().sections(["sd-v1"]), **made.rule,
        "daemon": {**made.daemon, "listen": [
            f"ipc://{short_tmp}/latentd.sock", f"tls+tcp://0.0.0.0:{port}"]},
    })
    daemon.tls = f"tls+tcp://127.0.0.1:{port}"
    numpy.save(short_tmp / "z.npy", numpy.zeros((1, 4, 8, 8), numpy.float16))
    done = ctl(daemon, "decode", "--model", "sd-v1", "--out", short_tmp,
               short_tmp / "z.npy")
    assert done.returncode == 0, done.stderr
    assert list(short_tmp.glob("*.png"))


@pytest.mark.parametrize("change", [
    {"LATENTD_TLS_CA": "others/ca.crt"},
    {"LATENTD_TLS_CERT": "others/producer.crt",
     "LATENTD_TLS_KEY": "others/producer.key"},
    {"LATENTD_TLS_CERT": None, "LATENTD_TLS_KEY": None},
    {"LATENTD_TLS_NAME": "render2.lan"},
])
def test_without_trust_on_both_sides_nobody_answers(
    start, ctl, others, far, made, change
):
    daemon = start()
    env = {
        key: value and value.replace("others", str(others.directory))
        for key, value in change.items()
    }
    done = ctl(daemon, "status", **env)
    assert done.returncode == 3, done.stderr
    assert b"trust each other's certificates" in done.stderr
    producer = far(daemon)
    producer.prove(made.secret)
    decode(producer)


@pytest.mark.parametrize("change, words", [
    ({"LATENTD_TLS_CA": None}, b"LATENTD_TLS_CA"),
    ({"LATENTD_TLS_CA": "/nonexistent/ca"}, b"/nonexistent/ca"),
    ({"LATENTD_TLS_CA": "/etc/passwd"}, b"-----BEGIN"),
    ({"LATENTD_TLS_KEY": None}, b"the key is missing"),
    ({"LATENTD_TLS_CERT": None}, b"the certificate is missing"),
    ({"LATENTD_SECRET_FILE": "/nonexistent/secret"}, b"/nonexistent/secret"),
])
def test_a_client_s_files_that_are_wrong_are_named(start, ctl, change, words):
    done = ctl(start(), "status", **change)
    assert done.returncode == 2 and words in done.stderr, done.stderr


def test_without_the_secret_nothing_is_seen_or_done(
    start, far, made, others, ctl
):
    daemon = start()
    owner = far(daemon)
    owner.prove(made.secret)
    job = owner.submit("kept", Z.data, **Z.fields, output="pixels")
    thief = far(daemon)
    wrong = ("SUBMIT", "COLLECT", "CANCEL", "STATUS", "LIST", "WHY", "ADMIN")
    for kind in wrong:
        fields = {
            "SUBMIT": {"key": "x", "task": "decode", "model": "sd-v1",
                       **Z.fields},
            "CANCEL": {"id": job}, "WHY": {"id": job},
            "ADMIN": {"op": "purge", "all": 1},
        }.get(kind, {})
        if kind == "STATUS":
            reply = thief.connection.ask(wire.message("STATUS"))
        else:
            reply = thief.ask(kind, fields)
        reply.expect("CHALLENGE")
    assert thief.try_prove(others.secret).expect(
        "REJECTED", code="denied")["message"]
    thief.ask("COLLECT").expect("CHALLENGE")
    assert thief.try_prove(made.secret[:-1]).type == "REJECTED"
    done = ctl(daemon, "jobs", LATENTD_SECRET_FILE=str(others.secret_file))
    assert done.returncode == 1 and b"another secret" in done.stderr
    done = ctl(daemon, "jobs", LATENTD_SECRET_FILE=None)
    assert done.returncode == 1 and b"give the secret" in done.stderr
    # A name without a secret is told the same as one with another.
    done = ctl(daemon, "jobs", producer="nobody")
    assert done.returncode == 1 and b"another secret" in done.stderr
    owner.take("kept").expect("RESULT", state="done")
    owner.thank()
    seen = daemon.stderr() + wire.report(daemon.url).decode()
    assert "could not prove who it is" in seen
    for secret in (made.secret, others.secret):
        assert secret not in seen
        assert secret not in open(f"/proc/{daemon.pid}/cmdline").read()


def test_the_same_producer_comes_by_ipc_with_its_secret_and_not_by_its_uid(
    start, far, connect, made
):
    daemon = start()
    owner = far(daemon)
    owner.prove(made.secret)
    owner.submit("k", Z.data, **Z.fields, output="pixels")
    near = connect(daemon, PRODUCER)
    near.ask("COLLECT").expect("CHALLENGE")
    near.prove(made.secret)
    near.take("k").expect("RESULT", state="done")
    near.thank()
    # Administrators need no proof to look.
    root = connect(daemon, PRODUCER)
    root.ask("LIST").expect("REPORT")


def test_a_recorded_hello_opens_no_other_connection(start, far, made):
    daemon = start()
    recorded = far(daemon)
    hello = recorded.proof(made.secret)
    recorded.connection.ask(hello).expect("WELCOME")
    recorded.connection.ask(hello).expect("CHALLENGE")
    again = far(daemon)
    again.connection.ask(hello).expect("CHALLENGE")
    again.ask("COLLECT").expect("CHALLENGE")
    again.ask("HELLO").expect("CHALLENGE")
    again.connection.ask(hello).expect("CHALLENGE")
    again.ask("COLLECT").expect("CHALLENGE")
    decode(recorded)


def test_other_producers_jobs_are_not_seen_with_a_secret_of_one_s_own(
    start, far, made, others
):
    daemon = start({"producer second": {"secret_file": others.secret_file}})
    first, second = far(daemon), far(daemon, "second")
    first.prove(made.secret)
    second.prove(others.secret)
    job = first.submit("k", Z.data, **Z.fields, output="pixels")
    assert b'"jobs": []' in second.ask("LIST").expect("REPORT").body
    second.ask("WHY", {"id": job}).expect("REJECTED", code="not_found")
    second.ask("CANCEL", {"id": job}).expect("REJECTED", code="not_found")
    second.ask("ADMIN", {"op": "pause"}).expect("REJECTED", code="denied")
    # Nor with the other's name, on its own connection.
    second.identity = first.identity
    second.ask("COLLECT").expect("CHALLENGE")
    first.take("k").expect("RESULT", state="done")
    first.thank()


def test_a_client_proves_again_after_the_daemon_was_killed(
    start, start_daemon, start_endpoint, made, short_tmp, latentctl, ctl
):
    import numpy

    numpy.save(short_tmp / "z.npy", numpy.zeros((1, 4, 8, 8), numpy.float16))
    port = processes.free_port()
    sections = {
        **start_endpoint().sections(["sd-v1"]), **made.rule,
        "daemon": {**made.daemon, "listen": [
            f"ipc://{short_tmp}/latentd.sock", f"tls+tcp://0.0.0.0:{port}"]},
    }
    daemon = start_daemon(sections)
    latentctl(daemon, "pause", "out", check=0)
    client = processes.Process(
        [processes.program("latentctl"), "decode", "--model", "sd-v1",
         "--producer", PRODUCER, "--out", short_tmp / "out",
         short_tmp / "z.npy"],
        env={**made.env, "LATENTD_URL": f"tls+tcp://127.0.0.1:{port}"})
    processes.wait_until(
        lambda: b'"queued": 1' in wire.report(daemon.url)
        or b'"queued":1' in wire.report(daemon.url), "the job is there")
    daemon.kill()
    start_daemon(sections)
    assert client.wait() == 0, client.stderr()
    client.check_clean()
    assert list((short_tmp / "out").glob("*.png"))


def tls_socket(daemon, context):
    sock = socket.create_connection(("127.0.0.1", daemon.port), timeout=60)
    return context.wrap_socket(sock)


def test_the_listener_survives_what_breaks_off_and_what_is_no_tls(
    start, far, made
):
    daemon = start()
    held = []
    for round_ in range(20):
        with socket.create_connection(("127.0.0.1", daemon.port)):
            pass
        garbage = socket.create_connection(("127.0.0.1", daemon.port))
        garbage.sendall(bytes([round_]) * 3000)
        garbage.close()
        # Half a handshake, once closed, once reset, once held.
        for end in ("close", "reset", "hold"):
            half = socket.create_connection(("127.0.0.1", daemon.port))
            half.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            if end == "reset":
                half.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                b"\1\0\0\0\0\0\0\0")
            if end == "hold":
                held.append(half)
            else:
                half.close()
        # TLS, and then nothing, half a greeting, or another protocol.
        for data in (b"", b"\0SP", b"\0SP\0\0\x50\0\0", b"GET / HTTP/1.0\r\n"):
            quiet = tls_socket(daemon, made.context())
            quiet.sendall(data)
            quiet.close()
        with pytest.raises((ssl.SSLError, OSError)):
            unknown = tls_socket(daemon, made.context(certificate=False))
            unknown.sendall(b"\0SP\0\0\x30\0\0")
            if not unknown.recv(8):
                raise OSError("closed")
    producer = far(daemon)
    producer.prove(made.secret)
    decode(producer)
    for sock in held:
        sock.close()
    assert daemon.running()


def test_a_dozen_at_once_are_served_while_others_break_off(start, far, made):
    daemon = start()
    producers = []
    for i in range(12):
        socket.create_connection(("127.0.0.1", daemon.port)).close()
        producers.append(far(daemon))
        producers[-1].prove(made.secret)
    for i, producer in enumerate(producers):
        decode(producer, f"k{i}")


def test_what_is_not_protected_is_refused_before_it_listens(
    short_tmp, start_fake, made, others
):
    fake = start_fake()
    daemon = made.daemon
    cases = [
        ({"listen": "tcp://0.0.0.0:1"}, b"insecure = yes"),
        ({"listen": "tls+tcp://127.0.0.1:1"}, b"tls_certificate"),
        ({"listen": "tls+tcp://0.0.0.0:1", **daemon,
          "tls_client_ca": None}, b"tls_client_ca"),
        ({"events": "state", "events_listen": "tcp://0.0.0.0:1"},
         b"events_listen"),
        ({**daemon, "tls_key": short_tmp / "open.key"}, b"open to everybody"),
        ({**daemon, "tls_key": daemon["tls_certificate"]}, b"tls_key"),
        ({**daemon, "tls_certificate": "/etc/passwd"}, b"tls_certificate"),
        ({**daemon, "tls_client_ca": "/etc/passwd"}, b"tls_client_ca"),
        ({**daemon, "tls_key": others.daemon["tls_key"]},
         b"do not belong together"),
    ]
    shutil.copy(daemon["tls_key"], short_tmp / "open.key")
    os.chmod(short_tmp / "open.key", 0o644)
    path = short_tmp / "wrong.conf"
    for keys, words in cases:
        keys = {key: value for key, value in keys.items() if value}
        path.write_text(processes.ini_text(
            {"daemon": keys, **fake.section()}))
        done = processes.run(processes.program("latentd"), "--config", path,
                             "--check", check=3)
        assert words in done.stderr, done.stderr
    path.write_text(processes.ini_text({
        "daemon": {"listen": "tcp://0.0.0.0:1", "insecure": "yes"},
        **fake.section()}))
    processes.run(processes.program("latentd"), "--config", path, "--check",
                  check=0)


def test_what_check_prints_names_files_and_no_secret(
    short_tmp, start_fake, made
):
    path = short_tmp / "right.conf"
    path.write_text(processes.ini_text({
        "daemon": {**made.daemon, "listen": "tls+tcp://0.0.0.0:1"},
        **made.rule, **start_fake().section()}))
    told = processes.run(processes.program("latentd"), "--config", path,
                         "--check", check=0).stdout.decode()
    assert f"secret_file = {made.secret_file}" in told
    assert f"tls_key = {made.daemon['tls_key']}" in told
    assert made.secret not in told and "BEGIN" not in told
    path.write_text(told)
    again = processes.run(processes.program("latentd"), "--config", path,
                          "--check", check=0).stdout.decode()
    assert again == told


def test_insecure_serves_names_without_a_secret_in_the_clear(
    start_fake, start_daemon, short_tmp, connect, made
):
    port = processes.free_port()
    daemon = start_daemon({
        **start_fake().section(), **made.rule,
        "daemon": {"insecure": "yes", "listen": [
            f"ipc://{short_tmp}/latentd.sock", f"tcp://0.0.0.0:{port}"]},
    })
    daemon.url = f"tcp://127.0.0.1:{port}"
    decode(connect(daemon, "anybody"))
    connect(daemon, PRODUCER).ask("COLLECT").expect("CHALLENGE")


def test_events_are_told_over_tls(start, far, made, stack, short_tmp):
    port = processes.free_port()
    url = f"tls+tcp://127.0.0.1:{port}"
    daemon = start(events="state", events_listen=f"tls+tcp://0.0.0.0:{port}")
    watch = processes.Process(
        [processes.program("latentctl"), "watch", "--events", url],
        env={**made.env, "LATENTD_URL": daemon.tls})
    try:
        producer = far(daemon)
        producer.prove(made.secret)

        def told():
            decode(producer, wire.new_key())
            return "done" in watch.stdout()

        processes.wait_until(told, "an event is printed")
    finally:
        watch.stop(signal.SIGINT)
    watch.check_clean()


def test_older_tls_is_refused(start, made):
    daemon = start()
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{daemon.port}",
         "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=60, check=False)
    assert done.returncode != 0
    assert b"Cipher is (NONE)" in done.stdout or b"alert" in done.stdout


def test_a_changed_secret_counts_from_the_reload_on(
    start, far, made, others, latentctl, short_tmp
):
    secret = short_tmp / "secret"
    shutil.copy(made.secret_file, secret)
    daemon = start({f"producer {PRODUCER}": {"secret_file": secret}})
    before = far(daemon)
    before.prove(made.secret)
    decode(before, "k1")
    shutil.copy(others.secret_file, secret)
    latentctl(daemon, "reload", check=0)
    before.ask("COLLECT").expect("CHALLENGE")
    assert before.try_prove(made.secret).type == "REJECTED"
    before.prove(others.secret)
    decode(before, "k2")
    # Neither an open one nor other certificates are taken over.
    secret.chmod(0o644)
    refused = latentctl(daemon, "reload")
    assert refused.returncode == 1 and b"open to everybody" in refused.stderr
    secret.chmod(0o600)
    config = daemon.config.read_text()
    daemon.config.write_text(config.replace(
        str(made / "ca.crt"), str(others / "ca.crt")))
    refused = latentctl(daemon, "reload")
    assert refused.returncode == 1 and b"tls_client_ca" in refused.stderr
    decode(before, "k3")


def test_renewed_certificates_are_named_as_needing_a_restart(
    start, far, made, short_tmp, latentctl
):
    own = short_tmp / "own.crt"
    shutil.copy(made / "daemon.crt", own)
    daemon = start(tls_certificate=own)
    own.write_text(own.read_text() + "\n# renewed\n")
    latentctl(daemon, "reload", check=0)
    daemon.wait_line("TLS files hold something else")
    producer = far(daemon)
    producer.prove(made.secret)
    decode(producer)
