# SPDX-License-Identifier: Apache-2.0
"""Watch a picture come into being without holding the sampler up: every second
step is decoded elsewhere, unless the last preview is still on its way."""

import latentd
from latentd.diffusers import StepPreview, submit
from tiny_pipeline import TinyPipeline

pipe = TinyPipeline()


def show(preview):
    print(preview.result.save(f"step-{preview.step:02}"))


with latentd.connect() as client:
    with StepPreview(client, every=2, on_preview=show) as previews:
        job = submit(client, pipe, "a kitten", callback_on_step_end=previews)
    print(job.result().save("kitten"))
    print(f"{previews.sent} previews, {previews.dropped} left out")
