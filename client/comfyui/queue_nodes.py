# SPDX-License-Identifier: Apache-2.0
"""The nodes that do not wait, and the one that fetches what they left."""

import json

import comfy.cli_args

from . import service, tensors
from .jobs import Earlier, Ticket, log, saver, waiting
from .nodes import CATEGORY, DAEMON, MODEL

NAME = ("STRING", {
    "default": "comfyui",
    "tooltip": "Whose images they are. Collect fetches those of the same "
               "name, also after a restart of ComfyUI. Two ComfyUIs that "
               "share a daemon need two names."})


def _blocker():
    """Has ComfyUI skip what needs the images; None where it cannot."""
    try:
        from comfy_execution.graph import ExecutionBlocker
    except ImportError:
        return None
    return ExecutionBlocker(None)


# The daemon takes 1 MiB; the names count as well.
_TEXTS_MAX_BYTES = 1000000


def _texts(prompt, extra_pnginfo, format):
    """What ComfyUI writes into PNG files."""
    if comfy.cli_args.args.disable_metadata or format != "png":
        return {}
    texts = {} if prompt is None else {"prompt": json.dumps(prompt)}
    for name, value in (extra_pnginfo or {}).items():
        texts[name] = json.dumps(value)
    if sum(map(len, texts.values())) > _TEXTS_MAX_BYTES:
        log.warning("latentd: the workflow is too large to be saved with the "
                    "images")
        return {}
    return texts


class SubmitNode:
    """LATENT in; the graph goes on at once."""

    CATEGORY = CATEGORY
    DESCRIPTION = ("Hands latents to the daemon and does not wait: the next "
                   "prompt samples while these are decoded. Connect Save When "
                   "Done, or fetch the images with Collect in any later "
                   "prompt.")
    RETURN_TYPES = ("LATENTD_JOBS", "LATENT")
    RETURN_NAMES = ("jobs", "samples")
    OUTPUT_TOOLTIPS = ("One for each latent.", "The same latents.")
    OUTPUT_NODE = True
    FUNCTION = "submit"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "samples": ("LATENT", {"tooltip": "What to decode."}),
                "model": MODEL,
                "format": (["png", "jpg", "mp4"], {
                    "default": "png",
                    "tooltip": "What the daemon shall make of it. mp4 is for "
                               "video models, and for Save only."}),
                "name": NAME,
            },
            "optional": {"daemon": DAEMON},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, model=None, format="png", name=None, daemon=""):
        if model is not None and model not in service.MODELS:
            return f"model is \"{model}\"; there are " \
                f"{', '.join(service.MODELS)}"
        if format not in (None, "png", "jpg", "mp4"):
            return f"format is \"{format}\"; there are png, jpg, mp4"
        video = model == "hunyuan-video"
        if model is not None and (format == "mp4") > video:
            return f"format is mp4, but {model} makes images: use png or jpg"
        if format == "jpg" and video:
            return f"format is jpg, but {model} makes videos: use mp4 or png"
        named = service.check_name(name)
        return service.check_address(daemon) if named is True else named

    def submit(self, samples, model, format="png", name="comfyui", daemon="",
               prompt=None, extra_pnginfo=None):
        key = (daemon, name)
        table = service.package().MODELS[model]
        each = tensors.latents(samples["samples"], table)
        waiting.room(key, len(each))
        client = service.connect(daemon, name)
        texts = _texts(prompt, extra_pnginfo, format)
        tickets = []
        with service.explained(daemon):
            for one in each:
                job = service.start(client.decode, one, model=model,
                                    space="vae", output=format, metadata=texts)
                tickets.append(Ticket(job, key))
                waiting.add(tickets[-1])
        return {"ui": {}, "result": (tickets, samples)}


class SaveNode:
    """Jobs in, files later."""

    CATEGORY = CATEGORY
    DESCRIPTION = ("Saves the images of submitted jobs into ComfyUI's output "
                   "folder as they come, with the workflow in PNG files. Does "
                   "not wait for them.")
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "save"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {
            "jobs": ("LATENTD_JOBS", {"tooltip": "From Submit and Go On."}),
            "filename_prefix": ("STRING", {
                "default": "latentd/ComfyUI",
                "tooltip": "As in Save Image."})}}

    def save(self, jobs, filename_prefix):
        for ticket in jobs:
            saver.save(ticket, filename_prefix)
        return {"ui": {}}


class CollectNode:
    """Images of jobs, of this prompt or of earlier ones."""

    CATEGORY = CATEGORY
    DESCRIPTION = ("Fetches the images of submitted jobs. With jobs connected "
                   "it waits for those; without, it fetches what earlier "
                   "prompts of that name have left, also before a restart. "
                   "Interrupting it loses nothing.")
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    OUTPUT_IS_LIST = (True,)
    OUTPUT_TOOLTIPS = ("A list: the images may differ in size.",)
    FUNCTION = "collect"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "name": NAME,
                "wait": ("BOOLEAN", {
                    "default": True,
                    "tooltip": "Wait for what is not done yet; otherwise it "
                               "is left for the next time."}),
            },
            "optional": {
                "jobs": ("LATENTD_JOBS", {
                    "tooltip": "Fetch these and no others."}),
                "daemon": DAEMON,
            },
        }

    @classmethod
    def IS_CHANGED(cls, **inputs):
        # Never equal to itself: there may be more every time.
        return float("nan")

    @classmethod
    def VALIDATE_INPUTS(cls, name=None, daemon=""):
        named = service.check_name(name)
        return service.check_address(daemon) if named is True else named

    def collect(self, name, wait=True, jobs=None, daemon=""):
        key = (daemon, name)
        client = service.connect(daemon, name)
        with service.explained(daemon):
            if jobs is None:
                self._take_earlier(client, key, wait)
            tickets = waiting.tickets(key) if jobs is None else jobs
            if not wait:
                tickets = [one for one in tickets if one.job.done()]
            images = self._fetch(tickets, jobs is not None)
        if not images:
            return (self._nothing(name),)
        return (images,)

    def _take_earlier(self, client, key, wait):
        """Among what waits, results that an earlier ComfyUI has left.  When
        nothing else does, they get a moment to arrive."""
        patience_s = 1.0 if wait and not waiting.tickets(key) else 0.0
        for result in client.collect(patience_s):
            waiting.add(Ticket(Earlier(result), key))

    def _fetch(self, tickets, connected):
        """The images, when all are there.  A job that failed is told of once;
        the others stay for the next time."""
        if not tickets:
            return []
        try:
            results = service.gather([one.job for one in tickets])
        except Exception:
            for one in tickets:
                if one.job.done() and (one.job.cancelled() or
                                       one.job.exception() is not None):
                    waiting.remove(one)
            raise
        images = []
        for one, result in zip(tickets, results):
            if result.output != "mp4":
                images.append(tensors.flat(tensors.images([result])))
            elif connected:
                raise service.RemoteError(
                    "An mp4 cannot become images here.\n\nChoose png in "
                    "Submit and Go On, or connect Save When Done.")
        self._forget(tickets, results)
        return images

    def _forget(self, tickets, results):
        """Videos in files that nobody has asked to save are saved all the
        same: no IMAGE can hold them, and they must not be in the way."""
        for one, result in zip(tickets, results):
            if result.output == "mp4":
                saver.save(one, "latentd/collected")
            else:
                waiting.remove(one)

    def _nothing(self, name):
        blocker = _blocker()
        if blocker is None:
            raise service.RemoteError(
                f"There is nothing to collect: no images of \"{name}\" are "
                "done.")
        return [blocker]
