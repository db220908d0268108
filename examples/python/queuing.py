# SPDX-License-Identifier: Apache-2.0
"""The queue and the thread of diffusers' guide to remote decoding, as a daemon
has them: generate the next while the last are decoded elsewhere.

With a GPU, replace TinyPipeline() by

    StableDiffusionXLPipeline.from_pretrained(
        "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16,
        vae=None).to("cuda")
"""

import latentd
from latentd.diffusers import stream
from tiny_pipeline import TinyPipeline

pipe = TinyPipeline()
prompts = [f"{kind} kitten, in the style of a tarot card"
           for kind in ("a grey", "a ginger", "a black", "an astronaut")]

with latentd.connect() as client:
    for i, picture in enumerate(stream(client, pipe, prompts)):
        print(picture.save(f"kitten-{i}"))
