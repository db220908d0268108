# SPDX-License-Identifier: Apache-2.0
"""Pictures for the PNG writer: made by numpy, the same every time.

pictures.make(side) is a list of Picture; kind is "photo" for what looks like a
photograph to a compressor (smooth surfaces, grain, edges), "noise" for what
nothing can compress much, "flat" for graphics, "alpha" for other channels.
"""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

SEED = 20


class Picture(NamedTuple):
    name: str
    kind: str
    pixels: np.ndarray  # [height, width(, channels)], uint8


def bytes_of(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def clouds(random, side, slope, channels=3):
    """Noise whose amplitude falls with frequency to the power of slope, as in
    photographs (1 to 1.5), of deviation 1; the channels have much in common."""
    y = np.fft.fftfreq(side)[:, None]
    x = np.fft.rfftfreq(side)[None]
    falling = np.maximum(np.hypot(y, x), 1 / side) ** -slope
    layers = []
    for _ in range(channels + 1):
        white = np.fft.rfft2(random.normal(size=(side, side)))
        layer = np.fft.irfft2(white * falling, s=(side, side))
        layers.append(layer / layer.std())
    return np.stack([0.9 * layers[0] + 0.2 * own for own in layers[1:]], -1)


def scenery(random, side, grain):
    """Hills before a sky, textured more the nearer they are, with grain."""
    y, x = np.mgrid[0:side, 0:side] / side
    picture = np.stack([150 - 60 * y, 180 - 40 * y, 225 + 0 * y], -1)
    for hill in range(4):
        ridge = 0.35 + 0.15 * hill + 0.06 * np.sin(
            x * (5 + 3 * hill) + 2 * hill) + 0.02 * np.sin(x * (31 + hill))
        colour = random.uniform(30, 170, 3)
        texture = clouds(random, side, 1.3) * (4 + 6 * hill)
        picture = np.where((y > ridge)[..., None], colour + texture, picture)
    return picture + random.normal(size=(side, side, 1)) * grain


def jpeg(pixels, quality):
    """What is left of it after JPEG, as most photographs have been."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def rescaled(pixels, side, how):
    return np.asarray(Image.fromarray(pixels).resize((side, side), how))


def screen(random, side):
    image = Image.new("RGB", (side, side), (240, 240, 240))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        a, b, c, d = (int(v) for v in random.integers(0, side, 4))
        draw.rectangle((min(a, b), min(c, d), max(a, b), max(c, d)),
                       fill=tuple(int(v) for v in random.integers(0, 256, 3)),
                       outline=(0, 0, 0))
    for i in range(side // 16):
        draw.text((int(random.integers(0, side)), i * 16),
                  f"File Edit View Window Help {i * 7919}", fill=(10, 10, 60))
    return np.asarray(image)


def text(side):
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    for i in range(side // 16):
        draw.text((10, i * 16), f"{i * 7919} " + "The quick brown fox jumps "
                  "over the lazy dog. " * 6, fill=(0, 0, 0))
    return np.asarray(image)


def photos(random, side):
    yield "scenery", bytes_of(scenery(random, side, 1.0))
    yield "scenery, more grain", bytes_of(scenery(random, side, 3.0))
    large = bytes_of(scenery(random, 2 * side, 2.0))
    yield "scenery, reduced", rescaled(large, side, Image.LANCZOS)
    for slope, deviation in ((1.2, 25), (1.35, 40), (1.5, 25), (1.5, 50)):
        yield (f"1/f^{slope}, deviation {deviation}",
               bytes_of(128 + deviation * clouds(random, side, slope)))
    y, x = np.mgrid[0:side, 0:side] * 256 / side
    ramp = np.stack([x, y, (x + y) / 2], -1)
    yield ("gradients, grain in each channel",
           bytes_of(ramp + 3 * random.normal(size=(side, side, 3))))


def others(random, side):
    soft = bytes_of(128 + 40 * clouds(random, side, 1.3))
    y, x = np.mgrid[0:side, 0:side]
    inside = np.hypot(x - side / 2, y - side / 2) < side / 3
    yield "JPEG of quality 80", "noise", jpeg(soft, 80)
    yield ("enlarged eightfold", "noise",
           rescaled(soft[:side // 8, :side // 8], side, Image.BICUBIC))
    yield "white noise", "noise", random.integers(
        0, 256, (side, side, 3), dtype=np.uint8)
    yield ("1/f, deviation 50", "noise",
           bytes_of(128 + 50 * clouds(random, side, 1.0)))
    yield "zeros", "flat", np.zeros((side, side, 3), np.uint8)
    yield "screen", "flat", screen(random, side)
    mixed = screen(random, side).copy()
    mixed[side // 4:-side // 4, side // 4:-side // 4] = \
        soft[side // 4:-side // 4, side // 4:-side // 4]
    yield "screen with a photograph", "flat", mixed
    yield "text", "flat", text(side)
    ramp = x * 256 / side
    yield "gradient", "flat", bytes_of(
        np.stack([ramp, ramp.T, (ramp + ramp.T) / 2], -1))
    yield "dithered", "flat", ((random.random((side, side, 1)) < x[..., None]
                                / side) * np.uint8(255)).repeat(3, 2)
    yield "16 colours", "flat", np.asarray(
        Image.fromarray(soft).quantize(16).convert("RGB"))
    yield "tiles", "flat", np.tile(
        random.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        (side // 32 + 1, side // 32 + 1, 1))[:side, :side]
    yield "blocks of 8", "flat", rescaled(
        soft[:side // 8, :side // 8], side, Image.NEAREST)
    yield ("photograph on white", "flat",
           np.where(inside[..., None], soft, np.uint8(255)))
    yield "grey", "alpha", soft[..., 0]
    yield "grey mask", "alpha", inside * np.uint8(255)
    yield "RGBA, mask", "alpha", np.dstack([soft, inside * np.uint8(255)])
    yield "RGBA, opaque", "alpha", np.dstack(
        [soft, np.full((side, side), 255, np.uint8)])


def make(side):
    random = np.random.default_rng(SEED)
    found = [Picture(name, "photo", pixels)
             for name, pixels in photos(random, side)]
    found += [Picture(*other) for other in others(random, side)]
    return found
