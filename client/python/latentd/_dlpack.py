# SPDX-License-Identifier: Apache-2.0
"""DLPack in, as a numpy view: also bfloat16, which numpy itself refuses.

Source: DLPack 1.1, dlpack.h (DLTensor, DLManagedTensor).
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, Tuple

import numpy as np

from .errors import ShapeError

_CPU_DEVICES = {1, 3, 11}  # kDLCPU, kDLCUDAHost, kDLROCMHost
_MAX_NDIM = 6


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_KINDS: Dict[Tuple[int, int], Tuple[str, str]] = {
    (2, 16): ("<f2", "float16"),
    (2, 32): ("<f4", "float32"),
    (2, 64): ("<f8", "float64"),
    (4, 16): ("<u2", "bfloat16"),
    (1, 8): ("u1", "uint8"),
}

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def _capsule(value: Any) -> object:
    device = int(value.__dlpack_device__()[0])
    if device not in _CPU_DEVICES:
        try:
            # Since the array API of 2023.12 the producer copies.
            return value.__dlpack__(dl_device=(1, 0), copy=True)
        except TypeError:
            raise ShapeError(
                f"the tensor is on DLPack device {device}; copy it to the "
                "CPU first") from None
    return value.__dlpack__()


def view(value: Any) -> Tuple["np.ndarray[Any, Any]", str, object]:
    """(array, dtype's name, what must live as long as the array).

    bfloat16 comes as its bits in uint16.  Nothing is copied.  Raises ShapeError
    for other devices and dtypes.
    """
    capsule = _capsule(value)
    t = _Tensor.from_address(_pointer(capsule, b"dltensor"))
    if t.ndim < 0 or t.ndim > _MAX_NDIM:
        raise ShapeError(f"the tensor has {t.ndim} dimensions; at most "
                         f"{_MAX_NDIM} are allowed")
    kind = _KINDS.get((t.code, t.bits)) if t.lanes == 1 else None
    if kind is None:
        raise ShapeError(
            f"the tensor's DLPack type is code {t.code} with {t.bits} bits; "
            "float16, bfloat16, float32 and float64 are latents")
    shape = tuple(t.shape[i] for i in range(t.ndim))
    size = t.bits // 8
    if not t.strides:
        strides = None
    else:
        strides = tuple(t.strides[i] * size for i in range(t.ndim))
    return _array(t, shape, strides, kind[0]), kind[1], (capsule, value)


def _array(t: _Tensor, shape: Tuple[int, ...],
           strides: "Tuple[int, ...] | None", kind: str) -> Any:
    if 0 in shape or not t.data:
        return np.zeros(shape, kind)
    interface = {
        "version": 3,
        "shape": shape,
        "typestr": kind,
        "data": (t.data + t.byte_offset, True),
        "strides": strides,
    }
    holder = type("Holder", (), {"__array_interface__": interface})()
    return np.asarray(holder)
