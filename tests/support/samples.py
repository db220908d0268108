# SPDX-License-Identifier: Apache-2.0
"""SUBMIT-ready latents, and what an endpoint makes of them when asked
directly, as diffusers would, without the daemon."""

import io
import json
from dataclasses import dataclass, field, replace

import numpy
import requests
from PIL import Image

CHANNELS = {"sd-v1": 4, "sdxl": 4, "flux": 16, "hunyuan-video": 16}
SCALING = {
    "sd-v1": {"scaling_factor": 0.18215},
    "sdxl": {"scaling_factor": 0.13025},
    "flux": {"scaling_factor": 0.3611, "shift_factor": 0.1159},
    "hunyuan-video": {"scaling_factor": 0.476986},
}
ACCEPT = {"pt": "tensor/binary", "mp4": "text/plain", "pil": "image/jpeg"}


@dataclass(frozen=True)
class Latent:
    """Raw values and the SUBMIT fields that describe them."""

    data: bytes
    fields: dict = field(hash=False)

    def one(self, i):
        """Latent i of a batch."""
        shape = self.fields["shape"]
        n = len(self.data) // shape[0]
        return replace(
            self,
            data=self.data[i * n: (i + 1) * n],
            fields={**self.fields, "shape": [1, *shape[1:]]},
        )


def raw(values, dtype):
    """float32 values as bytes of dtype; numpy has no bfloat16."""
    if dtype == "bfloat16":
        return (values.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes()
    return values.astype(dtype).tobytes()


def values(data, dtype, shape):
    """The inverse of raw()."""
    if dtype == "bfloat16":
        wide = numpy.frombuffer(data, numpy.uint16).astype(numpy.uint32) << 16
        return wide.view(numpy.float32).reshape(shape)
    return numpy.frombuffer(data, dtype).astype(numpy.float32).reshape(shape)


def latent(model="sd-v1", height=8, width=8, batch=1, frames=2,
           dtype="float16", packed=False, seed=0):
    """A latent of random values, which differ for every seed."""
    shape = [batch, CHANNELS[model], height, width]
    if model == "hunyuan-video":
        shape.insert(2, frames)
    fields = {"model": model, "dtype": dtype, "shape": shape}
    if packed:
        fields["shape"] = [batch, height * width // 4, 4 * CHANNELS[model]]
        fields.update(height_px=height * 8, width_px=width * 8)
    random = numpy.random.default_rng(seed)
    return Latent(
        raw(random.normal(size=shape).astype(numpy.float32), dtype), fields
    )


def picture(width=64, height=48, seed=0):
    """A smooth picture, uint8 [H,W,3]."""
    y, x = numpy.mgrid[0:height, 0:width]
    waves = [
        127 + 90 * numpy.sin(x / (9 + seed) + c) * numpy.cos(y / 7 - c)
        for c in range(3)
    ]
    return numpy.stack(waves, axis=2).astype(numpy.uint8)


def file_of(pixels, kind, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def pixels_of(data):
    """The pixels of an image file, uint8 [H,W,3]."""
    return numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def texts_of(data):
    """The text chunks of a PNG."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return dict(image.text)


def direct(url, latent, space="model", **query):
    """POST to an endpoint as diffusers does; the requests.Response."""
    fields = latent.fields
    accept = ACCEPT[query["output_type"]]
    query.update(shape=fields["shape"], dtype=fields["dtype"])
    if space == "model":
        query.update(SCALING[fields["model"]])
    if len(fields["shape"]) == 3:
        query.update(height=fields["height_px"], width=fields["width_px"])
    reply = requests.post(
        f"{url}/{fields['model']}",
        params=query,
        data=latent.data,
        headers={"Accept": accept, "Content-Type": "tensor/binary"},
        timeout=60,
    )
    assert reply.status_code == 200, reply.text
    return reply


def direct_jpg(url, latent):
    """The JPEG file of one latent."""
    return direct(
        url, latent, output_type="pil", image_format="jpg"
    ).content


def direct_pixels(url, latent, **query):
    """uint8 [N,H,W,3], for a video [F,H,W,3]."""
    reply = direct(
        url, latent, output_type="pt", partial_postprocess="True", **query
    )
    return numpy.frombuffer(reply.content, numpy.uint8).reshape(
        json.loads(reply.headers["shape"])
    )
