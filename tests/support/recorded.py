# SPDX-License-Identifier: Apache-2.0
"""What unmodified clients sent (client-requests.jsonl), with bodies made here
so that the pictures behind them are known."""

import base64
import json
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from latents import (
    VECTORS, file_of, make_latent, photo, small_picture, to_bytes,
)

RECORDED = [
    json.loads(line)
    for line in (VECTORS / "client-requests.jsonl").read_text().splitlines()
]
IDS = [str(i) for i in range(len(RECORDED))]


def dims(query):
    return [int(v) for k, v in query if k == "shape"]


def recorded_request(record):
    """Body and the small pictures (decode) or pictures (encode) behind it."""
    url = urlsplit(record["target"])
    pairs = parse_qsl(url.query)
    query = dict(pairs)
    shape = dims(pairs)
    model = url.path.split("/")[-1]
    kind = record["headers"].get("Content-Type")
    if url.path.startswith("/encode/"):
        h, w = json.loads(record["reply"]["headers"]["shape"])[-2:]
        if shape:
            pixels = small_picture(8 * h, 8 * w)[None]
            return to_bytes(pixels, query["dtype"]), pixels
        pixels = photo(8 * h, 8 * w)
        rgb = np.moveaxis(pixels / 127.5 - 1, -1, 0)[None]
        return file_of(pixels), rgb
    if kind == "application/json":
        shape = [1, 48, 64] if model == "flux" else [1, 4, 12, 16]
        old = {"height": 96, "width": 128, "do_scaling": "True"}
        z, small = make_latent(model, shape, old)
        parameters = {
            "shape": shape, "dtype": "float16", "height": 96, "width": 128,
        }
        body = {
            "inputs": base64.b64encode(to_bytes(z, "float16")).decode(),
            "parameters": parameters,
        }
        return json.dumps(body).encode(), small
    if record["reply"]["status"] != 200:
        return bytes(record["body_bytes"]), None
    z, small = make_latent(model, shape, query)
    body = to_bytes(z, query["dtype"])
    if kind == "tensor/base64":
        wrapped = {"inputs": base64.b64encode(body).decode()}
        return json.dumps(wrapped).encode(), small
    assert len(body) == record["body_bytes"]
    return body, small
