# SPDX-License-Identifier: Apache-2.0
"""diffusers' pipelines whose latents a daemon decodes.

    import latentd
    from latentd.diffusers import stream

    with latentd.connect() as client:
        for i, picture in enumerate(stream(client, pipe, prompts)):
            picture.save(f"picture-{i}")

The pipeline may be loaded with vae=None.  diffusers itself is never imported:
a pipeline is anything that is called with output_type="latent" and gives an
object with .images or .frames, a tuple of one, or a tensor.
"""

from __future__ import annotations

import collections
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Union,
)

from . import _models
from ._client import Client
from ._job import Job
from ._models import MODELS, Model
from ._previews import Preview, StepPreview
from ._result import Result
from .errors import InvalidError, LatentdError, ModelError, ShapeError

#: A prompt, or the arguments of one call of the pipeline.
Call = Union[str, Mapping[str, Any]]

# By the beginning of the pipeline's class; the longest that fits counts.
# None: latents of another kind, for which no model is known.
_CLASSES: Dict[str, Optional[str]] = {
    "StableDiffusion": "sd-v1",
    "StableDiffusion3": None,
    "StableDiffusionXL": "sdxl",
    "AltDiffusion": "sd-v1",
    "LatentConsistencyModel": "sd-v1",
    "PixArtAlpha": "sd-v1",
    "PixArtSigma": "sdxl",
    "HunyuanDiT": "sdxl",
    "Flux": "flux",
    "Flux2": None,
    "Chroma": "flux",
    "HunyuanVideo": "hunyuan-video",
    "HunyuanVideo15": None,
    "HunyuanVideoFramepack": "hunyuan-video",
}


def _config(owner: object, name: str) -> Any:
    """A value of owner.config, which diffusers lets be read both ways."""
    config = getattr(owner, "config", None)
    if isinstance(config, Mapping):
        return config.get(name)
    return getattr(config, name, None)


def _same(a: Optional[float], b: Optional[float]) -> bool:
    return abs((a or 0.0) - (b or 0.0)) < 1e-5


def _model_of_vae(vae: object) -> str:
    """By the numbers of its configuration, which decide what latents are."""
    scale = _config(vae, "scaling_factor")
    shift = _config(vae, "shift_factor")
    channels = _config(vae, "latent_channels")
    mean = _config(vae, "latents_mean")
    video = "Video" in type(vae).__name__
    for model in MODELS.values():
        if channels in (None, model.channels) and scale is not None and \
                mean is None and video == bool(model.temporal) and \
                _same(scale, model.scaling_factor) and \
                _same(shift, model.shift_factor):
            return model.name
    raise ModelError(
        f"no model has the latents of this pipeline's {type(vae).__name__} "
        f"(latent_channels {channels}, scaling_factor {scale}, shift_factor "
        f"{shift}{', latents_mean' if mean is not None else ''}); there are "
        f"{', '.join(MODELS)}; pass model=... if one of them fits")


def _model_of_class(pipe: object) -> str:
    for kind in type(pipe).__mro__:
        found = [name for name in _CLASSES if kind.__name__.startswith(name)]
        model = _CLASSES[max(found, key=len)] if found else None
        if model is not None:
            return model
        if found:
            break
    raise ModelError(
        f"a {type(pipe).__name__} without a vae does not say what its latents "
        f"are; pass model=..., one of {', '.join(MODELS)}")


def model_of(pipe: object) -> str:
    """The model of a pipeline's latents.

    From pipe.vae's configuration (scaling_factor, shift_factor,
    latent_channels), or from the pipeline's class where it has no vae.
    Raises ModelError when none fits.
    """
    vae = getattr(pipe, "vae", None)
    if vae is None:
        return _model_of_class(pipe)
    return _model_of_vae(vae)


def _default_size(pipe: object, model: Model) -> int:
    """The side in pixels of what the pipeline makes unasked; 0: unknown."""
    size = getattr(pipe, "default_sample_size", None)
    scale = getattr(pipe, "vae_scale_factor", None) or model.spatial
    if not isinstance(size, int) or not isinstance(scale, int):
        return 0
    return size * scale


def size_of(pipe: object, model: Model, shape: Tuple[int, ...],
            height: Optional[int] = None, width: Optional[int] = None,
            ) -> Tuple[Optional[int], Optional[int]]:
    """(height, width) in pixels of packed latents [N,P,4C], (None, None) for
    others.

    The arguments of the call count, then the pipeline's default; pipelines
    round both down to what packs.  Raises ShapeError when they do not fit P.
    """
    if len(shape) != 3 or not model.packs or \
            shape[-1] != 4 * model.channels:
        return None, None
    step = 2 * model.spatial
    default = _default_size(pipe, model)
    high = (height or default) // step
    wide = (width or default) // step
    if high * wide != shape[1]:
        what = f"{height or default}x{width or default}" if high else "no size"
        raise ShapeError(
            f"the pipeline gave packed latents {list(shape)}, and {what} "
            "(height x width) does not fit them; pass the height and width of "
            "what it makes")
    return high * step, wide * step


