# SPDX-License-Identifier: Apache-2.0
"""latentd's nodes for ComfyUI: VAE decode and encode at a daemon, so that the
next sampling runs while the last picture is decoded elsewhere.

ComfyUI imports this file from its custom_nodes folder.
"""

from .nodes import DecodeNode, EncodeNode, VaeNode
from .queue_nodes import CollectNode, SaveNode, SubmitNode

NODE_CLASS_MAPPINGS = {
    "LatentdVAE": VaeNode,
    "LatentdDecode": DecodeNode,
    "LatentdEncode": EncodeNode,
    "LatentdSubmit": SubmitNode,
    "LatentdSave": SaveNode,
    "LatentdCollect": CollectNode,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "LatentdVAE": "Remote VAE (latentd)",
    "LatentdDecode": "Remote VAE Decode (latentd)",
    "LatentdEncode": "Remote VAE Encode (latentd)",
    "LatentdSubmit": "Submit and Go On (latentd)",
    "LatentdSave": "Save When Done (latentd)",
    "LatentdCollect": "Collect Images (latentd)",
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
