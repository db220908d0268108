#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write remote.jsonl: golden vectors of the endpoint's HTTP contract.

Run it in this directory and commit what it writes.  It shares nothing with
latentd's C code: queries come from urllib and repr(), as in diffusers'
utils/remote_utils.py; float16 comes from struct, bfloat16 from exact
fractions.  One JSON object per line:

  {"kind": "query", "request": {...}, "query": "?..."}
  {"kind": "tensor", "dtype": ..., "floats": [...], "bytes": hex}
      floats are float32 values; "inf", "-inf" and "nan" are strings
  {"kind": "base64", "shape": [...], "dtype": ..., "bytes": hex, "body": text}
"""
import base64
import json
import math
import struct
from fractions import Fraction
from urllib.parse import urlencode

MODELS = {
    "sd-v1": ("float16", 0.18215, None),
    "sdxl": ("float16", 0.13025, None),
    "flux": ("bfloat16", 0.3611, 0.1159),
    "hunyuan-video": ("float16", 0.476986, None),
}


def query(request):
    """prepare_decode() and prepare_encode() of diffusers, in their order."""
    pairs = []
    decode = request["task"] == "decode"
    if decode:
        pairs += [("image_format", request["image_format"]),
                  ("output_type", request["output_type"]),
                  ("partial_postprocess", request["partial_postprocess"])]
        pairs += [("shape", d) for d in request["shape"]]
        pairs += [("dtype", request["dtype"])]
    for key in ("scaling_factor", "shift_factor", "do_scaling"):
        if request.get(key) is not None:
            pairs += [(key, request[key])]
    if decode and "height" in request:
        pairs += [("height", request["height"]), ("width", request["width"])]
    if not decode and "shape" in request:
        pairs += [("shape", d) for d in request["shape"]]
        pairs += [("dtype", request["dtype"])]
    return "?" + urlencode(pairs) if pairs else ""


def queries():
    shapes = {"sd-v1": [1, 4, 64, 64], "sdxl": [3, 4, 128, 96],
              "flux": [1, 4096, 64], "hunyuan-video": [1, 16, 3, 40, 64]}
    for model, (dtype, scale, shift) in MODELS.items():
        for output in ("pil", "pt", "mp4"):
            for partial in (False, True):
                request = {"task": "decode", "model": model,
                           "image_format": "png" if partial else "jpg",
                           "output_type": output,
                           "partial_postprocess": partial,
                           "shape": shapes[model], "dtype": dtype}
                if model == "flux":
                    request |= {"height": 1024, "width": 1024}
                yield request
                yield request | {"do_scaling": True}
                yield request | {"scaling_factor": scale,
                                 "shift_factor": shift}
        yield {"task": "encode", "model": model, "scaling_factor": scale,
               "shift_factor": shift}
        yield {"task": "encode", "model": model}
    yield {"task": "encode", "model": "sdxl", "scaling_factor": 0.13025,
           "shape": [1, 3, 128, 192], "dtype": "float32"}
    for factor in (1.0, 0.1, 1 / 3, 1e-05, 1.5e-05, 0.0001, 0.00012345,
                   123456.0, 1e6, 2.5, 0.30000000000000004, 1.52587890625e-05,
                   0.9999999999999999, 100000.00000000001, 1.03682, 999999.5):
        yield {"task": "decode", "model": "sdxl", "image_format": "jpg",
               "output_type": "pt", "partial_postprocess": True,
               "shape": [1, 4, 8, 8], "dtype": "float32",
               "scaling_factor": factor, "shift_factor": -factor}


def f32(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def f16_bytes(x):
    try:
        return struct.pack("<e", x)
    except OverflowError:
        return struct.pack("<H", 0xfc00 if x < 0 else 0x7c00)


def bf16_bytes(x):
    if math.isinf(x):
        return struct.pack("<H", 0xff80 if x < 0 else 0x7f80)
    sign = 0x8000 if math.copysign(1.0, x) < 0 else 0
    exact = Fraction(abs(x))
    low = struct.unpack("<I", struct.pack("<f", abs(x)))[0] >> 16
    # The value behind the largest finite one is where infinity begins.
    above = Fraction(2) ** 128 if low == 0x7f7f else Fraction(
        f32((low + 1) << 16))
    below = Fraction(f32(low << 16))
    middle = (below + above) / 2
    up = exact > middle or (exact == middle and low % 2 == 1)
    return struct.pack("<H", sign | (low + 1 if up else low))


def u8_bytes(x):
    return bytes([int(min(max(round(x) if abs(x) < 1e6 else
                              math.copysign(1e6, x), 0), 255))])


def tensors():
    floats = [0.0, -0.0, 1.0, -1.0, 0.5, 65504.0, 65519.0, 65520.0, 1e5,
              -1e5, f32(0x33000000), f32(0x33000001), f32(0x33800000),
              f32(0x387fc000), f32(0x38800000), f32(0x3f803000),
              f32(0x3f801000), f32(0x3f808000), f32(0x3f818000),
              f32(0x7f7fffff), f32(0x7f7f7fff), f32(0x7f7f8000),
              f32(0x00000001), f32(0x00008000), f32(0x00008001),
              math.inf, -math.inf, f32(0x3e555555), 127.5, 128.5, 254.5,
              255.4, 256.0, -0.4]
    pack = {"float16": f16_bytes, "bfloat16": bf16_bytes,
            "float32": lambda x: struct.pack("<f", x), "uint8": u8_bytes}
    for dtype, one in pack.items():
        yield {"kind": "tensor", "dtype": dtype,
               "floats": [repr(x) if math.isinf(x) else x for x in floats],
               "bytes": b"".join(map(one, floats)).hex()}


def base64s():
    for n in (1, 2, 3, 4, 5, 255, 256):
        data = bytes((i * 151 + n) % 256 for i in range(n))
        yield {"kind": "base64", "shape": [1, n], "dtype": "uint8",
               "bytes": data.hex(),
               "body": json.dumps({
                   "inputs": base64.b64encode(data).decode(),
                   "parameters": {"shape": [1, n], "dtype": "uint8"}})}


def main():
    with open("remote.jsonl", "w", encoding="ascii") as out:
        for request in queries():
            row = {k: v for k, v in request.items() if v is not None}
            print(json.dumps({"kind": "query", "request": row,
                              "query": query(request)}), file=out)
        for row in list(tensors()) + list(base64s()):
            print(json.dumps(row), file=out)


main()
