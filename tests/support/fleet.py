# SPDX-License-Identifier: Apache-2.0
"""Questions about a daemon's endpoints, and what their jobs must bring."""

import json

import wire
from fakes import fake_pixels
from processes import wait_until
from samples import direct_pixels


def endpoints(daemon):
    """What STATUS tells of every endpoint, by name."""
    found = json.loads(wire.report(daemon.url))["endpoints"]
    return {one["name"]: one for one in found}


def wait_state(daemon, name, state):
    """Wait until an endpoint is in a state; what STATUS tells of it then."""

    def look():
        found = endpoints(daemon)[name]
        return found if found["state"] == state else None

    return wait_until(look, f"endpoint {name} is {state}")


def why(producer, key):
    """What WHY tells of a job, as a dictionary."""
    return json.loads(
        producer.ask("WHY", {"key": key}).expect("REPORT").body)


def wait_why(producer, key, *words):
    """Wait until WHY's sentence has all the words; the sentence."""

    def look():
        said = why(producer, key)["why"]
        return said if all(word in said for word in words) else None

    return wait_until(look, f"WHY of {key} says {words}")


def submit(producer, key, z, output="pixels", **fields):
    return producer.submit(key, z.data, **z.fields, output=output, **fields)


def check_fake(result, z):
    """The result has the pixels that fakes.good() makes of the latent."""
    result.expect("RESULT", state="done", code="ok")
    n, _, height, width = z.fields["shape"]
    assert result.body == fake_pixels(
        z.data, n, height * 8, width * 8).tobytes()


def check_all(results, latents, url):
    """The results are what the endpoint at url gives for the latents; both
    by key."""
    assert results.keys() == latents.keys()
    for key, result in results.items():
        result.expect("RESULT", state="done", code="ok")
        assert result.body == direct_pixels(url, latents[key]).tobytes()


def received_n(endpoint):
    """Requests for decoding that a latentd-endpoint with control=True got."""
    return sum(
        n for path, n in endpoint.control()["received"].items()
        if path.strip("/") in ("sd-v1", "sdxl", "flux", "hunyuan-video")
    )
