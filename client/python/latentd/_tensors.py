# SPDX-License-Identifier: Apache-2.0
"""What a producer holds, as bytes that can be submitted.

torch is recognised by what a tensor can do and never imported.  A contiguous
tensor in CPU memory is not copied here: the library copies it once, into the
message.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import numpy as np

from . import _dlpack, _files
from .errors import InvalidError, ShapeError

_SENT = ("float16", "bfloat16", "float32", "uint8")
_WIDER = ("float64", "float128", "longdouble")


@dataclass(frozen=True)
class Payload:
    """C-contiguous little-endian bytes in memory, and what they are."""

    dtype: str  # "" for an image file
    shape: Tuple[int, ...]
    address: int
    size: int  # bytes
    keep: object = None  # lives as long as the address is used
    space: Optional[str] = None  # where the file says it
    metadata: Dict[str, str] = field(default_factory=dict)


def is_torch(value: Any) -> bool:
    """A torch.Tensor or what behaves like one."""
    return all(hasattr(value, name) for name in
               ("data_ptr", "is_contiguous", "element_size", "device"))


def is_pil(value: Any) -> bool:
    """A PIL.Image.Image."""
    return any(kind.__module__.startswith("PIL.") and
               kind.__name__ == "Image" for kind in type(value).__mro__)


def _refuse_dtype(name: str) -> ShapeError:
    return ShapeError(
        f"dtype is {name}; a latent is float16, bfloat16, float32 or float64"
        " (pictures for encode also uint8)")


def _from_torch(tensor: Any) -> Payload:
    name = str(tensor.dtype).rpartition(".")[2]
    if str(tensor.device).startswith("meta"):
        raise ShapeError("the tensor is on the meta device and has no values")
    if tensor.requires_grad:
        tensor = tensor.detach()
    if name == "float64":
        tensor, name = tensor.float(), "float32"
    if name not in _SENT:
        raise _refuse_dtype(name)
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    if not str(tensor.device).startswith("cpu"):
        tensor = tensor.cpu()
    return Payload(name, tuple(int(d) for d in tensor.shape),
                   int(tensor.data_ptr()),
                   int(tensor.numel()) * int(tensor.element_size()), tensor)


def _from_array(array: "np.ndarray[Any, Any]", name: str,
                keep: object = None) -> Payload:
    """name: "bfloat16" when the array holds the bits of those."""
    if name in _WIDER:
        array, name = array.astype(np.float32), "float32"
    if name not in _SENT:
        raise _refuse_dtype(name)
    little = array.dtype.newbyteorder("<")
    flat = np.ascontiguousarray(array, little)
    return Payload(name, array.shape, flat.__array_interface__["data"][0],
                   flat.nbytes, (flat, keep))


def _from_numpy(array: "np.ndarray[Any, Any]") -> Payload:
    name = array.dtype.name
    if name == "bfloat16":  # ml_dtypes, as jax uses it
        return _from_array(array.view(np.uint16), name)
    return _from_array(array, name)


def _from_bytes(data: "bytes | bytearray | memoryview") -> Payload:
    flat = np.frombuffer(data, np.uint8)
    return Payload("", (), flat.__array_interface__["data"][0], flat.nbytes,
                   (flat, data))


def _from_path(path: Path, wanted: Optional[str], decode: bool) -> Payload:
    loaded = _files.load(path, wanted, decode)
    if loaded.picture is not None:
        return _from_bytes(loaded.picture)
    assert loaded.array is not None
    name = "bfloat16" if loaded.bfloat16 else loaded.array.dtype.name
    try:
        payload = _from_array(loaded.array, name)
    except ShapeError as error:
        raise ShapeError(f"{path}: {error}") from None
    return replace(payload, space=loaded.space, metadata=loaded.metadata)


def tensor(value: Any) -> Payload:
    """Any tensor: torch, numpy, DLPack.  Raises ShapeError, TypeError."""
    if isinstance(value, np.ndarray):
        return _from_numpy(value)
    if is_torch(value):
        return _from_torch(value)
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        array, name, keep = _dlpack.view(value)
        return _from_array(array, name, keep)
    raise TypeError(
        f"cannot use a {type(value).__module__}.{type(value).__name__}; pass "
        "a torch tensor, a numpy array, anything with DLPack, or a path")


def latent(value: Any, name: Optional[str] = None) -> Payload:
    """What decode takes: a tensor or a path; `name` chooses in a file.

    Raises ShapeError (dtype), InvalidError (file), OSError, TypeError.
    """
    if isinstance(value, (str, os.PathLike)):
        payload = _from_path(Path(value), name, True)
    else:
        payload = tensor(value)
    if payload.dtype == "uint8":
        raise _refuse_dtype("uint8")
    return payload


def _png(image: Any) -> Payload:
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return _from_bytes(file.getvalue())


def _from_pixels(array: "np.ndarray[Any, Any]") -> Payload:
    """uint8 [H,W,3] or [N,H,W,3] as [N,3,H,W] in [-1,1]; float16 has more
    steps there than uint8."""
    batch = array if array.ndim == 4 else array[None]
    values = np.moveaxis(batch, -1, 1).astype(np.float16)
    values /= np.float16(127.5)
    values -= np.float16(1)
    return _from_array(values, "float16")


def picture(value: Any, name: Optional[str] = None) -> Payload:
    """What encode takes: a PIL image, a path or the bytes of a PNG or JPEG,
    uint8 pixels [H,W,3] or [N,H,W,3], or a float tensor [N,3,H,W] in [-1,1].

    Raises ShapeError, InvalidError, OSError, TypeError.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        if not _files.is_picture(bytes(value[:8])):
            raise InvalidError("the bytes are neither a PNG nor a JPEG file")
        return _from_bytes(value)
    if isinstance(value, (str, os.PathLike)):
        return _from_path(Path(value), name, False)
    if is_pil(value):
        return _png(value)
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and \
            value.ndim in (3, 4) and value.shape[-1] == 3:
        return _from_pixels(value)
    payload = tensor(value)
    if len(payload.shape) == 3 and payload.shape[0] == 3:
        return replace(payload, shape=(1, *payload.shape))
    if len(payload.shape) not in (4, 5) or payload.shape[1] != 3:
        raise ShapeError(
            f"shape {list(payload.shape)} is no picture: must be [N,3,H,W] in "
            "[-1,1], or uint8 [H,W,3] or [N,H,W,3] in numpy")
    return payload
