# SPDX-License-Identifier: Apache-2.0
"""Damaged requests of the remote contract, the same for the same seed.

Each mutation is a Damaged: the bytes to send, and what is known of the answer.
    words  the reply must be 400 and name one of these; None: nothing is known
    whole  whether the bytes are a complete request, so that a reply must come
"""

import base64
import json
from dataclasses import dataclass

from latents import file_of, photo
from raw_http import chunks, head, whole

SDXL = [("output_type", "pil"), ("image_format", "jpg"),
        ("partial_postprocess", "False"), ("shape", "1"), ("shape", "4"),
        ("shape", "4"), ("shape", "4"), ("dtype", "float16"),
        ("scaling_factor", "0.13025")]
LATENT = bytes(range(64)) * 2
PACKED = [("shape", "1"), ("shape", "4"), ("shape", "64"),
          ("dtype", "bfloat16"), ("do_scaling", "True"), ("height", "32"),
          ("width", "32"), ("output_type", "pt")]
PICTURE = file_of(photo(16, 16))

NUMBERS = ["", "0", "-1", "+4", "4.5", "0x4", "1e3", " 4", "4 ", "nan", "inf",
           "1048577", "99999999999999999999", "%00", "4%00", "x", "%ff", "..."]
FLOATS = ["", "nan", "inf", "-inf", "1e400", "0x1p3", "1,5", "0.1.2", "x",
          "--1", "%00", "1e7"]
WORDS = ["", "none", "TRUE-ish", "2", "maybe", "%22", "jpeg2000", "%f0%9f",
         "a" * 300]
BAD = {
    "shape": NUMBERS, "height": NUMBERS, "width": NUMBERS,
    "dtype": WORDS, "output_type": WORDS, "image_format": WORDS,
    "partial_postprocess": WORDS, "do_scaling": WORDS,
    "scaling_factor": FLOATS + ["0", "-1"], "shift_factor": FLOATS,
}
HEADERS = {
    "X-Latentd-Producer": ["a b", 'a"b', "x" * 200, "\xe9", "a/b", "a;b"],
    "X-Latentd-Priority": ["", "HIGH", "highest", "0", "low, high"],
    "X-Latentd-Deadline-Ms": ["0", "-1", "1.5", "x", "9" * 30, "0x10"],
}


@dataclass
class Damaged:
    what: str
    data: bytes
    words: tuple = None
    whole: bool = True


def target(path, query):
    return path + "?" + "&".join(f"{k}={v}" for k, v in query)


