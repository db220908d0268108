# SPDX-License-Identifier: Apache-2.0
"""samples.Latent as numpy arrays, and back."""

import numpy as np

import samples


def array_of(z):
    """A samples.Latent of float16 or float32 as an array."""
    return np.frombuffer(z.data, z.fields["dtype"]).reshape(
        z.fields["shape"])


def latent_of(array, model="sd-v1", **fields):
    """The inverse."""
    return samples.Latent(array.tobytes(), {
        "model": model, "dtype": array.dtype.name,
        "shape": list(array.shape), **fields})
