# SPDX-License-Identifier: Apache-2.0
"""What torch, and others with DLPack, look like to the client."""

import ctypes

import numpy as np


class Tensor:
    """A torch.Tensor over a numpy array: what the client uses of it, with a
    count of copies.  bfloat16 holds its bits in uint16."""

    def __init__(self, array, dtype=None, device="cpu", requires_grad=False,
                 log=None):
        self.array = array
        self.dtype = f"torch.{dtype or array.dtype.name}"
        self.device = device
        self.requires_grad = requires_grad
        self.log = [] if log is None else log

    def _like(self, what, array, **changes):
        self.log.append(what)
        return Tensor(array, **{
            "dtype": self.dtype[6:], "device": self.device, "log": self.log,
            **changes})

    @property
    def shape(self):
        return self.array.shape

    def detach(self):
        return self._like("detach", self.array)

    def contiguous(self):
        return self._like("contiguous", np.ascontiguousarray(self.array))

    def cpu(self):
        return self._like("cpu", self.array.copy(), device="cpu")

    def float(self):
        return self._like("float", self.array.astype(np.float32),
                          dtype="float32")

    def is_contiguous(self):
        return self.array.flags.c_contiguous

    def data_ptr(self):
        assert self.device == "cpu" and not self.requires_grad
        return self.array.__array_interface__["data"][0]

    def element_size(self):
        return self.array.itemsize

    def numel(self):
        return self.array.size


class _Managed(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
    ]


_capsule = ctypes.pythonapi.PyCapsule_New
_capsule.restype = ctypes.py_object
_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Dlpack:
    """Anything with DLPack over a numpy array; code 4 is bfloat16, whose bits
    the array holds."""

    def __init__(self, array, code=2, device=1):
        self.array, self.device = array, device
        n = array.ndim
        self.shape = (ctypes.c_int64 * n)(*array.shape)
        self.strides = (ctypes.c_int64 * n)(
            *[s // array.itemsize for s in array.strides])
        self.managed = _Managed(
            array.__array_interface__["data"][0], device, 0, n, code,
            array.itemsize * 8, 1, ctypes.addressof(self.shape),
            ctypes.addressof(self.strides), 0, None, None)

    def __dlpack_device__(self):
        return (self.device, 0)

    def __dlpack__(self):
        return _capsule(ctypes.addressof(self.managed), b"dltensor", None)