def post(query=SDXL, body=LATENT, path="/sdxl", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return whole("POST", target(path, query), body, {
        "Accept": "tensor/binary", "Content-Type": "tensor/binary", **named})


def wrapped(text, query=SDXL, kind="tensor/base64"):
    return post(query, text.encode("latin-1"), Content_Type=kind)


def oldest():
    return {"inputs": base64.b64encode(LATENT).decode(), "parameters": {
        "shape": [1, 4, 4, 4], "dtype": "float16"}}


def originals():
    """Valid requests of every form."""
    inputs = json.dumps({"inputs": base64.b64encode(LATENT).decode()})
    return [
        post(), post(PACKED, LATENT * 4, "/flux"), wrapped(inputs),
        post([("scaling_factor", "0.13025")], PICTURE, "/encode/sdxl",
             Content_Type=None),
        wrapped(json.dumps(oldest()), [], "application/json"),
        head("POST", target("/sdxl", SDXL), {
            "Transfer-Encoding": "chunked", "Accept": "image/jpeg",
        }) + chunks(LATENT[:50], LATENT[50:]),
        head("GET", "/metrics"),
    ]


# ---- classes of mutation; each takes a random.Random ----


def bad_value(random):
    """A parameter has a value that it cannot have."""
    key = random.choice(list(BAD))
    value = random.choice(BAD[key])
    query = [pair for pair in SDXL if pair[0] != key or key == "shape"]
    at = random.randrange(len(query) + 1)
    if key == "shape":
        places = [i for i, pair in enumerate(query) if pair[0] == key]
        at = random.choice(places)
        del query[at]
    query.insert(at, (key, value))
    return Damaged(f"{key}={value}", post(query), (key,))


def no_value(random):
    """A parameter without '='."""
    key = random.choice(list(BAD))
    text = target("/sdxl", [p for p in SDXL if p[0] != key])
    return Damaged(f"{key} bare", whole(
        "POST", f"{text}&{key}", LATENT, {"Content-Type": "tensor/binary"},
    ), (key,))


def lost_parameter(random):
    key = random.choice(["shape", "dtype"])
    query = [pair for pair in SDXL if pair[0] != key]
    return Damaged(f"no {key}", post(query), (key,))


def lost_dimension(random):
    query = list(SDXL)
    for _ in range(random.randrange(1, 4)):
        query.remove(random.choice([p for p in query if p[0] == "shape"]))
    return Damaged("fewer dimensions", post(query), ("shape", "body has"))


def wrong_length(random):
    """Whole requests whose body is not what shape and dtype say."""
    n = random.choice([0, 1, 64, 127, 129, 256, 5000])
    body = random.randbytes(n)
    return Damaged(f"{n} bytes", post(SDXL, body), ("the body",))


def bad_base64(random):
    text = bytearray(base64.b64encode(LATENT))
    kind = random.randrange(4)
    at = random.randrange(len(text) - 4)
    if kind == 0:
        text[at] = random.choice(b"*-_.,%\x7f=")
    elif kind == 1:
        del text[at]
    elif kind == 2:
        text[at:at] = b"===="
    else:
        text = text[:-4] + b"A==="
    inputs = bytes(text).decode("latin-1")
    return Damaged("base64", wrapped(json.dumps({"inputs": inputs})),
                   ("inputs",))


def bad_json(random):
    text = json.dumps(oldest())
    at = random.randrange(1, len(text) - 1)
    return Damaged("JSON cut", wrapped(text[:at], [], "application/json"),
                   ("JSON",))


def bad_json_value(random):
    document = oldest()
    key = random.choice(["shape", "dtype", "height", "do_scaling",
                         "scaling_factor"])
    document["parameters"][key] = random.choice(
        [[[1]], {}, "", "x", [None], -1.5, 1e300, [1, {}]])
    return Damaged(f"JSON {key}", wrapped(
        json.dumps(document), [], "application/json"), (key,))


def deep_json(random):
    text = random.choice(["[", '{"a":', '{"inputs":[']) * 3000
    return Damaged("deep JSON", wrapped(text, [], "application/json"),
                   ("JSON", "inputs"))


def bad_header(random):
    name = random.choice(list(HEADERS))
    value = random.choice(HEADERS[name])
    return Damaged(f"{name}: {value}", post(**{name: value}), (name,))


def bad_picture(random):
    """An encode of something that is no whole PNG."""
    data = bytearray(PICTURE)
    if random.random() < 0.5:
        data = data[: random.randrange(1, len(data) - 13)]
    else:
        data[random.randrange(8)] ^= 1 << random.randrange(8)
    return Damaged("picture", post([], bytes(data), "/encode/sdxl",
                                   Content_Type=None))


def random_bytes(random):
    """Flips, cuts, doublings and insertions anywhere; anything may come."""
    data = bytearray(random.choice(originals()))
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(data))
        n = random.randrange(1, 40)
        kind = random.randrange(5)
        if kind == 0:
            data[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            data[at] = random.choice(b"\0\r\n %&=:?/\xff\x80")
        elif kind == 2:
            del data[at: at + n]
            data = data or bytearray(b"\r\n")
        elif kind == 3:
            data[at:at] = random.randbytes(n)
        else:
            data[at:at] = data[at: at + n]
    return Damaged("bytes", bytes(data), whole=False)


def cut(random):
    """The client stops in the middle."""
    data = random.choice(originals())
    return Damaged("cut", data[: random.randrange(1, len(data))], whole=False)


def lying_length(random):
    """Content-Length is not what comes."""
    n = random.choice(["0", "1", "127", "129", "999999", "-1", "1e3", "0x80",
                       "99999999999999999999", "128 128", ""])
    data = head("POST", target("/sdxl", SDXL), {"Content-Length": n})
    return Damaged(f"length {n}", data + LATENT, whole=False)


def bad_chunks(random):
    data = bytearray(chunks(LATENT[:50], LATENT[50:]))
    for _ in range(random.randrange(1, 4)):
        data[random.randrange(len(data))] = random.choice(b"\r\n0fgz;-\0 ")
    return Damaged("chunks", head("POST", target("/sdxl", SDXL), {
        "Transfer-Encoding": "chunked"}) + bytes(data), whole=False)


def many_headers(random):
    n = random.choice([50, 500, 5000])
    more = {f"X-{i}": "v" * random.randrange(100) for i in range(n)}
    return Damaged(f"{n} headers", whole(
        "POST", target("/sdxl", SDXL), LATENT, more), whole=False)


def many_parameters(random):
    n = random.choice([50, 500, 3000])
    query = SDXL + [(f"k{i}", "v") for i in range(n)]
    return Damaged(f"{n} parameters", post(query), whole=False)


CLASSES = (
    [bad_value] * 5 + [no_value, lost_parameter, lost_dimension]
    + [wrong_length] * 2 + [bad_base64] * 3 + [bad_json, bad_json_value]
    + [deep_json, bad_header, bad_picture] + [random_bytes] * 8
    + [cut] * 3 + [lying_length, bad_chunks, many_headers, many_parameters]
)


def mutations(random, n):
    return [random.choice(CLASSES)(random) for _ in range(n)]
