# SPDX-License-Identifier: Apache-2.0
"""The nodes that wait for what they give: VAE, decode, encode."""

from . import service, tensors
from .vae import RemoteVAE

CATEGORY = "latentd"

MODEL = (list(service.MODELS), {
    "tooltip": "The kind of latent: that of the checkpoint which samples."})
PRECISION = (["8 bit", "16 bit"], {
    "default": "8 bit",
    "tooltip": "How pixels travel. 8 bit is half the bytes and what is saved "
               "in the end; 16 bit is for further processing."})
DAEMON = ("STRING", {
    "default": "",
    "tooltip": "The daemon's address, such as tcp://renderbox:8376. Empty: "
               "$LATENTD_URL, or the daemon of this machine."})


class VaeNode:
    """A VAE for every node that takes one."""

    CATEGORY = CATEGORY
    DESCRIPTION = ("A VAE whose decoding and encoding a latentd daemon sends "
                   "to its endpoints. Use it wherever a VAE goes; it takes no "
                   "memory here. Tiled nodes work, without tiles.")
    RETURN_TYPES = ("VAE",)
    OUTPUT_TOOLTIPS = ("Stands in for the VAE of a checkpoint.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": MODEL},
                "optional": {"precision": PRECISION, "daemon": DAEMON}}

    @classmethod
    def VALIDATE_INPUTS(cls, daemon=""):
        return service.check_address(daemon)

    def load(self, model, precision="8 bit", daemon=""):
        return (RemoteVAE(model, precision, daemon),)


class DecodeNode:
    """LATENT in, IMAGE out."""

    CATEGORY = CATEGORY
    DESCRIPTION = ("Decodes latents at a remote VAE and waits for the images. "
                   "A batch is decoded in parallel.")
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The images; of videos all frames.",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {
                    "samples": ("LATENT", {"tooltip": "What to decode."}),
                    "model": MODEL},
                "optional": {"precision": PRECISION, "daemon": DAEMON}}

    @classmethod
    def VALIDATE_INPUTS(cls, daemon=""):
        return service.check_address(daemon)

    def decode(self, samples, model, precision="8 bit", daemon=""):
        vae = RemoteVAE(model, precision, daemon)
        return (tensors.flat(vae.decode(samples["samples"])),)


class EncodeNode:
    """IMAGE in, LATENT out."""

    CATEGORY = CATEGORY
    DESCRIPTION = ("Encodes images at a remote VAE. Sides are cropped to "
                   "multiples of 8; for a video model the images are the "
                   "frames of one video.")
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The latents of the images.",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {
                    "pixels": ("IMAGE", {"tooltip": "What to encode."}),
                    "model": MODEL},
                "optional": {"daemon": DAEMON}}

    @classmethod
    def VALIDATE_INPUTS(cls, daemon=""):
        return service.check_address(daemon)

    def encode(self, pixels, model, daemon=""):
        vae = RemoteVAE(model, daemon=daemon)
        return ({"samples": vae.encode(pixels)},)
