# SPDX-License-Identifier: Apache-2.0
"""Everything goes wrong at once: 2,000 jobs of four models, endpoints with all
faults that latentd-endpoint knows, which are killed and restarted, too.

Every job ends in the right pixels, or expired after its deadline; none twice,
none lost; and the endpoints get no more requests than their faults explain.
Noise under right headers cannot be told from pixels, so only the endpoints of
the model that is asked for as JPEG send it.
"""

import json
import time

import pytest

import processes
import wire
from fleet import endpoints, submit
from samples import direct_jpg, direct_pixels, latent

JOBS_N = 2000
KINDS_N = 40  # different latents of a model
OUTPUTS = {"sd-v1": "pixels", "flux": "pixels", "hunyuan-video": "pixels",
           "sdxl": "jpg"}
# Endpoints that are there by the model that they serve.
PLACES = {"a": ("sd-v1", "flux", "hunyuan-video"),
          "b": ("sd-v1", "flux", "hunyuan-video"),
          "c": ("sd-v1", "flux", "hunyuan-video"),
          "d": ("sdxl",), "e": ("sdxl",), "f": ("sdxl",)}
# One job in ten is for JPEG, since its endpoints have one fault more.
MODELS = ("sd-v1", "flux", "hunyuan-video") * 3 + ("sdxl",)
FAULTS = [
    "--drop-rate", "0.05", "--fail-rate", "0.05:500",
    "--fail-rate", "0.05:503", "--fail-rate", "0.05:429",
    "--oom-rate", "0.05", "--stall-rate", "0.05", "--truncate-rate", "0.05",
    "--wrong-size-rate", "0.05", "--slow-rate", "0.2:5",
    "--cold-ms", "300",
]
KILL_EVERY = 100  # results
DEADLINE_EVERY = 10  # jobs
DEADLINES_MS = (1000, 5000, 20000, 60000)


class Place:
    """An endpoint of one port, with the dice of its letter."""

    def __init__(self, letter):
        self.letter = letter
        self.port = processes.free_port()
        self.starts_n = 0
        self.received_n = self.reset_n = 0
        self.endpoint = None
        self.start()

    def start(self):
        self.starts_n += 1
        args = list(FAULTS)
        if self.letter in "def":
            args += ["--garbage-rate", "0.05"]
        if self.letter == "b":
            args += ["--die-after", "300"]
        self.endpoint = processes.Endpoint(
            *args, "--seed", str(ord(self.letter) * 100 + self.starts_n),
            service_ms=5, parallel=4, port=self.port, control=True)

    def count(self):
        """Add up what the present process has got."""
        try:
            told = self.endpoint.control()
        except OSError:
            return
        self.received_n += sum(
            n for path, n in told["received"].items()
            if path.strip("/") in OUTPUTS)
        self.reset_n += told["faults"]["drop"]

    def kill(self):
        if self.endpoint.running():
            self.count()
        self.endpoint.kill()
        self.endpoint.check_clean()

    def sections(self):
        return {f"endpoint {self.letter}-{model}": {
            "model": model, "task": "decode",
            "url": f"http://127.0.0.1:{self.port}/{model}",
            "stall_s": 1, "think_s": 2, "connect_s": 2,
        } for model in PLACES[self.letter]}


@pytest.fixture
def places(stack):
    found = {}
    for letter in PLACES:
        found[letter] = Place(letter)
        stack.callback(found[letter].kill)
    return found


@pytest.fixture
def expected(start_endpoint):
    """(latents, what they bring) by model."""
    healthy = start_endpoint(parallel=4)
    latents, brought = {}, {}
    for model, output in OUTPUTS.items():
        latents[model] = [
            latent(model, height=4, width=4, seed=i) for i in range(KINDS_N)]
        brought[model] = [
            direct_jpg(healthy.url, z) if output == "jpg"
            else direct_pixels(healthy.url, z).tobytes()
            for z in latents[model]
        ]
    return latents, brought


def push(producer, latents):
    """Submit all jobs; {key: (model, kind, deadline_ms, when)}."""
    jobs = {}
    for i in range(JOBS_N):
        model, kind = MODELS[i % len(MODELS)], i // 10 % KINDS_N
        fields, deadline_ms = {}, None
        if i % DEADLINE_EVERY == i // DEADLINE_EVERY % DEADLINE_EVERY:
            deadline_ms = DEADLINES_MS[i // DEADLINE_EVERY % 4]
            fields["deadline_ms"] = deadline_ms
        key = f"k{i}"
        jobs[key] = (model, kind, deadline_ms, time.monotonic())
        submit(producer, key, latents[model][kind], OUTPUTS[model], **fields)
    return jobs


def shake(places, done_n):
    """Restart who is dead, and kill the next one."""
    for place in places.values():
        if not place.endpoint.running():
            place.kill()
            place.start()
    letter = "abdcef"[done_n // KILL_EVERY % 6]
    places[letter].kill()


def test_every_job_ends_right_or_expired_after_its_deadline(
    start_daemon, connect, places, expected
):
    latents, brought = expected
    sections = {"queue": {"attempts": 1000, "hedge_percent": 5}}
    for place in places.values():
        sections.update(place.sections())
    daemon = start_daemon(sections)
    producer = connect(daemon)
    jobs = push(producer, latents)
    ended = {}
    while len(ended) < JOBS_N:
        result = producer.next()
        if result.type == "EMPTY":
            # What waits is served by nobody that runs.
            shake(places, len(ended))
            continue
        key = result.expect("RESULT")["key"]
        assert key not in ended
        model, kind, deadline_ms, since_s = jobs[key]
        ended[key] = result["state"]
        if result["state"] == "expired":
            assert deadline_ms is not None
            assert time.monotonic() - since_s >= deadline_ms / 1000
            assert f"deadline of {deadline_ms} ms" in result["message"]
        else:
            result.expect("RESULT", state="done", code="ok")
            assert result.body == brought[model][kind], (model, key)
        if len(ended) % KILL_EVERY == 0:
            shake(places, len(ended))
    producer.thank()
    producer.next(0).expect("EMPTY", pending=0)
    assert ended.keys() == jobs.keys()
    check_books(daemon, places, ended)


def check_books(daemon, places, ended):
    """Requests by cause: results, failures, and what deadlines and hedges
    broke off."""
    expired_n = list(ended.values()).count("expired")
    done_n = JOBS_N - expired_n
    told = json.loads(wire.report(daemon.url))
    assert told["jobs"]["done_total"] == done_n
    assert told["jobs"]["expired_total"] == expired_n
    assert told["jobs"]["failed_total"] == 0
    assert told["jobs"]["kept"] == told["queue"]["bytes"] == 0
    found = endpoints(daemon).values()
    sums = {name: sum(e[name] for e in found) for name in (
        "requests_total", "done_total", "failed_total", "in_flight")}
    assert sums["in_flight"] == 0
    hedges_n = 0.05 * JOBS_N + 4
    assert done_n <= sums["done_total"] <= JOBS_N + hedges_n
    broken_n = (
        sums["requests_total"] - sums["done_total"] - sums["failed_total"])
    assert 0 <= broken_n <= expired_n + hedges_n
    # A third of the requests fails by the dice; the rest is deaths.
    assert sums["requests_total"] <= 2 * JOBS_N
    for place in places.values():
        place.count()
    received_n = sum(place.received_n for place in places.values())
    # libcurl itself repeats what was reset on a connection that it had kept.
    reset_n = sum(place.reset_n for place in places.values())
    assert received_n <= sums["requests_total"] + reset_n
    print(sums, "received", received_n, "expired", expired_n)
