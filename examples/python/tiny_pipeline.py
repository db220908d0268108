# SPDX-License-Identifier: Apache-2.0
"""A pipeline that is called as diffusers' are and needs no GPU and no weights:
its "model" is a few soft blobs, placed by the prompt.  It samples SDXL latents
from noise, step by step, and calls callback_on_step_end.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from zlib import crc32

import numpy as np


@dataclass
class Output:
    images: np.ndarray


class TinyPipeline:
    """What examples need of StableDiffusionXLPipeline.from_pretrained()."""

    def __init__(self):
        self.vae = SimpleNamespace(config={
            "scaling_factor": 0.13025, "shift_factor": None,
            "latent_channels": 4})

    def __call__(self, prompt, height=512, width=512, num_inference_steps=20,
                 num_images_per_prompt=1, output_type="pil",
                 callback_on_step_end=None,
                 callback_on_step_end_tensor_inputs=("latents",)):
        """Only output_type="latent": it has no VAE, and that is the point."""
        if output_type != "latent":
            raise ValueError(f"output_type is {output_type}, not latent")
        random = np.random.default_rng(crc32(prompt.encode()))
        shape = (num_images_per_prompt, 4, height // 8, width // 8)
        wanted = np.stack([_blobs(random, *shape[1:])
                           for _ in range(num_images_per_prompt)])
        latents = random.normal(size=shape)
        for step in range(num_inference_steps):
            latents += (wanted - latents) / (num_inference_steps - step)
            if callback_on_step_end is not None:
                said = callback_on_step_end(
                    self, step, 1000 - step * 1000 // num_inference_steps,
                    {"latents": latents})
                latents = said.pop("latents", latents)
        return Output(latents.astype(np.float16))


def _blobs(random, channels, height, width):
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    image = np.zeros((channels, height, width))
    for _ in range(8):
        distance = np.hypot(y - random.random(), x - random.random())
        colour = random.normal(size=(channels, 1, 1))
        image += 2 * colour * np.exp(-(distance * 4) ** 2)
    return image
