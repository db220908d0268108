# SPDX-License-Identifier: Apache-2.0
"""What came back: files or tensors, looked at in place.

The bytes stay where liblatentd received them; arrays and memoryviews point
there and keep them alive.  A result of a client with a chosen name is
acknowledged, so that the daemon forgets the job, when its content is first
handed out or saved, when it is thrown away, or when its client is closed after
Job.result() gave it out.  Until then the daemon would deliver it again to the
same name.  Of a client without one it is acknowledged when it arrives.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, overload

import numpy as np

from . import _files, _notebook
from ._library import DTYPE_NAMES, OUTPUT_NAMES, Library
from .errors import InvalidError

_NUMPY = {"float16": "<f2", "float32": "<f4", "uint8": "u1", "bfloat16": "<u2"}
_SUFFIXES = {"png": ".png", "jpg": ".jpg", "mp4": ".mp4", "pixels": ".png",
             "float": ".npy", "latent": ".safetensors"}
_SAME = {".jpeg": ".jpg"}


def _free(library: Library, pointer: int, pid: int) -> None:
    # A forked child has a copy of the memory, not the client's threads.
    if os.getpid() == pid:
        library.latentd_result_free(pointer)


class Handle:
    """One struct latentd_result; freed when nobody points to it any more."""

    def __init__(self, library: Library, pointer: int) -> None:
        self.library = library
        self.pointer = pointer
        self.given = False  # Job.result() handed it out
        self._pid = os.getpid()
        self._acked = False
        end = weakref.finalize(self, _free, library, pointer, self._pid)
        end.atexit = False

    def ack(self) -> None:
        """The caller has what it wants; the daemon may forget the job."""
        if not self._acked and os.getpid() == self._pid:
            self._acked = True
            self.library.latentd_result_ack(self.pointer)

    def text(self, name: str) -> str:
        """A string of latentd_result_NAME()."""
        value = getattr(self.library, f"latentd_result_{name}")(self.pointer)
        return (value or b"").decode(errors="replace")

    def number(self, name: str) -> int:
        """A number of latentd_result_NAME()."""
        return int(getattr(self.library,
                           f"latentd_result_{name}")(self.pointer))

    def parts(self) -> List[memoryview]:
        """The files or tensors; each keeps this handle alive."""
        return [self._part(i) for i in range(self.number("parts"))]

    def _part(self, i: int) -> memoryview:
        size = ctypes.c_size_t()
        address = self.library.latentd_result_part(
            self.pointer, i, ctypes.byref(size))
        block = (ctypes.c_ubyte * size.value).from_address(address)
        block.handle = self  # type: ignore[attr-defined]
        return memoryview(block).cast("B")

    def tensor(self) -> Tuple[str, Tuple[int, ...]]:
        """(dtype, shape); ("", ()) for files."""
        t = self.library.latentd_result_tensor(self.pointer).contents
        if t.ndim == 0:
            return "", ()
        return DTYPE_NAMES[t.dtype], tuple(t.shape[:t.ndim])


def _need_pil(why: str) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            f"{why} needs Pillow (python3-pil); decode(..., "
            "output=\"pixels\").numpy() does without") from None
    return Image


def _need_torch() -> Any:
    try:
        import torch
    except ImportError:
        raise ImportError(
            ".torch() needs PyTorch; .numpy() does without") from None
    return torch


class Result(Sequence["Result"]):
    """A finished job: one picture or video, or a batch of them in order.

    A batch is a sequence: `for one in result: one.save(...)`.  Of one picture
    the getters give one thing, of a batch a list of them in the latents' order.

    Attributes:
        output: "png", "jpg", "mp4", "pixels", "float" or "latent".
        dtype, shape: of the whole tensor; "" and () for files.
        width, height: of the pictures, in pixels; 0 for a latent.
        frames_n: frames of each video; 1 for images.
        id, key: the daemon's number of the job, and the job's key.
        endpoint, attempts: who served it, and how many requests it took.
        queued_ms, decode_ms, finish_ms: where its time went.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.output = OUTPUT_NAMES[handle.number("output")]
        self.dtype, self.shape = handle.tensor()
        self.width = handle.number("width_px")
        self.height = handle.number("height_px")
        self.frames_n = max(handle.number("frames"), 1)
        self.id = handle.number("id")
        self.key = handle.text("key")
        self.endpoint = handle.text("endpoint")
        self.attempts = handle.number("attempts")
        self.queued_ms = handle.number("queued_ms")
        self.decode_ms = handle.number("decode_ms")
        self.finish_ms = handle.number("finish_ms")
        self._pieces = self._split(handle.parts())

    def _split(self, parts: List[memoryview]) -> List[List[memoryview]]:
        """The parts of each picture, video or latent."""
        if self.output in ("png", "jpg"):
            n = self.frames_n
            return [parts[i:i + n] for i in range(0, len(parts), n)]
        if self.output == "mp4" or len(parts) != 1 or self._is_video():
            return [[part] for part in parts]
        each = len(parts[0]) // self.shape[0]
        return [[parts[0][i * each:(i + 1) * each]]
                for i in range(self.shape[0])]

    def _is_video(self) -> bool:
        if self.output == "pixels":
            return self.frames_n > 1
        return self.output == "float" and len(self.shape) == 5

    # ---- a sequence ----

    def __len__(self) -> int:
        return len(self._pieces)

    @overload
    def __getitem__(self, i: int) -> "Result": ...

    @overload
    def __getitem__(self, i: slice) -> List["Result"]: ...

    def __getitem__(self, i: "int | slice") -> "Result | List[Result]":
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        one = object.__new__(Result)
        one.__dict__.update(self.__dict__)
        one._pieces = [self._pieces[i]]
        if self.output != "mp4" and self.shape and not self._is_video():
            one.shape = (1, *self.shape[1:])
        return one

    def __repr__(self) -> str:
        what = f"{self.width}x{self.height}" if self.width else \
            "x".join(str(d) for d in self.shape)
        n = f"{len(self)} of " if len(self) > 1 else ""
        video = f", {self.frames_n} frames" if self.frames_n > 1 else ""
        return f"<latentd.Result {n}{self.output} {what}{video}>"

    # It never changes, and points into this process's memory.

    def __copy__(self) -> "Result":
        return self

    def __deepcopy__(self, memo: object) -> "Result":
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a latentd result cannot be pickled; pass .bytes(), "
                        ".numpy() or .pil()")

    def _each(self, get: Any) -> Any:
        values = [get(piece) for piece in self._pieces]
        self._handle.ack()
        return values[0] if len(values) == 1 else values

    # ---- getters ----

    def bytes(self) -> Any:
        """The file, or a tensor's raw little-endian bytes: bytes, of a batch a
        list.  A PNG per frame of a video gives a list of files per video."""
        return self._each(lambda piece: bytes(piece[0]) if len(piece) == 1
                          else [bytes(part) for part in piece])

    def view(self) -> List[memoryview]:
        """All files or tensors in order, without a copy."""
        self._handle.ack()
        return [part for piece in self._pieces for part in piece]

    def numpy(self) -> Any:
        """An array, of a batch a list of arrays, without a copy where the job
        asked for "pixels", "float" or "latent".

        Pictures: uint8 sRGB [H,W,3], video [F,H,W,3] ("png" and "jpg" need
        Pillow).  "float": [3,H,W] in [-1,1], video [3,F,H,W]; float16, and
        float32 where the endpoint sent bfloat16, which numpy lacks.  "latent":
        always one array [N,C,h,w].
        """
        if self.output == "latent":
            return self._whole(self._array)
        return self._each(self._array)

    def _whole(self, get: Any) -> Any:
        """A latent keeps its batch axis."""
        parts = [get(piece) for piece in self._pieces]
        self._handle.ack()
        if len(parts) == 1:
            return parts[0][None]
        if isinstance(parts[0], np.ndarray):
            return np.stack(parts)
        return _need_torch().stack(parts)

    def _array(self, piece: List[memoryview]) -> "np.ndarray[Any, Any]":
        if self.output in ("png", "jpg"):
            frames = [np.asarray(image) for image in self._images(piece)]
            return frames[0] if self.frames_n == 1 else np.stack(frames)
        if self.output == "mp4":
            raise InvalidError(
                "an mp4 is not decoded here; ask for output=\"pixels\" or "
                "\"png\" for frames")
        flat = np.frombuffer(piece[0], _NUMPY[self.dtype])
        if self.dtype == "bfloat16":
            flat = _files.to_float32(flat, True)
        return flat.reshape(self._shape_of_one())

    def _shape_of_one(self) -> Tuple[int, ...]:
        """Of one picture, video or latent, without a batch axis."""
        if self.output == "pixels" and self._is_video():
            return self.shape
        return self.shape[1:]

    def torch(self) -> Any:
        """The same as tensors, bfloat16 as it is; needs PyTorch."""
        if self.output == "latent":
            return self._whole(self._tensor)
        return self._each(self._tensor)

    def _tensor(self, piece: List[memoryview]) -> Any:
        torch = _need_torch()
        if self.dtype == "":
            return torch.from_numpy(np.array(self._array(piece)))
        kind = getattr(torch, self.dtype)
        return torch.frombuffer(piece[0], dtype=kind).reshape(
            self._shape_of_one())

    def pil(self) -> Any:
        """A PIL image in RGB, of a batch a list; of a video the list of its
        frames.  Needs Pillow."""
        return self._each(lambda piece: self._one_or_frames(piece))

    def _one_or_frames(self, piece: List[memoryview]) -> Any:
        images = self._images(piece)
        return images[0] if self.frames_n == 1 else images

    def frames(self) -> List[Any]:
        """The frames of one video, or the one picture, as PIL images."""
        if len(self) != 1:
            raise InvalidError(
                f"this is a batch of {len(self)}; take the frames of one, "
                "result[0].frames()")
        images = self._images(self._pieces[0])
        self._handle.ack()
        return images

    def _images(self, piece: List[memoryview]) -> List[Any]:
        pil = _need_pil("a PIL image")
        if self.output in ("png", "jpg"):
            return [_files.open_picture(pil, part) for part in piece]
        if self.output == "latent":
            raise InvalidError("a latent is no picture; decode it, or take "
                               ".numpy() or .torch()")
        values = self._array(piece)
        if self.output == "float":
            values = np.moveaxis(values.astype(np.float32), 0, -1)
            values = ((values / 2 + 0.5).clip(0, 1) * 255).round().astype("u1")
        frames = values if values.ndim == 4 else values[None]
        return [pil.fromarray(frame) for frame in frames]

    # ---- files ----

    def save(self, path: "str | os.PathLike[str]") -> Any:
        """Write it; the path written, of several files the list of them.

        The name's suffix says the format; without one it is that of the
        result.  Another format than the job asked for is made with Pillow
        (.npy with numpy).  Several files get -0000, -0001, ... before the
        suffix.  A file appears under its name when it is complete.  Raises
        OSError, InvalidError for a suffix that does not fit.
        """
        target = Path(path)
        if target.suffix == "":
            target = target.with_suffix(_SUFFIXES[self.output])
        suffix = _SAME.get(target.suffix.lower(), target.suffix.lower())
        contents = self._contents(suffix)
        if len(contents) == 1:
            names = [target]
        else:
            names = [target.with_name(f"{target.stem}-{i:04}{target.suffix}")
                     for i in range(len(contents))]
        for name, content in zip(names, contents):
            _write(name, content)
        self._handle.ack()
        return names[0] if len(names) == 1 else names

    def _contents(self, suffix: str) -> List[Any]:
        """What to write: bytes, or a function that writes to a path."""
        if suffix == ".npy":
            return [_npy(array) for array in self._arrays()]
        if suffix == ".safetensors" and self.dtype:
            return [self._safetensors(piece[0]) for piece in self._pieces]
        if self.output in ("png", "jpg", "mp4") and \
                suffix == _SUFFIXES[self.output]:
            return [part for piece in self._pieces for part in piece]
        if self.output == "mp4" or suffix in (".mp4", ".safetensors"):
            raise InvalidError(
                f"cannot save {self.output} as {suffix}; submit the job with "
                "the output that is wanted")
        pil = _need_pil(f"saving {self.output} as \"{suffix}\"")
        if suffix not in pil.registered_extensions():
            raise InvalidError(
                f"\"{suffix}\" is no format of pictures; end the name with "
                f"{_SUFFIXES[self.output]}, or another that Pillow knows")
        return [_picture(image) for piece in self._pieces
                for image in self._images(piece)]

    def _arrays(self) -> List["np.ndarray[Any, Any]"]:
        if self.output == "latent":
            return [self._whole(self._array)]
        return [self._array(piece) for piece in self._pieces]

    def _safetensors(self, part: memoryview) -> Any:
        shape = self.shape
        if not self._is_video() or self.output == "float":
            shape = (1, *self.shape[1:])
        return lambda path: _files.save_safetensors(
            path, part, self.dtype, shape)

    def _repr_mimebundle_(self, include: object = None,
                          exclude: object = None) -> Dict[str, Any]:
        return _notebook.result_bundle(self)

    @property
    def file_bytes(self) -> Optional[memoryview]:
        """The first file without acknowledging it; None for tensors."""
        return None if self.dtype else self._pieces[0][0]


def _npy(array: "np.ndarray[Any, Any]") -> Any:
    def write(path: Path) -> None:
        with open(path, "wb") as file:
            np.save(file, array, allow_pickle=False)

    return write


def _picture(image: Any) -> Any:
    return lambda path: image.save(path)


def _write(target: Path, content: Any) -> None:
    """content: bytes-like, or a function that writes to a path."""
    if not target.parent.exists():
        raise FileNotFoundError(
            errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))
    temporary = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
