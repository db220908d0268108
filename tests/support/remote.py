# SPDX-License-Identifier: Apache-2.0
"""The remote VAE's HTTP contract as a client of requests sees it."""

import base64
import json

import processes
import requests
from latents import FACTORS, from_bytes

GOOD = "shape=1&shape=4&shape=4&shape=4&dtype=float16&do_scaling=True"
GOOD_BODY = bytes(128)


def post(session, url, path, query, body, accept="tensor/binary", kind="tensor/binary"):
    headers = {"Accept": accept}
    if kind:
        headers["Content-Type"] = kind
    return session.post(
        f"{url}/{path}", params=query, data=body, headers=headers,
        timeout=processes.PATIENCE_S,
    )


def error_of(reply):
    assert reply.headers["Content-Type"] == "application/json"
    document = reply.json()
    assert list(document) == ["error"]
    return document["error"]


def gauges(url):
    text = requests.get(f"{url}/metrics", timeout=processes.PATIENCE_S).text
    return {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if not line.startswith("#")
    }


def reply_tensor(reply):
    if reply.headers["Content-Type"] == "tensor/base64":
        document = reply.json()
        assert sorted(document) == ["inputs", "parameters"]
        shape = document["parameters"]["shape"]
        dtype = document["parameters"]["dtype"]
        data = base64.b64decode(document["inputs"], validate=True)
    else:
        shape = json.loads(reply.headers["shape"])
        dtype = reply.headers["dtype"]
        data = reply.content
    return from_bytes(data, dtype, shape), dtype


def decode_query(model, shape, **more):
    scale, shift = FACTORS[model]
    query = [("shape", d) for d in shape]
    query += [("dtype", "float16"), ("scaling_factor", scale)]
    if shift:
        query.append(("shift_factor", shift))
    return query + list(more.items())