def latents_of(output: Any) -> Any:
    """The tensor in what a pipeline returns for output_type="latent"."""
    if isinstance(output, (tuple, list)):
        return output[0]
    for name in ("images", "frames", "latents"):
        value = getattr(output, name, None)
        if value is not None:
            return value
    return output


def _arguments(call: Call, shared: Mapping[str, Any]) -> Dict[str, Any]:
    """Of one call of the pipeline."""
    arguments = dict(shared)
    if isinstance(call, str):
        arguments["prompt"] = call
    elif isinstance(call, Mapping):
        arguments.update(call)
    else:
        raise TypeError(
            f"a call of the pipeline is a prompt or a dictionary of its "
            f"arguments, not {type(call).__name__}")
    if arguments.setdefault("output_type", "latent") != "latent":
        raise InvalidError(
            f"output_type is \"{arguments['output_type']}\"; it is always "
            "\"latent\" here, output=... says what the daemon shall make")
    return arguments


def submit(client: Client, pipe: Callable[..., Any], call: Call, *,
           model: Optional[str] = None, decode: Mapping[str, Any] = {},
           **shared: Any) -> Job:
    """Call the pipeline once and submit its latents; returns when the pipeline
    does.

    call: a prompt, or the arguments of the call.
    model: of the latents; None asks the pipeline, see model_of().
    decode: further arguments of Client.decode(), such as {"output": "jpg"}.
    shared: further arguments of the pipeline.
    Raises what the pipeline raises, and what Client.decode() does.
    """
    name = _models.resolve(model_of(pipe) if model is None else model)
    arguments = _arguments(call, shared)
    latents = latents_of(pipe(**arguments))
    size = size_of(pipe, MODELS[name], tuple(latents.shape),
                   arguments.get("height"), arguments.get("width"))
    options: Dict[str, Any] = {"height": size[0], "width": size[1], **decode}
    return client.decode(latents, name, **options)


class _Calls:
    """What is still to be generated, and what became of it so far."""

    def __init__(self, start: Callable[[Call], Job],
                 calls: Iterable[Call]) -> None:
        self.start = start
        self.source = iter(calls)
        self.jobs: Deque[Job] = collections.deque()
        self.ended = False
        self.error: Optional[Exception] = None

    def generate(self) -> None:
        """One more.  An error of the pipeline's is kept: what it generated
        before is delivered first."""
        try:
            self.jobs.append(self.start(next(self.source)))
        except StopIteration:
            self.ended = True
        except Exception as error:
            self.ended = True
            self.error = error

    def fill(self, ahead: int) -> None:
        """Generate until the first job is done or `ahead` are in flight."""
        while not self.ended and len(self.jobs) < ahead and \
                not (self.jobs and self.jobs[0].done()):
            self.generate()


def _outcome(job: Job, errors: str) -> List[Union[Result, LatentdError]]:
    try:
        return list(job.result())
    except LatentdError as error:
        if errors == "raise":
            raise
        return [error]


def stream(client: Client, pipe: Callable[..., Any], calls: Iterable[Call], *,
           model: Optional[str] = None, ahead: int = 8,
           errors: str = "raise", decode: Mapping[str, Any] = {},
           **shared: Any) -> Iterator[Any]:
    """Call the pipeline for every one of calls and yield the finished pictures
    in order: each a Result of one picture or video, also where one call
    generates several.

    While the daemon decodes, the pipeline runs on: at most `ahead` calls'
    latents are in flight, then it waits for the first.  It is called in the
    thread that iterates.

    calls: prompts, or dictionaries of the pipeline's arguments; read as
        pictures are generated, so it may be endless.
    errors: what to do with a job that failed: "raise", when its turn comes
        (what is in flight is cancelled), or "yield" the exception in its
        place and go on.
    model, decode, shared: as for submit().

    When the pipeline raises, all pictures before that are yielded first.
    """
    if ahead < 1:
        raise InvalidError(f"ahead is {ahead}; it must be at least 1")
    if errors not in ("raise", "yield"):
        raise InvalidError(f"errors is \"{errors}\"; there are raise, yield")
    name = model_of(pipe) if model is None else model

    def start(call: Call) -> Job:
        return submit(client, pipe, call, model=name, decode=decode, **shared)

    return _run(_Calls(start, calls), ahead, errors)


def _run(calls: _Calls, ahead: int, errors: str) -> Iterator[Any]:
    jobs = calls.jobs
    try:
        while jobs or not calls.ended:
            calls.fill(ahead)
            if jobs:
                yield from _outcome(jobs[0], errors)
                jobs.popleft()
        if calls.error is not None:
            raise calls.error
    finally:
        for job in jobs:
            job.cancel()


__all__ = ["Preview", "StepPreview", "latents_of", "model_of", "size_of",
           "stream", "submit"]
