# SPDX-License-Identifier: Apache-2.0
"""Clients of a remote VAE endpoint get from the daemon what the endpoint
would have given them."""

import base64
import json

import processes
import pytest
import requests
from fakes import dead_url, status
from latents import make_latent, to_bytes
from recorded import IDS, RECORDED, recorded_request
from remote import (
    GOOD, GOOD_BODY, decode_query, error_of, gauges, post, reply_tensor,
)

OWN = ("X-Latentd-Job", "X-Latentd-Queued-Ms", "X-Latentd-Decode-Ms",
       "X-Latentd-Attempts")


@pytest.fixture(scope="module")
def endpoint():
    with processes.Endpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def gateway(endpoint):
    with processes.short_directory() as directory:
        sections = {"daemon": {"http": "127.0.0.1:0", "drain_s": 0}}
        sections.update(endpoint.sections(parallel=4))
        with processes.Daemon(directory, sections) as daemon:
            yield processes.find_http(daemon)


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        yield session


def send(session, url, record, body):
    return session.post(
        url + record["target"], data=body,
        headers={"Content-Type": None, **record["headers"]},
        timeout=processes.PATIENCE_S,
    )


@pytest.mark.parametrize("record", RECORDED, ids=IDS)
def test_recorded_request_gets_from_both_the_recorded_reply_and_same_bytes(
    endpoint, gateway, session, record
):
    body, _ = recorded_request(record)
    direct = send(session, endpoint.url, record, body)
    through = send(session, gateway.http, record, body)
    expected = record["reply"]
    for reply in (direct, through):
        assert reply.status_code == expected["status"], reply.text[:300]
        for name, value in expected["headers"].items():
            assert reply.headers[name] == value
    if expected["status"] != 200:
        assert "[1,5,16,16]" in error_of(through)
        return
    for name in ("shape", "dtype"):
        assert through.headers.get(name) == direct.headers.get(name)
    if through.headers["Content-Type"] == "tensor/base64":
        assert through.json() == direct.json()
    else:
        assert through.content == direct.content
    assert all(through.headers[name].isdigit() for name in OWN)
    assert int(through.headers["X-Latentd-Attempts"]) == 1


# ---- what clients do with a base URL ----


def test_a_slash_behind_the_model_changes_nothing(gateway, session):
    plain = post(session, gateway.http, "sdxl", GOOD, GOOD_BODY)
    slash = post(session, gateway.http, "sdxl/", GOOD, GOOD_BODY)
    assert plain.status_code == slash.status_code == 200
    assert plain.content == slash.content


def test_repeated_and_unknown_parameters_are_taken_as_the_endpoint_does(
    endpoint, gateway, session
):
    query = GOOD + "&output_type=pt&output_type=pil&seed=4&image_format=png"
    replies = [
        post(session, url, "sdxl", query, GOOD_BODY, "image/png")
        for url in (endpoint.url, gateway.http)
    ]
    assert [r.status_code for r in replies] == [200, 200]
    assert replies[0].content == replies[1].content
    assert replies[1].content.startswith(b"\x89PNG")


@pytest.mark.parametrize("flag", ["True", "true", "1", "False", "false", "0"])
def test_booleans_of_python_and_of_others_mean_the_same(
    endpoint, gateway, session, flag
):
    query = GOOD.replace("do_scaling=True", f"do_scaling={flag}")
    query += f"&output_type=pt&partial_postprocess={flag}"
    body = bytes(range(1, 33)) * 4
    direct = post(session, endpoint.url, "sdxl", query, body)
    through = post(session, gateway.http, "sdxl", query, body)
    assert through.status_code == 200, through.text
    assert through.content == direct.content
    assert through.headers["dtype"] == direct.headers["dtype"]


