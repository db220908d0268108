# SPDX-License-Identifier: Apache-2.0
"""A busy daemon and endpoint under ThreadSanitizer, without a report.

Criterion programs cannot run under it, so the real programs do; they must have
been built with -DLATENTD_SANITIZE=thread in $LATENTD_TSAN_BIN_DIR.
"""

import os
import threading
from signal import SIGTERM

import numpy
import pytest

import processes
import wire
from fakes import status, truncated
from samples import direct_pixels, latent, pixels_of

BIN_DIR = os.environ.get("LATENTD_TSAN_BIN_DIR")
OPTIONS = "halt_on_error=1:exitcode=66:second_deadlock_stack=1"
if os.environ.get("LATENTD_TSAN_SUPPRESSIONS"):
    OPTIONS += ":suppressions=" + os.environ["LATENTD_TSAN_SUPPRESSIONS"]
TSAN = {"TSAN_OPTIONS": OPTIONS}
PRODUCERS_N = 4
JOBS_N = 30

pytestmark = pytest.mark.skipif(
    not BIN_DIR, reason="needs a build with -fsanitize=thread in"
    " LATENTD_TSAN_BIN_DIR"
)


@pytest.fixture
def house(start_endpoint, start_daemon, start_fake):
    """(endpoint, daemon); sdxl is served by a fake that fails at first."""
    endpoint = start_endpoint(parallel=4, directory=BIN_DIR, env=TSAN)
    fake = start_fake(status(503), truncated)
    daemon = start_daemon(
        {
            **endpoint.sections(["sd-v1", "flux", "hunyuan-video"],
                                parallel=4),
            **fake.section("fake", "sdxl"),
            "daemon": {
                "events": "image", "drain_s": 60,
                "http": f"127.0.0.1:{processes.free_port()}",
            },
        },
        bin=BIN_DIR, env=TSAN,
    )
    return endpoint, daemon


def produce(house, number, done):
    """Push, cancel, reconnect, collect; check every picture."""
    endpoint, daemon = house
    random = numpy.random.default_rng(number)
    latents = [
        latent("sd-v1", seed=number), latent("flux", seed=number),
        latent("hunyuan-video", seed=number), latent("sd-v1", batch=3),
    ]
    expected = [direct_pixels(endpoint.url, z) for z in latents]
    with wire.Producer(daemon.url, f"p{number}") as producer:
        for i in range(JOBS_N):
            z = latents[i % len(latents)]
            output = "pixels" if i % 8 < 4 else "png"
            producer.submit(f"k{i}", z.data, **z.fields, output=output)
            if random.random() < 0.2:
                producer.cancel(f"k{random.integers(0, i + 1)}")
            if random.random() < 0.2:
                producer.post("COLLECT", {"wait_ms": 25000})
                producer.reconnect()
        results = producer.take_all(JOBS_N)
        for key, result in results.items():
            if result["state"] == "cancelled":
                continue
            pixels = expected[int(key[1:]) % len(latents)]
            if result["output"] == "pixels":
                assert result.body == pixels.tobytes()
            else:
                assert numpy.array_equal(
                    [pixels_of(part) for part in result.parts], pixels
                )
    done.append(number)


def churn(daemon, ended):
    """Connections that come to nothing, until the producers are through."""
    greeting = wire.greeting(wire.REQ)
    n = 0
    while not ended.is_set():
        sock = wire.dial(daemon.url)
        sock.sendall(greeting[: n % 9])
        sock.close()
        wire.report(daemon.url)
        wire.dial(f"{daemon.url}.events").close()
        n += 1


def test_a_busy_day_has_no_data_race(house):
    endpoint, daemon = house
    done, ended = [], threading.Event()
    producers = [
        threading.Thread(target=produce, args=(house, i, done))
        for i in range(PRODUCERS_N)
    ]
    churner = threading.Thread(target=churn, args=(daemon, ended))
    with wire.Connection(f"{daemon.url}.events", wire.SUB):
        churner.start()
        for thread in producers:
            thread.start()
        for thread in producers:
            thread.join()
        ended.set()
        churner.join()
    assert sorted(done) == list(range(PRODUCERS_N)), daemon.stderr()

    # SIGTERM with jobs queued, active and waiting for another try.
    with wire.Producer(daemon.url, "last") as last:
        for i in range(20):
            z = latent("sd-v1" if i % 2 else "sdxl", seed=i)
            last.submit(f"k{i}", z.data, **z.fields, output="pixels")
        daemon.signal(SIGTERM)
        states = {r["state"] for r in last.take_all(20).values()}
    assert states == {"done"}
    for process in (daemon, endpoint):
        assert process.stop() == 0, process.stderr()
        process.check_clean()


def test_a_second_signal_in_the_middle_has_no_data_race(house):
    endpoint, daemon = house
    with wire.Producer(daemon.url) as producer:
        for i in range(40):
            z = latent("sd-v1" if i % 2 else "sdxl", 32, 32, seed=i)
            producer.submit(f"k{i}", z.data, **z.fields, output="png")
        producer.post("COLLECT", {"wait_ms": 25000})
        daemon.signal(SIGTERM)
        daemon.wait_line("draining")
        daemon.signal(SIGTERM)
        assert daemon.wait() == 0, daemon.stderr()
    assert endpoint.stop() == 0, endpoint.stderr()
    daemon.check_clean()
    endpoint.check_clean()
