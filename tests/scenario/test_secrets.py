# SPDX-License-Identifier: Apache-2.0
"""What endpoints are sent, and what never gets out: tokens."""

import json

import pytest

import fakes
import wire
from fakes import fake_pixels, status
from fleet import why
from samples import latent

Z = latent(seed=1)
TOKEN = "hf_verysecrettokenofabearer0123456789"


def submit(producer, key="k", z=Z):
    return producer.submit(key, z.data, **z.fields, output="pixels")


def check(result):
    result.expect("RESULT", state="done", code="ok")
    n, _, height, width = Z.fields["shape"]
    pixels = fake_pixels(Z.data, n, height * 8, width * 8)
    assert result.body == pixels.tobytes()


def decode(producer):
    submit(producer)
    result = producer.take("k")
    producer.thank()
    return result


@pytest.fixture
def token_file(short_tmp):
    path = short_tmp / "token"
    path.write_text(TOKEN + "\n")
    return path


def test_the_token_reaches_its_endpoint_and_no_other(
    start_fake, start_daemon, connect, token_file
):
    fake, other = start_fake(), start_fake()
    daemon = start_daemon({
        **fake.section(token_file=token_file),
        **other.section("other", "sdxl"),
    })
    producer = connect(daemon)
    check(decode(producer))
    submit(producer, "other", latent("sdxl"))
    producer.take("other").expect("RESULT", state="done")
    producer.thank()
    assert fake.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert "Authorization" not in other.requests[0].headers


@pytest.mark.parametrize("step", [
    fakes.echo_token(401), fakes.echo_token(400),
    *[status(code, f"Authorization: Bearer {TOKEN} {TOKEN}")
      for code in (403, 404, 500)],
    status(400, f"<pre>{TOKEN}</pre>".encode(), kind="text/html"),
    lambda exchange: exchange.reply(b"x", TOKEN),
    lambda exchange: exchange.reply(
        exchange.tensor()[0], "tensor/binary",
        headers=[("shape", TOKEN), ("dtype", "uint8")],
    ),
    lambda exchange: exchange.reply(
        exchange.tensor()[0], "tensor/binary",
        headers=[("shape", "[1]"), ("dtype", TOKEN)],
    ),
    fakes.redirect(f"http://127.0.0.1:1/?token={TOKEN}"),
])
def test_the_token_is_nowhere_to_be_read(
    start_fake, start_daemon, connect, token_file, step
):
    fake = start_fake(step)
    daemon = start_daemon(
        fake.section(token_file=token_file), "--log-level", "debug"
    )
    producer = connect(daemon)
    submit(producer)
    # A line that tells of the failure; what stops an endpoint ends no job.
    daemon.wait_line("endpoint fake")
    told = json.dumps(why(producer, "k"))
    if '"stopped"' in told:
        producer.cancel("k").expect("CANCELLED")
    result = producer.take("k")
    producer.thank()
    cmdline = open(f"/proc/{daemon.pid}/cmdline").read()
    for text in (
        told, str(result.fields), wire.report(daemon.url).decode(),
        daemon.stderr(), daemon.stdout(), cmdline,
    ):
        assert TOKEN not in text
    assert daemon.stop() == 0
    assert TOKEN not in daemon.stderr()


def test_the_endpoint_accepts_the_right_token_only(
    start_endpoint, start_daemon, connect, token_file
):
    endpoint = start_endpoint(token=TOKEN)
    wrong = token_file.with_name("wrong")
    wrong.write_text("wrong")
    right = endpoint.sections(["sd-v1"], ["decode"], token_file=token_file)
    daemon = start_daemon({
        **right,
        **endpoint.sections(["sdxl"], ["decode"], token_file=wrong),
    })
    producer = connect(daemon)
    decode(producer).expect("RESULT", state="done")
    submit(producer, "x", latent("sdxl"))
    line = daemon.wait_line("^.*endpoint=sdxl-decode is stopped now.*$")[0]
    assert "check its token_file" in line
    producer.cancel("x").expect("CANCELLED")
    producer.take("x").expect("RESULT", state="cancelled", attempts=1)
    producer.thank()
    assert TOKEN not in daemon.stderr()


def test_proxies_of_the_environment_are_not_used(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    proxy = start_fake()
    daemon = start_daemon(fake.section(), env={
        "http_proxy": proxy.url, "HTTP_PROXY": proxy.url,
        "all_proxy": proxy.url, "ALL_PROXY": proxy.url,
    })
    check(decode(connect(daemon)))
    assert proxy.requests == [] and len(fake.requests) == 1


def test_what_is_sent_is_what_the_contract_says(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    check(decode(connect(start_daemon(fake.section()))))
    [request] = fake.requests
    assert (request.method, request.path) == ("POST", "/sd-v1")
    assert request.query == {
        "image_format": ["jpg"], "output_type": ["pt"],
        "partial_postprocess": ["True"],
        "shape": ["1", "4", "8", "8"], "dtype": ["float16"],
        "scaling_factor": ["0.18215"],
    }
    assert request.headers["Accept"] == "tensor/binary"
    assert request.headers["Content-Type"] == "tensor/binary"
    assert request.headers["Expect"] is None
    assert request.headers["User-Agent"].startswith("latentd/")
