# SPDX-License-Identifier: Apache-2.0
"""What the nodes use of torch, over numpy, where torch is not installed.

install() puts it into sys.modules under torch's name unless the real one can
be imported; remove() takes it out again.
"""

import sys
import types

import numpy as np


class Dtype:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"torch.{self.name}"


float16, float32, uint8 = (Dtype(n) for n in ("float16", "float32", "uint8"))
_DTYPES = {d.name: d for d in (float16, float32, uint8)}


class Device:
    def __init__(self, name):
        self.type = name

    def __str__(self):
        return self.type


class Tensor:
    """A CPU tensor; methods give views where torch's do."""

    requires_grad = False
    is_nested = False
    device = Device("cpu")

    def __init__(self, array):
        self.array = array

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return _DTYPES[self.array.dtype.name]

    def __getitem__(self, index):
        return Tensor(self.array[index])

    def __len__(self):
        return len(self.array)

    def unsqueeze(self, axis):
        return Tensor(np.expand_dims(self.array, axis))

    def narrow(self, axis, begin, n):
        index = [slice(None)] * self.array.ndim
        index[axis] = slice(begin, begin + n)
        return Tensor(self.array[tuple(index)])

    def movedim(self, source, target):
        return Tensor(np.moveaxis(self.array, source, target))

    def reshape(self, *shape):
        return Tensor(self.array.reshape(shape))

    def detach(self):
        return Tensor(self.array)

    def clone(self):
        return Tensor(self.array.copy())

    def contiguous(self):
        return Tensor(np.ascontiguousarray(self.array))

    def cpu(self):
        return self

    def to(self, device):
        assert str(device) == "cpu"
        return self

    def float(self):
        return Tensor(self.array.astype(np.float32, copy=False))

    def numpy(self):
        return self.array

    def is_contiguous(self):
        return self.array.flags.c_contiguous

    def data_ptr(self):
        return self.array.__array_interface__["data"][0]

    def element_size(self):
        return self.array.itemsize

    def numel(self):
        return self.array.size

    def __add__(self, other):
        return Tensor(self.array + other)

    def __sub__(self, other):
        return Tensor(self.array - other)

    def __mul__(self, other):
        return Tensor(self.array * other)

    def __truediv__(self, other):
        return Tensor(self.array / other)


def clamp(tensor, min, max):
    return Tensor(tensor.array.clip(min, max))


def install():
    """The torch that imports will find."""
    try:
        import torch
        return torch
    except ImportError:
        module = types.ModuleType("torch")
        module.float16, module.float32, module.uint8 = float16, float32, uint8
        module.Tensor, module.device, module.clamp = Tensor, Device, clamp
        module.from_numpy = Tensor
        sys.modules["torch"] = module
        return module


def remove():
    """What tests in the same process see afterwards."""
    if not hasattr(sys.modules.get("torch"), "__version__"):
        sys.modules.pop("torch", None)
