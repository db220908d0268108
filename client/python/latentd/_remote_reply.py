# SPDX-License-Identifier: Apache-2.0
"""What remote_decode() makes of what came back, by HTTP or from the daemon.

Source: diffusers utils/remote_utils.py, postprocess_decode().
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, List, Optional, Tuple

import numpy as np

from . import _files
from ._tensors import Payload


@dataclass(frozen=True)
class Ask:
    """The arguments of remote_decode, checked."""

    endpoint: str
    payload: Payload
    torch: Any  # the module where the tensor is one of its, else None
    processor: Any
    do_scaling: bool
    scaling_factor: Optional[float]
    shift_factor: Optional[float]
    output_type: str
    return_type: str
    image_format: str
    partial: bool
    height: Optional[int]
    width: Optional[int]
    timeout: Optional[float]

    @property
    def files(self) -> bool:
        """An image file comes back."""
        return self.output_type == "pil" and self.processor is None


@dataclass(frozen=True)
class Tensor:
    """A tensor that came back."""

    data: "bytes | memoryview"
    dtype: str
    shape: Tuple[int, ...]

    def array(self) -> "np.ndarray[Any, Any]":
        """bfloat16 as float32."""
        kind = {"float16": "<f2", "bfloat16": "<u2", "float32": "<f4",
                "uint8": "u1"}[self.dtype]
        flat = np.frombuffer(self.data, kind)
        if self.dtype == "bfloat16":
            flat = _files.to_float32(flat, True)
        return flat.reshape(self.shape)

    def give(self, torch: Any) -> Any:
        """A torch tensor, or without torch an array."""
        if torch is None:
            return np.array(self.array())
        return torch.frombuffer(bytearray(self.data), dtype=getattr(
            torch, self.dtype)).reshape(self.shape)


def to_unit(tensor: Tensor) -> Tensor:
    """[-1,1] as the [0,1] that an endpoint gives for "pil" as a tensor."""
    values = (tensor.array().astype(np.float32) / 2 + 0.5).clip(0, 1)
    shape = tensor.shape
    if len(shape) == 5:  # [1,3,F,H,W]: frames first
        values = np.moveaxis(values[0], 1, 0)
        shape = values.shape
    if tensor.dtype == "float16":
        return Tensor(values.astype("<f2").tobytes(), "float16", shape)
    return Tensor(values.astype("<f4").tobytes(), "float32", shape)


def _images(values: "np.ndarray[Any, Any]") -> List[Any]:
    """PIL images of [K,H,W,3] uint8, or [K,3,H,W] in [0,1]."""
    from PIL import Image
    if values.dtype != np.uint8:
        values = np.moveaxis(values.astype(np.float32), 1, -1)
        values = (values * 255).round().clip(0, 255).astype(np.uint8)
    return [Image.fromarray(np.ascontiguousarray(v)) for v in values]


def _opened(data: bytes) -> Any:
    from PIL import Image
    return _files.open_picture(Image, data)


def _one_or_all(values: List[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _process(ask: Ask, tensors: List[Tensor]) -> Any:
    """pt in [-1,1] as PIL images: by the processor where it is one, else as
    the processors do it."""
    found: List[Any] = []
    for tensor in tensors:
        video = len(tensor.shape) == 5
        name = "postprocess_video" if video else "postprocess"
        convert = getattr(ask.processor, name, None)
        if convert is not None:
            found += convert(tensor.give(ask.torch), output_type="pil")
        elif video:
            n = tensor.shape[0]
            each = len(tensor.data) // n
            found += [
                _images(to_unit(replace(
                    tensor, data=tensor.data[i * each:(i + 1) * each],
                    shape=(1, *tensor.shape[1:]))).array())
                for i in range(n)]
        else:
            found += _images(to_unit(tensor).array())
    return _one_or_all(found)


def postprocess(ask: Ask, replies: List[Any]) -> Any:
    """Source: diffusers, postprocess_decode()."""
    if ask.output_type == "mp4":
        return _one_or_all(replies)
    if ask.files:
        images = [_opened(data) for data in replies]
        if ask.return_type == "pil":
            return _one_or_all(images)
        values = np.stack([np.asarray(image) for image in images])
        unit = np.moveaxis(values, -1, 1).astype(np.float32) / 255
        return Tensor(unit.tobytes(), "float32", unit.shape).give(ask.torch)
    if ask.return_type != "pil":
        return _one_or_all([t.give(ask.torch) for t in _joined(replies)])
    if ask.output_type == "pil":
        return _lists([_images(t.array()) for t in replies])
    if not ask.partial:
        return _process(ask, replies)
    return _one_or_all(_lists([_images(t.array()) for t in replies]))


def _lists(found: List[List[Any]]) -> List[Any]:
    """Pictures in one list; of several videos a list of theirs."""
    if len(found) > 1 and all(len(images) > 1 for images in found):
        return found
    return [image for images in found for image in images]


def _joined(tensors: List[Tensor]) -> List[Tensor]:
    """[1,...] tensors of a batch as one [N,...]; videos without a batch axis
    stay a list."""
    if len(tensors) == 1 or any(t.shape[0] != 1 for t in tensors):
        return tensors
    data = b"".join(bytes(t.data) for t in tensors)
    return [replace(tensors[0], data=data,
                    shape=(len(tensors), *tensors[0].shape[1:]))]
