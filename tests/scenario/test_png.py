# SPDX-License-Identifier: Apache-2.0
"""PNG files of the daemon's writer, as others read them."""

import io
import subprocess

import numpy as np
import pytest
from PIL import Image

import processes

FORMATS = [(channels, bits) for bits in (8, 16) for channels in (1, 2, 3, 4)]
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
SIZES = [(1, 1), (1, 9), (9, 1), (7, 5), (64, 64), (257, 131), (300, 400)]
KINDS = ("noise", "smooth", "flat", "boxes")


def picture(kind, width, height, channels, bits):
    random = np.random.default_rng(width * 1000 + height)
    y, x = np.mgrid[0:height, 0:width]
    most = 2**bits - 1
    plane = {
        "noise": random.integers(0, most, (height, width), endpoint=True),
        "smooth": (x * 3 + y * 2 + random.integers(0, 5, (height, width)))
        * (most // 255) % (most + 1),
        "flat": np.full((height, width), most // 3),
        "boxes": (x // 7 ^ y // 5) * 2654435761 % (most + 1),
    }[kind]
    shifted = [np.roll(plane, c, 1) ^ c for c in range(channels)]
    return np.stack(shifted, -1).astype(f"uint{bits}")


def written(pixels, bits):
    """The file that the daemon's writer makes of [height, width, channels]."""
    height, width, channels = pixels.shape
    done = processes.run(processes.program("png_file"), width, height,
                         channels, bits, input=pixels.tobytes(), check=0)
    return done.stdout


def cases():
    for number, (width, height) in enumerate(SIZES):
        for channels, bits in FORMATS:
            kind = KINDS[(number + channels + bits // 8) % len(KINDS)]
            yield width, height, channels, bits, kind


@pytest.mark.parametrize("width, height, channels, bits, kind", cases())
def test_imagemagick_reads_the_same_pixels(
        width, height, channels, bits, kind):
    pixels = picture(kind, width, height, channels, bits)
    # Raw RGBA, high byte first; grey is said three times, no alpha is full.
    done = subprocess.run(
        ["convert", "png:-", "-depth", str(bits), "-endian", "MSB", "rgba:-"],
        input=written(pixels, bits), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, check=True, timeout=processes.PATIENCE_S)
    got = np.frombuffer(done.stdout, f">u{bits // 8}")
    got = got.reshape(height, width, 4)
    colours = 1 if channels < 3 else 3
    assert np.array_equal(
        got[..., :3], np.broadcast_to(pixels[..., :colours],
                                      (height, width, 3)))
    if channels in (2, 4):
        assert np.array_equal(got[..., 3], pixels[..., -1])
    else:
        assert (got[..., 3] == 2**bits - 1).all()


@pytest.mark.parametrize("width, height, channels, bits, kind", [
    case for case in cases() if case[3] == 8 or case[2] == 1])
def test_pillow_reads_the_same_pixels(width, height, channels, bits, kind):
    """Of 16 bits Pillow keeps grey alone."""
    pixels = picture(kind, width, height, channels, bits)
    image = Image.open(io.BytesIO(written(pixels, bits)))
    if bits == 8:
        assert image.mode == MODES[channels]
    got = np.asarray(image).reshape(height, width, channels)
    assert np.array_equal(got, pixels)
    assert image.info["parameters"] == "a cat"
