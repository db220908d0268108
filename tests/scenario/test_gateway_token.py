# SPDX-License-Identifier: Apache-2.0
"""Beyond loopback the gateway wants a token, and keeps it to itself."""

import processes
import pytest
import requests
from raw_http import Connection, head, whole
from remote import GOOD, GOOD_BODY, error_of

TOKEN = "s3cret-of-the-gateway"
TARGET = f"/sdxl?{GOOD}"


@pytest.fixture
def token_file(short_tmp):
    path = short_tmp / "http.token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def sections(start_endpoint):
    return start_endpoint().sections(["sdxl"])


def ask(daemon, method, target, authorization):
    headers = {"Authorization": authorization} if authorization else {}
    with requests.Session() as session:
        session.trust_env = False
        return session.request(
            method, daemon.http + target, headers=headers,
            data=GOOD_BODY if method == "POST" else None,
            timeout=processes.PATIENCE_S,
        )


WRONG = (None, "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}",
         f"Bearer {TOKEN}x", f"Bearer {TOKEN.upper()}", f"Basic {TOKEN}",
         TOKEN, f"Bearer  x{TOKEN}", "Bearer " + "x" * 5000)


def test_the_token_is_wanted_and_kept(start_gateway, sections, token_file):
    daemon = start_gateway(
        {**sections, "daemon": {"http_token_file": token_file}},
        "--log-level", "debug",
    )
    for method, target in (
        ("POST", TARGET), ("POST", "/encode/sdxl"), ("GET", "/metrics"),
        ("GET", "/status"),
    ):
        for authorization in WRONG:
            reply = ask(daemon, method, target, authorization)
            assert reply.status_code == 401, (target, authorization)
            assert reply.headers["WWW-Authenticate"] == "Bearer"
            assert "Authorization" in error_of(reply)
            assert TOKEN not in reply.text + str(reply.headers)
    for authorization in (f"Bearer {TOKEN}", f"bearer {TOKEN}"):
        reply = ask(daemon, "POST", TARGET, authorization)
        assert reply.status_code == 200, reply.text
        for path in ("/metrics", "/status"):
            reply = ask(daemon, "GET", path, authorization)
            assert reply.status_code == 200
            assert TOKEN not in reply.text
    # What load balancers ask for tells nothing.
    for path in ("/healthz", "/readyz"):
        assert ask(daemon, "GET", path, None).status_code in (200, 503)
    assert daemon.stop() == 0
    daemon.check_clean()
    assert TOKEN not in daemon.stdout() + daemon.stderr()


def test_a_refused_request_does_not_become_a_job(
    start_gateway, sections, token_file
):
    daemon = start_gateway(
        {**sections, "daemon": {"http_token_file": token_file}})
    with Connection(daemon.port) as connection:
        connection.send(whole("POST", TARGET, GOOD_BODY))
        assert connection.reply().status == 401
        connection.send(head("GET", "/metrics", {
            "Authorization": f"Bearer {TOKEN}"}))
        reply = connection.reply()
    assert b'latentd_submits_total{answer="accepted"} 0' in reply.body


def start_by_hand(short_tmp, sections, *args, **keys):
    """Status and stderr of a daemon that does not start, or of --check."""
    path = short_tmp / "hand.conf"
    path.write_text(processes.ini_text({
        "daemon": {"listen": f"ipc://{short_tmp}/hand.sock", **keys},
        **sections,
    }))
    done = processes.run(
        processes.program("latentd"), "--config", path, *args)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("address", [
    "0.0.0.0:0", "[::]:0", "192.0.2.1:8377",
])
@pytest.mark.parametrize("args", [(), ("--check",)])
def test_a_public_address_without_a_token_is_refused(
    short_tmp, sections, address, args
):
    code, _, said = start_by_hand(short_tmp, sections, *args, http=address)
    assert code != 0
    for word in ("http", address, "http_token_file", "insecure"):
        assert word in said
    code, _, said = start_by_hand(
        short_tmp, sections, *args, http=address, insecure="no")
    assert code != 0 and "insecure" in said


@pytest.mark.parametrize("secured", [True, False])
def test_a_public_address_is_served_when_it_is_meant(
    start_gateway, sections, token_file, secured
):
    keys = {"http_token_file": token_file} if secured \
        else {"insecure": "yes"}
    daemon = start_gateway(
        {**sections, "daemon": {"http": "0.0.0.0:0", **keys}})
    assert ask(daemon, "POST", TARGET, None).status_code \
        == (401 if secured else 200)
    assert ask(daemon, "POST", TARGET, f"Bearer {TOKEN}").status_code == 200


def test_the_configuration_that_is_shown_has_no_token(
    short_tmp, sections, token_file
):
    code, shown, said = start_by_hand(
        short_tmp, sections, "--check", http="0.0.0.0:0",
        http_token_file=token_file)
    assert code == 0, said
    assert str(token_file) in shown + said
    assert TOKEN not in shown + said


@pytest.mark.parametrize("content", [b"", b"\n", b"a b\n", b"a\x01b\n",
                                     b"x" * 5000, None])
def test_a_token_file_that_holds_no_token_is_refused(
    short_tmp, sections, token_file, content
):
    if content is None:
        token_file.unlink()
    else:
        token_file.write_bytes(content)
    code, _, said = start_by_hand(
        short_tmp, sections, http="127.0.0.1:0", http_token_file=token_file)
    assert code != 0
    assert "http_token_file" in said or str(token_file) in said
