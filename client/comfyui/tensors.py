# SPDX-License-Identifier: Apache-2.0
"""Between ComfyUI's tensors and what travels.

IMAGE is float32 [B,H,W,3] in [0,1]; a video's frames are its batch.  LATENT's
samples are unscaled (latentd's space "vae"): [B,C,h,w], or [B,C,T,h,w] for
video models.
"""

import comfy.model_management
import numpy as np
import torch

from .service import RemoteError


def latents(samples, model):
    """Each latent of a batch, as [1,...], in the model's number of
    dimensions.  model: a latentd.Model.  Raises RemoteError."""
    if getattr(samples, "is_nested", False):
        samples = samples.unbind()[0]
    shape = tuple(samples.shape)
    if model.temporal and len(shape) == 4:
        samples = samples.unsqueeze(2)
    elif not model.temporal and len(shape) == 5:
        # As ComfyUI's own image VAEs do with a video latent.
        samples = samples[:, :, 0]
    if len(samples.shape) not in (4, 5) or samples.shape[1] != model.channels:
        raise RemoteError(
            f"The latent has the shape {list(shape)}, which is none of "
            f"{model.name}: must be {model.layout()}.\n\nChoose the model "
            "whose sampler made it.")
    return [samples[i:i + 1] for i in range(samples.shape[0])]


def _unit(result, video):
    """Pixels of one result as floats in [0,1], channels last, behind the
    frames of a video."""
    values = result.numpy()
    if result.output == "float":
        values = np.moveaxis(values.astype(np.float32), 0, -1) / 2 + 0.5
        values = values.clip(0, 1)
    else:
        values = np.divide(values, 255, dtype=np.float32)
    return values[None] if video and values.ndim == 3 else values


def to_torch(array):
    """A float32 tensor where ComfyUI keeps what goes from node to node."""
    return torch.from_numpy(array).to(
        comfy.model_management.intermediate_device())


def images(results, video=False):
    """float32 [B,H,W,3], of videos [B,F,H,W,3], of results of one each."""
    first = _unit(results[0], video)
    whole = np.empty((len(results), *first.shape), np.float32)
    whole[0] = first
    for i in range(1, len(results)):
        whole[i] = _unit(results[i], video)
    return to_torch(whole)


def flat(batch):
    """An IMAGE: the frames of all videos one behind the other."""
    if len(batch.shape) == 5:
        return batch.reshape(-1, *batch.shape[-3:])
    return batch


def _cropped(array, step):
    """From the middle, so that both sides are multiples of step."""
    for axis in (-3, -2):
        size = array.shape[axis]
        kept = size // step * step
        if kept == 0:
            raise RemoteError(
                f"The image is {array.shape[-2]}x{array.shape[-3]} pixels; "
                f"each side must have at least {step}.")
        begin = size % step // 2
        array = np.take(array, range(begin, begin + kept), axis) \
            if kept != size else array
    return array


def pictures(pixels, model):
    """An IMAGE as float16 [1,3,H,W] in [-1,1] each; for a video model all
    frames (as many as fit, 4k+1) as one [1,3,F,H,W], of [B,F,H,W,3] one for
    each of B.  Sides are cropped to what the model can encode."""
    array = pixels.detach().cpu().float().numpy()
    if array.ndim not in (4, 5) or array.shape[-1] < 3:
        raise RemoteError(
            f"The image has the shape {list(array.shape)}; must be [B,H,W,3].")
    array = _cropped(array[..., :3], model.spatial)
    if model.temporal:
        videos = array if array.ndim == 5 else array[None]
        kept = (videos.shape[1] - 1) // model.temporal * model.temporal + 1
        array = videos[:, :kept]
    elif array.ndim == 5:
        array = array.reshape(-1, *array.shape[-3:])
    values = np.moveaxis(array, -1, 1) * 2 - 1
    return [values[i:i + 1].astype(np.float16) for i in range(len(values))]


def samples(results):
    """float32 latents of encoded pictures, one behind the other."""
    return to_torch(np.concatenate(
        [result.numpy().astype(np.float32) for result in results]))
