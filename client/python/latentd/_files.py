# SPDX-License-Identifier: Apache-2.0
"""Latents and pictures out of files, recognised by their content.

.npy, .safetensors and ComfyUI's .latent; PNG and JPEG for encode.  Source:
the safetensors README, numpy.lib.format, ComfyUI nodes.py (LoadLatent).
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import numpy as np

from .errors import InvalidError, NotFound, ShapeError

_HEADER_MAX = 100 << 20
_USUAL = ("latent_tensor", "latent", "latents", "samples", "image")
_KINDS = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "U8": "u1"}
_TEXTS = ("parameters", "prompt", "workflow")

# ComfyUI's LoadLatent: for files from before the marker.
_OLD_SCALE = np.float32(1.0 / 0.18215)
_MARKER = "latent_format_version_0"


@dataclass
class Loaded:
    """A file's tensor; `picture` instead for a PNG or JPEG file."""

    array: Optional["np.ndarray[Any, Any]"] = None
    bfloat16: bool = False  # array holds its bits
    picture: Optional[bytes] = None
    space: Optional[str] = None  # "vae" where the file says so
    metadata: Dict[str, str] = field(default_factory=dict)


def is_picture(data: bytes) -> bool:
    """PNG or JPEG, by the first bytes."""
    return data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))


def _header(path: Path, data: bytes) -> Tuple[Dict[str, Any], int]:
    size = int.from_bytes(data[:8], "little")
    if size > _HEADER_MAX or 8 + size > len(data):
        raise InvalidError(
            f"{path}: a safetensors header of {size} bytes does not fit into "
            f"its {len(data)} bytes")
    try:
        header = json.loads(data[8:8 + size])
    except ValueError as error:
        raise InvalidError(f"{path}: its header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise InvalidError(f"{path}: its header is not a JSON object")
    return header, 8 + size


def _choose(path: Path, header: Dict[str, Any],
            wanted: Optional[str]) -> str:
    names = [name for name in header if name != "__metadata__"]
    if wanted is not None:
        if wanted in names:
            return wanted
        raise NotFound(f"{path}: it holds no tensor \"{wanted}\"; it has "
                       f"{', '.join(names) or 'none'}")
    for name in _USUAL:
        if name in names:
            return name
    filled = [n for n in names if 0 not in header[n].get("shape", [0])]
    if len(filled) == 1:
        return filled[0]
    if not filled:
        raise NotFound(f"{path}: it holds no tensor")
    raise InvalidError(f"{path}: it holds several tensors "
                       f"({', '.join(filled)}); choose one with tensor=")


def _slice(path: Path, data: bytes, start: int,
           entry: Dict[str, Any], name: str) -> "np.ndarray[Any, Any]":
    kind = _KINDS.get(entry.get("dtype", ""))
    if kind is None:
        raise ShapeError(f"{path}: \"{name}\" holds {entry.get('dtype')}; "
                         "F16, BF16, F32, F64 or, for pictures, U8 is needed")
    try:
        begin, end = (int(n) for n in entry["data_offsets"])
        shape = tuple(int(d) for d in entry["shape"])
        if not 0 <= begin <= end <= len(data) - start:
            raise ValueError("data_offsets pass the end of the file")
        part = memoryview(data)[start + begin:start + end]
        return np.frombuffer(part, kind).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidError(f"{path}: \"{name}\" is broken: {error}") from None


def _safetensors(path: Path, data: bytes, wanted: Optional[str],
                 decode: bool) -> Loaded:
    header, start = _header(path, data)
    name = _choose(path, header, wanted)
    entry = header[name]
    found = Loaded(array=_slice(path, data, start, entry, name),
                   bfloat16=entry["dtype"] == "BF16")
    texts = header.get("__metadata__") or {}
    found.metadata = {k: texts[k] for k in _TEXTS
                      if isinstance(texts.get(k), str)}
    if texts.get("latentd.space") == "vae":
        found.space = "vae"
    if decode and name == "latent_tensor":
        found.space = "vae"
        if _MARKER not in header:
            assert found.array is not None
            found.array = to_float32(found.array, found.bfloat16) * _OLD_SCALE
            found.bfloat16 = False
    return found


def to_float32(array: "np.ndarray[Any, Any]",
               bfloat16: bool) -> "np.ndarray[Any, Any]":
    """The values as float32; `bfloat16`: array holds bits of those."""
    if not bfloat16:
        return array.astype(np.float32)
    return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)


def load(path: Path, wanted: Optional[str], decode: bool) -> Loaded:
    """Read a file for decode or encode.

    wanted: the tensor's name in a .safetensors file; None: the usual ones.
    Raises FileNotFoundError and other OSErrors, InvalidError, NotFound,
    ShapeError; sentences begin with the file's name.
    """
    data = path.read_bytes()
    if is_picture(data):
        if decode:
            raise InvalidError(f"{path}: it is a picture; decode takes "
                               ".safetensors, .latent or .npy")
        return Loaded(picture=data)
    if data.startswith(b"\x93NUMPY"):
        try:
            return Loaded(array=np.load(io.BytesIO(data), allow_pickle=False))
        except ValueError as error:
            raise InvalidError(f"{path}: {error}") from None
    if data.startswith(b"PK"):
        raise InvalidError(f"{path}: it is a zip file (.pt or .npz?); load it "
                           "with torch.load or numpy.load and pass the tensor")
    if data[8:9] == b"{":
        return _safetensors(path, data, wanted, decode)
    raise InvalidError(f"{path}: it is none of .safetensors, .latent, .npy, "
                       "PNG and JPEG")


def save_safetensors(path: Path, data: "bytes | memoryview", dtype: str,
                     shape: Tuple[int, ...]) -> None:
    """Write one tensor, "latent", of model space."""
    name = {"float16": "F16", "bfloat16": "BF16", "float32": "F32",
            "uint8": "U8"}[dtype]
    header = json.dumps({
        "__metadata__": {"latentd.space": "model"},
        "latent": {"dtype": name, "shape": list(shape),
                   "data_offsets": [0, len(data)]},
    }).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(data))


def open_picture(pil: Any, data: "bytes | memoryview") -> Any:
    """A file as a PIL image in RGB that remembers its format."""
    image = pil.open(io.BytesIO(data))
    kind = image.format
    image = image.convert("RGB")
    image.format = kind
    return image
