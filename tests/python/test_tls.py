# SPDX-License-Identifier: Apache-2.0
"""A client of another host: TLS, and a secret that is proved."""

import numpy
import pytest

import certificates
import latentd
import processes
from certificates import NAME, PRODUCER

LATENT = numpy.random.default_rng(3).standard_normal((1, 4, 8, 8)).astype("f2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def far(start_endpoint, start_daemon, short_tmp, made):
    """The URL of a daemon that is reached over TLS only by who has a secret."""
    port = processes.free_port()
    start_daemon({
        **start_endpoint().sections(["sd-v1"], ["decode"]), **made.rule,
        "daemon": {
            **made.daemon,
            "listen": [f"ipc://{short_tmp}/latentd.sock",
                       f"tls+tcp://0.0.0.0:{port}"],
        },
    })
    return f"tls+tcp://127.0.0.1:{port}"


def files(made):
    env = made.env
    return {
        "tls_ca": env["LATENTD_TLS_CA"],
        "tls_certificate": env["LATENTD_TLS_CERT"],
        "tls_key": env["LATENTD_TLS_KEY"],
        "tls_name": NAME,
    }


def test_a_picture_comes_over_tls(far, made):
    with latentd.connect(
        far, PRODUCER, secret_file=made.env["LATENTD_SECRET_FILE"],
        **files(made),
    ) as client:
        result = client.decode(LATENT, "sd-v1", output="pixels").result(60)
    assert result.numpy().shape == (64, 64, 3)


def test_files_of_the_environment_serve_as_well(far, made, monkeypatch):
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LATENTD_TLS_NAME", NAME)
    with latentd.connect(far, PRODUCER) as client:
        assert client.decode(LATENT, "sd-v1", output="jpg").result(60).bytes()


def test_a_wrong_secret_is_denied_with_a_sentence(far, made):
    with pytest.raises(latentd.Denied, match="secret"):
        latentd.connect(far, PRODUCER, secret=b"not the secret, not at all",
                        **files(made))


def test_a_file_that_is_missing_is_named(far, made):
    with pytest.raises(latentd.LatentdError, match="/nonexistent/ca"):
        latentd.connect(far, PRODUCER, **{
            **files(made), "tls_ca": "/nonexistent/ca"})