@pytest.mark.parametrize("accept", [
    None, "*/*", "image/jpeg", "image/png", "image/*", "image/any",
    "tensor/binary", "TENSOR/BINARY; q=1", "text/html, */*;q=0.1",
    "tensor/base64", "application/json",
])
@pytest.mark.parametrize("output", ["pil", "pt"])
def test_any_accept_value_gets_what_the_endpoint_gives(
    endpoint, gateway, session, accept, output
):
    query = GOOD + "&output_type=" + output
    direct, through = (
        session.post(
            f"{url}/sdxl?{query}", data=GOOD_BODY,
            headers={"Accept": accept, "Content-Type": "tensor/binary"},
            timeout=processes.PATIENCE_S,
        )
        for url in (endpoint.url, gateway.http)
    )
    assert through.status_code == direct.status_code == 200
    for name in ("Content-Type", "shape", "dtype"):
        assert through.headers.get(name) == direct.headers.get(name)
    if through.headers["Content-Type"] == "tensor/base64":
        assert through.json() == direct.json()
    else:
        assert through.content == direct.content


def test_a_large_base64_body_and_reply_carry_the_binary_ones_bytes(
    gateway, session
):
    shape = [1, 4, 64, 96]
    query = decode_query("sdxl", shape, output_type="pt")
    z, _ = make_latent("sdxl", shape, dict(query))
    body = to_bytes(z, "float16")
    wrapped = json.dumps({"inputs": base64.b64encode(body).decode()})
    binary = post(session, gateway.http, "sdxl", query, body)
    both = post(session, gateway.http, "sdxl", query, wrapped,
                "tensor/base64", "tensor/base64")
    assert both.headers["Content-Type"] == "tensor/base64"
    values, dtype = reply_tensor(both)
    assert dtype == binary.headers["dtype"]
    assert (values == reply_tensor(binary)[0]).all()
    assert values.shape == (1, 3, 512, 768)


# ---- what endpoints say, and headers of our own ----


def test_the_endpoints_own_sentence_comes_through(
    start_fake, start_gateway, session
):
    fake = start_fake(then=status(400, "this latent offends me"))
    daemon = start_gateway(fake.section(model="sdxl"))
    reply = post(session, daemon.http, "sdxl", GOOD, GOOD_BODY)
    assert 400 <= reply.status_code < 600
    assert "this latent offends me" in error_of(reply)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("given_s, headers", [
    (1, {}), (600, {"X-Latentd-Deadline-Ms": "500"}),
], ids=["configured", "asked for"])
def test_a_dead_endpoint_is_told_in_json_when_the_deadline_is_over(
    start_gateway, session, given_s, headers
):
    daemon = start_gateway({
        "endpoint dead": {
            "model": "sdxl", "task": "decode", "url": dead_url() + "/sdxl",
        },
        "daemon": {"http_deadline_s": given_s},
    })
    reply = session.post(
        f"{daemon.http}/sdxl?{GOOD}", data=GOOD_BODY,
        headers={"Accept": "tensor/binary", **headers},
        timeout=processes.PATIENCE_S,
    )
    assert reply.status_code == 504
    assert "deadline" in error_of(reply)
    assert "endpoint dead" in error_of(reply)
    assert gauges(daemon.http)[
        'latentd_jobs_ended_total{outcome="expired"}'] == 1


def test_a_retry_is_counted_in_the_reply_and_not_seen_otherwise(
    start_fake, start_gateway, session
):
    fake = start_fake(status(503))
    daemon = start_gateway(fake.section(model="sdxl"))
    reply = post(session, daemon.http, "sdxl", GOOD, GOOD_BODY, "image/jpeg")
    assert reply.status_code == 200
    assert reply.content[:3] == b"\xff\xd8\xff"
    assert reply.headers["X-Latentd-Attempts"] == "2"
    assert len(fake.requests) == 2


def test_ids_of_jobs_differ(gateway, session):
    ids = {
        post(session, gateway.http, "sdxl", GOOD, GOOD_BODY)
        .headers["X-Latentd-Job"]
        for _ in range(3)
    }
    assert len(ids) == 3


def with_header(session, daemon, name, value):
    return session.post(
        f"{daemon.http}/sdxl?{GOOD}", data=GOOD_BODY,
        headers={"Accept": "tensor/binary", name: value},
        timeout=processes.PATIENCE_S,
    )


