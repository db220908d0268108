# SPDX-License-Identifier: Apache-2.0
"""What the tests of the spool share: latents with numbers, and their pixels."""

import json

import wire
from fakes import fake_pixels
from samples import latent

Z = [latent(seed=seed) for seed in range(20)]


def submit(producer, i, key=None, **fields):
    fields = {"output": "pixels", **fields}
    reply = producer.try_submit(
        key or f"k{i}", Z[i].data, **Z[i].fields, **fields
    )
    return reply


def accept(producer, i, key=None, **fields):
    reply = submit(producer, i, key, **fields).expect("ACCEPTED")
    assert reply["durability"] == "spooled"
    return reply["id"]


def check(result, i):
    result.expect("RESULT", state="done")
    assert result.body == fake_pixels(Z[i].data, 1, 64, 64).tobytes()


def report(daemon):
    return json.loads(wire.report(daemon.url))


def instance(daemon):
    return report(daemon)["instance"]
