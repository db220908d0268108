# SPDX-License-Identifier: Apache-2.0
"""Files as generation tools leave them: .safetensors, .latent, .npy."""

import json
import struct

import numpy

from samples import values

DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}


def safetensors(tensors, metadata=None):
    """The bytes of a file; tensors: {name: (bytes, dtype, shape)}."""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (part, dtype, shape) in tensors.items():
        header[name] = {
            "dtype": DTYPES[dtype],
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(part)],
        }
        data += part
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def read_safetensors(data):
    """({name: float32 array}, metadata) of a file's bytes."""
    (n,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + n])
    metadata = header.pop("__metadata__", {})
    names = {short: name for name, short in DTYPES.items()}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = values(
            data[8 + n + begin:8 + n + end],
            names[entry["dtype"]],
            entry["shape"],
        )
    return tensors, metadata


def write_latent(path, z, name="latent", metadata=None):
    """A samples.Latent as .safetensors; returns the path."""
    path.write_bytes(
        safetensors(
            {name: (z.data, z.fields["dtype"], z.fields["shape"])}, metadata
        )
    )
    return path


def write_npy(path, z, fortran=False):
    array = values(z.data, z.fields["dtype"], z.fields["shape"])
    array = array.astype(z.fields["dtype"])
    numpy.save(path, numpy.asfortranarray(array) if fortran else array)
    return path