def test_the_producer_header_names_who_is_counted(gateway, session):
    key = 'latentd_producer_jobs_total{producer="atelier-7",outcome="done"}'
    before = gauges(gateway.http).get(key, 0)
    reply = with_header(session, gateway, "X-Latentd-Producer", "atelier-7")
    assert reply.status_code == 200
    assert gauges(gateway.http)[key] == before + 1


@pytest.mark.parametrize("name, value", [
    ("X-Latentd-Producer", 'a"b'), ("X-Latentd-Producer", "a b"),
    ("X-Latentd-Producer", "x" * 300), ("X-Latentd-Producer", "a\\n"),
    ("X-Latentd-Priority", "highest"), ("X-Latentd-Priority", "9"),
    ("X-Latentd-Deadline-Ms", "soon"), ("X-Latentd-Deadline-Ms", "-1"),
    ("X-Latentd-Deadline-Ms", "0"), ("X-Latentd-Deadline-Ms", "1e3"),
    ("X-Latentd-Deadline-Ms", "99999999999999999999"),
])
def test_a_wrong_header_of_ours_is_named(gateway, session, name, value):
    reply = with_header(session, gateway, name, value)
    assert reply.status_code == 400
    assert name in error_of(reply)
    assert '"' not in value or value not in requests.get(
        gateway.http + "/metrics", timeout=processes.PATIENCE_S).text


@pytest.mark.parametrize("query, word", [
    (GOOD.replace("shape=1&", "shape=0&"), "shape"),
    (GOOD.replace("shape=1&", ""), "shape"),
    (GOOD.replace("float16", "float8"), "dtype"),
    (GOOD.replace("dtype=float16&", ""), "dtype"),
    (GOOD + "&output_type=gif", "output_type"),
    (GOOD + "&image_format=webp", "image_format"),
    (GOOD + "&partial_postprocess=maybe", "partial_postprocess"),
    (GOOD + "&do_scaling=maybe", "do_scaling"),
    (GOOD + "&scaling_factor=nan", "scaling_factor"),
    (GOOD + "&shift_factor=1e99", "shift_factor"),
    (GOOD + "&height=-8", "height"),
    (GOOD + "&width=9999999999", "width"),
    (GOOD + "&output_type=mp4", "mp4"),
    (GOOD.replace("float16", "float32"), "the body has 128 bytes"),
    ("", "shape"),
])
def test_a_wrong_query_gets_400_that_names_the_field(
    gateway, session, query, word
):
    reply = post(session, gateway.http, "sdxl", query, GOOD_BODY)
    assert reply.status_code == 400
    assert word in error_of(reply)


@pytest.mark.parametrize("body, kind, word", [
    (b"", "tensor/binary", "body"),
    (b"{", "application/json", "JSON"),
    (b"[]", "application/json", "inputs"),
    (b"{}", "tensor/base64", "inputs"),
    (b'{"inputs": 5}', "tensor/base64", "inputs"),
    (b'{"inputs": "AAA"}', "tensor/base64", "inputs"),
    (b'{"inputs": "A*AA"}', "tensor/base64", "inputs"),
    (b'{"inputs": "AAAA"}', "tensor/base64", "body has 3 bytes"),
    (b'{"inputs": "AAAA", "inputs": "AAAA"}', "tensor/base64", "JSON"),
    (b'{"inputs": "AAAA", "parameters": 1}', "application/json",
     "parameters"),
    (b'{"inputs": "AAAA", "parameters": {"shape": [[1]]}}',
     "application/json", "shape"),
])
def test_a_wrong_body_gets_400_that_names_what_is_wrong(
    gateway, session, body, kind, word
):
    reply = post(session, gateway.http, "sdxl", GOOD, body, kind=kind)
    assert reply.status_code == 400
    assert word in error_of(reply)
    if kind != "tensor/binary":
        return
    reply = post(session, gateway.http, "encode/sdxl", "", b"GIF89a" + body,
                 kind=None)
    assert reply.status_code == 400
    assert "PNG or JPEG" in error_of(reply)
