# SPDX-License-Identifier: Apache-2.0
"""What ComfyUI's nodes take for a VAE, decoding and encoding at a daemon.

The interface is that of comfy.sd.VAE, as far as nodes use it; there are no
weights here, so what is about weights says so.
"""

import torch

from . import service, tensors


class RemoteVAE:
    """Decodes and encodes for one model at one daemon.

    precision: "8 bit" fetches pixels as bytes, "16 bit" as float16.
    """

    first_stage_model = None
    patcher = None
    input_channels = output_channels = 3
    pad_channel_value = extra_1d_channel = None
    disable_offload = True
    handles_tiling = True
    not_video = False
    size = 0

    def __init__(self, model, precision="8 bit", daemon=""):
        self.model = service.package().MODELS[model]
        self.output = "float" if precision == "16 bit" else "pixels"
        self.daemon = daemon
        self.device = self.output_device = torch.device("cpu")
        self.vae_dtype = torch.float32
        self.working_dtypes = [torch.float32]
        self.latent_channels = self.model.channels
        self.latent_dim = 3 if self.model.temporal else 2
        self.upscale_ratio = self.downscale_ratio = self.model.spatial
        if self.model.temporal:
            step, side = self.model.temporal, self.model.spatial
            self.upscale_ratio = (
                lambda t: max(0, (t - 1) * step + 1), side, side)
            self.downscale_ratio = (
                lambda f: max(0, (f - 1) // step + 1), side, side)
        self.upscale_index_formula = self.downscale_index_formula = None
        self.memory_used_decode = self.memory_used_encode = \
            lambda shape, dtype: 0
        self.process_input = lambda image: image * 2.0 - 1.0
        self.process_output = \
            lambda image: torch.clamp((image + 1.0) / 2.0, min=0.0, max=1.0)

    # ---- pictures ----

    def decode(self, samples_in, vae_options=None):
        """Unscaled latents as float32 [B,H,W,3], of videos [B,F,H,W,3]."""
        each = tensors.latents(samples_in, self.model)
        client = service.connect(self.daemon)
        with service.explained(self.daemon):
            results = service.run(
                client.decode, each, model=self.model.name, space="vae",
                output=self.output)
        return tensors.images(results, self.model.temporal > 0)

    def encode(self, pixel_samples):
        """[B,H,W,3] in [0,1] as unscaled float32 latents; for a video model
        B are the frames of one video."""
        each = tensors.pictures(pixel_samples, self.model)
        client = service.connect(self.daemon)
        with service.explained(self.daemon):
            results = service.run(
                client.encode, each, model=self.model.name, space="vae")
        return tensors.samples(results)

    def decode_tiled(self, samples, tile_x=None, tile_y=None, overlap=None,
                     tile_t=None, overlap_t=None):
        """The same as decode(): tiles save memory here, where none is
        needed, and cost seams."""
        return self.decode(samples)

    def encode_tiled(self, pixel_samples, tile_x=None, tile_y=None,
                     overlap=None, tile_t=None, overlap_t=None):
        """The same as encode()."""
        return self.encode(pixel_samples)

    def vae_encode_crop_pixels(self, pixels):
        """The part that encode() encodes."""
        step = self.spacial_compression_encode()
        for axis in (1, 2) if len(pixels.shape) == 4 else (2, 3):
            size = pixels.shape[axis]
            pixels = pixels.narrow(axis, size % step // 2,
                                   size // step * step)
        return pixels

    # ---- sizes; ComfyUI spells it like that ----

    def spacial_compression_decode(self):
        return self.model.spatial

    def spacial_compression_encode(self):
        return self.model.spatial

    def temporal_compression_decode(self):
        return self.model.temporal or None

    def vae_output_dtype(self):
        return torch.float32

    # ---- weights, of which there are none ----

    def throw_exception_if_invalid(self):
        """Raises RemoteError when no daemon answers."""
        service.connect(self.daemon)

    def get_sd(self):
        """Nodes that save a VAE ask for this."""
        raise service.RemoteError(
            "A remote VAE has no weights here that could be saved: they are "
            f"at the endpoint for {self.model.name}.")

    def model_size(self):
        return 0

    def is_dynamic(self):
        return False
