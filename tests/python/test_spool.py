# SPDX-License-Identifier: Apache-2.0
"""What a daemon with a spool means to Python."""

import threading
from itertools import islice

import pytest

import fakes
import samples
from arrays import array_of

PATIENCE_S = 60


def z_of(seed=0):
    return array_of(samples.latent("sd-v1", seed=seed))


def pixels(client, seed=0, **options):
    return client.decode(z_of(seed), "sd-v1", output="pixels", **options)


def expected(seed=0):
    return fakes.fake_pixels(z_of(seed).tobytes(), 1, 64, 64)[0]


@pytest.fixture
def fake(start_fake, stack):
    """An sd-v1 endpoint that answers once .gate is set."""
    gate = threading.Event()
    stack.callback(gate.set)
    fake = start_fake(then=fakes.held(gate))
    fake.gate = gate
    return fake


def test_a_job_says_what_it_survives(
        fake, start_daemon, start_spooled, connect):
    daemon = start_daemon(fake.section())
    job = pixels(connect(daemon))
    job.wait_accepted(PATIENCE_S)
    assert job.durability == "none"
    daemon.kill()
    job = pixels(connect(start_spooled(fake.section())))
    job.wait_accepted(PATIENCE_S)
    assert job.durability == "spooled"
    fake.gate.set()
    job.result(PATIENCE_S)
    assert job.durability == "spooled"


def test_a_job_that_no_daemon_has_accepted_survives_nothing_yet(
        start_fake, start_daemon, connect):
    daemon = start_daemon(start_fake().section())
    client = connect(daemon)
    daemon.kill()
    assert pixels(client).durability == ""


def test_spooled_jobs_survive_both_their_process_and_the_daemon(
        fake, start_spooled, connect):
    daemon = start_spooled(fake.section())
    first = connect(daemon, "me")
    for seed in range(3):
        pixels(first, seed, key=f"k{seed}").wait_accepted(PATIENCE_S)
    first.close()
    daemon.kill()
    fake.gate.set()
    second = connect(start_spooled(fake.section()), "me")
    found = {result.key: result.numpy()
             for result in islice(second.collect(PATIENCE_S), 3)}
    assert set(found) == {"k0", "k1", "k2"}
    assert all((found[f"k{seed}"] == expected(seed)).all()
               for seed in range(3))
