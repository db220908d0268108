# SPDX-License-Identifier: Apache-2.0
"""Latents, pictures and the linear maps between them, in numpy.

What latentd-endpoint decodes is checked against this second implementation:
the mean of every 8 x 8 block of a picture must be the pixel of the map.
"""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
FACTORS = {
    "sd-v1": (0.18215, 0.0),
    "sdxl": (0.13025, 0.0),
    "flux": (0.3611, 0.1159),
    "hunyuan-video": (0.476986, 0.0),
}
CHANNELS = {"sd-v1": 4, "sdxl": 4, "flux": 16, "hunyuan-video": 16}
FLOAT = {"flux": "bfloat16"}
IMAGE_MODELS = ("sd-v1", "sdxl", "flux")
MODELS = tuple(FACTORS)
KINDS = {"float16": "<f2", "float32": "<f4", "uint8": "u1"}


def load_maps():
    maps = {}
    with open(VECTORS / "latent-rgb.csv", newline="") as file:
        for row in csv.DictReader(file):
            rgb = [float(row[k]) for k in "rgb"]
            weight, bias = maps.setdefault(row["model"], ([], []))
            (bias if row["channel"] == "bias" else weight).append(rgb)
    maps = {m: (np.array(w), np.array(b[0])) for m, (w, b) in maps.items()}
    signs = [
        [(-1) ** bin(c & mask).count("1") for mask in (5, 11, 14)]
        for c in range(16)
    ]
    maps["hunyuan-video"] = (np.array(signs) / 16, np.zeros(3))
    return maps


MAPS = load_maps()


def to_bytes(values, dtype):
    values = np.asarray(values)
    if dtype == "bfloat16":
        bits = values.astype("<f4").view("<u4")
        even = bits + 0x7FFF + (bits >> 16 & 1)
        return (even >> 16).astype("<u2").tobytes()
    return values.astype(KINDS[dtype]).tobytes()


def from_bytes(data, dtype, shape):
    if dtype == "bfloat16":
        bits = np.frombuffer(data, "<u2").astype("<u4") << 16
        return bits.view("<f4").reshape(shape).astype(float)
    return np.frombuffer(data, KINDS[dtype]).reshape(shape).astype(float)


def small_picture(height, width, seed=0):
    """Smooth RGB in [-0.75,0.75], [3,h,w]."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    waves = [
        np.sin(0.21 * x + 0.13 * y + seed),
        np.cos(0.17 * x - 0.19 * y + 2 * seed),
        np.sin(0.11 * x) * np.cos(0.23 * y + seed),
    ]
    return 0.75 * np.stack(waves)


def embed(model, small, seed=None):
    """The model-space latent of small pictures; axis -3 is RGB.

    With a seed, something that the map does not see is added.
    """
    weight, bias = MAPS[model]
    rgb = np.moveaxis(small, -3, -1)
    inverse = np.linalg.pinv(weight)
    z = (rgb - bias) @ inverse
    if seed is not None:
        noise = np.random.default_rng(seed).normal(size=z.shape)
        z = z + noise - noise @ weight @ inverse
    return np.moveaxis(z, -1, -3)


def project(model, z):
    weight, bias = MAPS[model]
    return np.moveaxis(np.moveaxis(z, -3, -1) @ weight + bias, -1, -3)


def from_model_space(model, z, query):
    """Values as a client with these parameters sends them."""
    scale, shift = FACTORS[model]
    vae = z / scale + shift
    if "scaling_factor" in query:
        given = float(query.get("shift_factor", 0))
        return (vae - given) * float(query["scaling_factor"])
    return z if query.get("do_scaling") == "True" else vae


def pack(z):
    n, c, h, w = z.shape
    z = z.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 2, 4, 1, 3, 5)
    return z.reshape(n, h // 2 * (w // 2), c * 4)


def make_latent(model, shape, query, seed=1):
    """Values for the given shape, and their small pictures [K,3,h,w]."""
    if model == "hunyuan-video":
        frames = [
            small_picture(shape[3], shape[4], t) for t in range(shape[2])
        ]
        small = np.stack(frames)
        z = np.moveaxis(embed(model, small, seed), 0, 1)[None]
        steps = [
            small[t] + (small[t + 1] - small[t]) * k / 4
            for t in range(len(small) - 1)
            for k in range(4)
        ]
        return from_model_space(model, z, query), np.stack(steps + [small[-1]])
    packed = shape[-1] == 4 * CHANNELS[model] and len(shape) in (3, 4) and (
        len(shape) == 3 or shape[0] == 1 and shape[1] == 1
    )
    if packed:
        h, w = int(query["height"]) // 8, int(query["width"]) // 8
        n = shape[0] if len(shape) == 3 else shape[1]
    else:
        n, _, h, w = shape
    small = np.stack([small_picture(h, w, i) for i in range(n)])
    z = from_model_space(model, embed(model, small, seed), query)
    return (pack(z).reshape(shape) if packed else z), small


def blocks(pixels):
    """[K,H,W,3] in any range: means of 8 x 8 blocks as [K,3,h,w]."""
    k, h, w, _ = pixels.shape
    means = pixels.reshape(k, h // 8, 8, w // 8, 8, 3).mean((2, 4))
    return np.moveaxis(means, -1, 1)


def photo(height=192, width=320):
    """A photo-like picture: gradients, soft and hard shapes, fine texture."""
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / width, y / height
    r = np.hypot(u - 0.65, v - 0.4)
    sky = np.stack([90 + 60 * v, 130 + 40 * v, 220 - 60 * v], -1)
    hill = np.stack([60 + 30 * np.sin(20 * u), 120 + 20 * v, 50 + 0 * u], -1)
    picture = np.where((v > 0.6 + 0.1 * np.sin(6 * u))[..., None], hill, sky)
    picture[r < 0.15] = (250, 220, 120)
    picture[(abs(u - 0.2) < 0.06) & (v > 0.3)] = (130, 60, 50)
    picture += (5 * np.sin(x * 0.9) * np.cos(y * 0.8))[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def file_of(array, kind="PNG", mode=None, **options):
    image = Image.fromarray(array)
    if mode:
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def psnr(a, b):
    return 10 * np.log10(4 / np.mean((a - b) ** 2))
