# SPDX-License-Identifier: Apache-2.0
"""The latent spaces that latentd knows, and what people call them.

The table is that of proto/protocol.md section 9.  It serves to say at the call
what is wrong with a shape; the daemon has the last word.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Dict, Optional, Sequence, Tuple

from .errors import InvalidError, ModelError, ShapeError


@dataclass(frozen=True)
class Model:
    """A latent space: z_vae = z_model / scaling_factor + shift_factor."""

    name: str
    channels: int
    spatial: int  # pixels per latent element, each way
    temporal: int  # frames = (T - 1) * temporal + 1; 0: images
    packs: bool  # pipelines give [N, P, 4 C]
    scaling_factor: float
    shift_factor: Optional[float]

    def layout(self) -> str:
        """The shapes that fit, for sentences."""
        if self.temporal:
            return f"[N,{self.channels},T,h,w]"
        plain = f"[N,{self.channels},h,w]"
        if not self.packs:
            return plain
        return f"{plain}, or packed [N,P,{4 * self.channels}] with height" \
            " and width"


MODELS: Dict[str, Model] = {
    m.name: m
    for m in (
        Model("sd-v1", 4, 8, 0, False, 0.18215, None),
        Model("sdxl", 4, 8, 0, False, 0.13025, None),
        Model("flux", 16, 8, 0, True, 0.3611, 0.1159),
        Model("hunyuan-video", 16, 8, 4, False, 0.476986, None),
    )
}

_ALIASES: Dict[str, str] = {
    "sd": "sd-v1",
    "sd1": "sd-v1",
    "sd14": "sd-v1",
    "sd15": "sd-v1",
    "sdv14": "sd-v1",
    "sdv15": "sd-v1",
    "sd2": "sd-v1",
    "sd21": "sd-v1",
    "sdv2": "sd-v1",
    "stablediffusion": "sd-v1",
    "stablediffusionv14": "sd-v1",
    "stablediffusionv15": "sd-v1",
    "stablediffusion21": "sd-v1",
    "sdvaeftmse": "sd-v1",
    "pixartalpha": "sd-v1",
    "xl": "sdxl",
    "sdxlturbo": "sdxl",
    "sdxlvae": "sdxl",
    "stablediffusionxl": "sdxl",
    "stablediffusionxlbase10": "sdxl",
    "pixartsigma": "sdxl",
    "hunyuandit": "sdxl",
    "flux1": "flux",
    "flux1dev": "flux",
    "flux1schnell": "flux",
    "fluxdev": "flux",
    "fluxschnell": "flux",
    "chroma": "flux",
    "hunyuan": "hunyuan-video",
}
_ALIASES.update({re.sub(r"[^a-z0-9]", "", name): name for name in MODELS})

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


def canonical(name: str) -> Optional[str]:
    """The table's name of a model, an alias or a repository ("owner/name");
    None for what is none of them."""
    if name in MODELS:
        return name
    plain = re.sub(r"[^a-z0-9]", "", name.rpartition("/")[2].lower())
    return _ALIASES.get(plain)


def resolve(name: object, offered: Sequence[str] = ()) -> str:
    """The name to submit under.

    offered: names that the daemon serves although the table lacks them.
    Raises ModelError with the names that would do.
    """
    if not isinstance(name, str):
        raise ModelError(
            f"model must be a name like \"sdxl\", not {type(name).__name__}")
    found = canonical(name)
    if found is not None:
        return found
    if name in offered:
        return name
    known = sorted({*MODELS, *offered})
    near = difflib.get_close_matches(name.lower(), known, 1, 0.5)
    hint = f"did you mean \"{near[0]}\"? " if near else ""
    raise ModelError(
        f"no model \"{name}\"; {hint}there are {', '.join(known)}")


def is_name(name: str) -> bool:
    """Whether `name` may be a producer, a key or a model."""
    return _NAME.match(name) is not None


def check_size(what: str, value: Optional[int]) -> int:
    """height or width in pixels as a number; 0 for None."""
    if value is None:
        return 0
    number = int(value)
    if not 1 <= number <= 16384:
        raise InvalidError(f"{what} is {value}; 1 to 16384 pixels are allowed")
    return number


def _refuse(model: Model, shape: Sequence[int]) -> ShapeError:
    return ShapeError(
        f"shape {list(shape)} does not fit {model.name}: must be "
        f"{model.layout()}")


def _check_packed(model: Model, shape: Sequence[int], height: int,
                  width: int) -> Tuple[int, ...]:
    step = 2 * model.spatial
    if not height or not width:
        raise ShapeError(
            f"shape {list(shape)} is a packed {model.name} latent and needs "
            "height and width, in pixels")
    fits = (height // step) * (width // step)
    if shape[-2] != fits:
        raise ShapeError(
            f"shape {list(shape)} does not fit height {height} and width "
            f"{width}: a packed {model.name} latent of that size is "
            f"[N,{fits},{4 * model.channels}]")
    return tuple(shape)


def check_latent(model: Model, shape: Sequence[int], height: int,
                 width: int) -> Tuple[int, ...]:
    """The shape to submit: a latent without its batch axis gets one.

    Raises ShapeError when it is no latent of `model`.
    Source: proto/model.h, model_geometry().
    """
    ndim = 5 if model.temporal else 4
    if any(d < 1 for d in shape):
        raise ShapeError(f"shape {list(shape)} is empty")
    if len(shape) == ndim and shape[1] == model.channels:
        return tuple(shape)
    if not model.temporal and len(shape) >= 3 and \
            shape[-1] == 4 * model.channels and \
            (len(shape) == 3 or tuple(shape[:-2]) == (1, 1)):
        if shape[0] != model.channels or (height and width):
            return _check_packed(model, shape, height, width)
    if len(shape) == ndim - 1 and shape[0] == model.channels:
        return (1, *shape)
    raise _refuse(model, shape)
