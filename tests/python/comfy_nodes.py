# SPDX-License-Identifier: Apache-2.0
"""ComfyUI's own nodes that the tests' graphs use.  Sampling gives the noise of
its seed, in VAE space, or the latent that a test has laid down."""

from pathlib import Path

import numpy as np
from PIL import Image

import tiny_torch


def random_latent(shape, seed):
    """float32, as ComfyUI's samplers give; in VAE space."""
    random = np.random.default_rng(seed)
    return (random.normal(size=shape) / 0.18215).astype(np.float32)


def _loading():
    class CheckpointLoaderSimple:
        RETURN_TYPES, FUNCTION = ("MODEL", "CLIP", "VAE"), "load"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"ckpt_name": (["sdxl.safetensors"],)}}

        def load(self, ckpt_name):
            return ckpt_name, "clip", None

    class CLIPTextEncode:
        RETURN_TYPES, FUNCTION = ("CONDITIONING",), "encode"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"text": ("STRING", {}), "clip": ("CLIP",)}}

        def encode(self, text, clip):
            return (text,)

    class EmptyLatentImage:
        RETURN_TYPES, FUNCTION = ("LATENT",), "generate"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"width": ("INT", {}), "height": ("INT", {}),
                                 "batch_size": ("INT", {})}}

        def generate(self, width, height, batch_size):
            zeros = np.zeros((batch_size, 4, height // 8, width // 8),
                             np.float32)
            return ({"samples": tiny_torch.install().from_numpy(zeros)},)

    return CheckpointLoaderSimple, CLIPTextEncode, EmptyLatentImage


class KSampler:
    RETURN_TYPES, FUNCTION = ("LATENT",), "sample"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {
            "model": ("MODEL",),
            "seed": ("INT", {"control_after_generate": True}),
            "steps": ("INT", {}), "cfg": ("FLOAT", {}),
            "sampler_name": (["euler"],), "scheduler": (["normal"],),
            "positive": ("CONDITIONING",), "negative": ("CONDITIONING",),
            "latent_image": ("LATENT",), "denoise": ("FLOAT", {})}}

    def sample(self, seed, latent_image, **unused):
        values = random_latent(tuple(latent_image["samples"].shape), seed)
        return ({**latent_image,
                 "samples": tiny_torch.install().from_numpy(values)},)


def _decoding():
    class VAEDecode:
        RETURN_TYPES, FUNCTION = ("IMAGE",), "decode"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"samples": ("LATENT",), "vae": ("VAE",)}}

        def decode(self, vae, samples):
            return (_combined(vae.decode(samples["samples"])),)

    class VAEDecodeTiled:
        RETURN_TYPES, FUNCTION = ("IMAGE",), "decode"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"samples": ("LATENT",), "vae": ("VAE",)}}

        def decode(self, vae, samples):
            side = 512 // vae.spacial_compression_decode()
            steps = vae.temporal_compression_decode()
            return (_combined(vae.decode_tiled(
                samples["samples"], tile_x=side, tile_y=side, overlap=8,
                tile_t=64 // steps if steps else None,
                overlap_t=8 // steps if steps else None)),)

    class VAEEncode:
        RETURN_TYPES, FUNCTION = ("LATENT",), "encode"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"pixels": ("IMAGE",), "vae": ("VAE",)}}

        def encode(self, pixels, vae):
            return ({"samples": vae.encode(pixels)},)

    class VAEEncodeTiled(VAEEncode):
        def encode(self, pixels, vae):
            return ({"samples": vae.encode_tiled(
                pixels, tile_x=512, tile_y=512, overlap=64, tile_t=64,
                overlap_t=8)},)

    return VAEDecode, VAEDecodeTiled, VAEEncode, VAEEncodeTiled


def _combined(images):
    if len(images.shape) == 5:
        return images.reshape(-1, *images.shape[-3:])
    return images


def _ends(hub):
    class SaveImage:
        RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "save", True

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"images": ("IMAGE",),
                                 "filename_prefix": ("STRING", {})}}

        def save(self, images, filename_prefix="ComfyUI"):
            array = images.cpu().numpy()
            folder, name, counter, _, _ = hub.save_path(
                filename_prefix, hub.output_dir)
            for i, image in enumerate((array * 255).round().astype("u1")):
                Image.fromarray(image).save(
                    Path(folder) / f"{name}_{counter + i:05}_.png")
            return ()

    class Sink:
        """Has what it is given computed; Sink<TYPE>."""

        RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "take", True

        def take(self, value):
            return ()

    sinks = {
        f"Sink{kind}": type(f"Sink{kind}", (Sink,), {
            "INPUT_TYPES": classmethod(
                lambda cls, kind=kind: {"required": {"value": (kind,)}})})
        for kind in ("IMAGE", "LATENT")}
    return SaveImage, sinks


def _given():
    """What a test lays down in Given.values by a name."""
    kinds = {}
    for kind in ("LATENT", "IMAGE"):
        class Given:
            RETURN_TYPES, FUNCTION = (kind,), "give"
            values = {}

            @classmethod
            def INPUT_TYPES(cls):
                return {"required": {"what": ("STRING", {})}}

            def give(self, what):
                return (self.values[what],)

        kinds[f"Given{kind}"] = Given
    return kinds


def builtin(hub):
    """Classes by name."""
    save, sinks = _ends(hub)
    plain = (*_loading(), KSampler, *_decoding(), save)
    return {**{kind.__name__: kind for kind in plain}, **sinks, **_given()}
