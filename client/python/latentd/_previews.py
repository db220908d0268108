# SPDX-License-Identifier: Apache-2.0
"""A callback_on_step_end for diffusers that never makes the sampler wait.

One thread per StepPreview takes the latent off the device, submits it, waits
for the picture and hands it out.  The sampler only clones the latent (on its
device, in its stream) and puts it into the one slot, or drops it when the slot
or the thread is taken.
"""

from __future__ import annotations

import collections
import threading
import warnings
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Callable, Deque, Dict, Iterator, Optional, Type

from ._client import Client
from ._job import Job
from ._models import MODELS, resolve
from ._result import Result
from .errors import InvalidError

_KEPT_MAX = 8


@dataclass(frozen=True)
class Preview:
    """What a step looked like.  The latents of a step still have the noise
    of the steps to come."""

    step: int  # as the pipeline counts, from 0
    timestep: Any
    result: Result


@dataclass(frozen=True)
class _Snapshot:
    pipe: object
    step: int
    timestep: Any
    latents: Any


def _copy(latents: Any) -> Any:
    """The sampler goes on writing into its own."""
    if hasattr(latents, "detach"):
        latents = latents.detach()
    return latents.clone() if hasattr(latents, "clone") else latents.copy()


class StepPreview:
    """Pass it as callback_on_step_end:

        with StepPreview(client, every=5, on_preview=show) as previews:
            pipe(prompt, callback_on_step_end=previews)

    It needs "latents" in callback_on_step_end_tensor_inputs, as diffusers has
    it by default.  Previews come to on_preview, on the preview thread, and to
    whoever iterates over the object in another thread: at most 8 are kept for
    that, the oldest go first.  `latest` is the last of them.

    Attributes:
        latest: the last Preview, or None.
        sent, dropped: how many steps were submitted, and how many were due
            while an earlier preview was still on its way.
        error: the last exception of a preview, or None.  The sampler never
            sees one; the first is also shown as a warning.
    """

    #: What diffusers' MultiPipelineCallbacks asks its members for.
    tensor_inputs = ["latents"]

    def __init__(self, client: Client, *, every: int = 0,
                 on_preview: Optional[Callable[[Preview], Any]] = None,
                 model: Optional[str] = None, height: Optional[int] = None,
                 width: Optional[int] = None, **decode: Any) -> None:
        """every: send each so many steps; 0: only after ask().
        model: of the latents; None asks the pipeline.
        height, width: in pixels, for packed latents of another size than the
            pipeline's default.
        decode: further arguments of Client.decode(); output is "jpg" (for
            videos "mp4") if not given.
        Raises InvalidError, ModelError.
        """
        if every < 0:
            raise InvalidError(f"every is {every}; it must be at least 0")
        self._client = client
        self._every = every
        self._on_preview = on_preview
        self._model = None if model is None else resolve(model)
        self._size = (height, width)
        self._decode = decode
        self.latest: Optional[Preview] = None
        self.sent = 0
        self.dropped = 0
        self.error: Optional[Exception] = None
        self._changed = threading.Condition()
        self._asked = False
        self._slot: Optional[_Snapshot] = None
        self._busy = False
        self._job: Optional[Job] = None
        self._kept: Deque[Preview] = collections.deque(maxlen=_KEPT_MAX)
        self._closed = False
        self._thread: Optional[threading.Thread] = None

    # ---- the sampler's side ----

    def ask(self) -> None:
        """Have the next step sent whatever `every` says; from any thread."""
        self._asked = True

    def __call__(self, pipe: object, step: int, timestep: Any,
                 callback_kwargs: Dict[str, Any]) -> Dict[str, Any]:
        """What the pipeline calls; gives callback_kwargs back as they are."""
        due = self._every > 0 and (step + 1) % self._every == 0
        if (due or self._asked) and self._claim():
            try:
                self._push(_Snapshot(pipe, step, timestep, _copy(
                    callback_kwargs["latents"])))
            except KeyError:
                self._failed(InvalidError(
                    "the pipeline gave its callback no latents; add "
                    "\"latents\" to callback_on_step_end_tensor_inputs"))
            except Exception as error:
                self._failed(error)
        return callback_kwargs

    def _claim(self) -> bool:
        """Whether the thread is free; then it is taken."""
        with self._changed:
            if self._closed:
                return False
            if self._busy:
                self.dropped += 1
                return False
            self._busy, self._asked = True, False
            return True

    def _push(self, snapshot: _Snapshot) -> None:
        with self._changed:
            self._slot = snapshot
            self._start()
            self._changed.notify_all()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name="latentd-preview", daemon=True)
            self._thread.start()

    # ---- the thread's side ----

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._slot is None and not self._closed:
                    self._changed.wait()
                snapshot, self._slot = self._slot, None
            if snapshot is None:
                return
            try:
                self._show(snapshot)
            except Exception as error:
                self._failed(error)
            with self._changed:
                self._busy, self._job = False, None
                self._changed.notify_all()

    def _show(self, snapshot: _Snapshot) -> None:
        job = self._submit(snapshot)
        with self._changed:
            self._job = job
            closed = self._closed
        if closed:
            job.cancel()
            return
        preview = Preview(snapshot.step, snapshot.timestep, job.result())
        with self._changed:
            self.latest = preview
            self._kept.append(preview)
            self._changed.notify_all()
        if self._on_preview is not None:
            self._on_preview(preview)

    def _submit(self, snapshot: _Snapshot) -> Job:
        from .diffusers import model_of, size_of

        model = MODELS[self._model or model_of(snapshot.pipe)]
        height, width = size_of(snapshot.pipe, model,
                                tuple(snapshot.latents.shape), *self._size)
        options: Dict[str, Any] = {
            "output": "mp4" if model.temporal else "jpg",
            "cancel_on_disconnect": True, "block": False,
            "height": height, "width": width, **self._decode}
        job = self._client.decode(snapshot.latents, model.name, **options)
        self.sent += 1
        return job

    def _failed(self, error: Exception) -> None:
        with self._changed:
            first = self.error is None and not self._closed
            if not self._closed:  # which cancels
                self.error = error
            self._busy = False
            self._changed.notify_all()
        if first:
            warnings.warn(f"no preview: {error}", RuntimeWarning, 2)

    # ---- who looks ----

    def __iter__(self) -> Iterator[Preview]:
        """Previews as they come, until close(); each goes to one iterator."""
        while True:
            with self._changed:
                while not self._kept and not self._closed:
                    self._changed.wait()
                if not self._kept:
                    return
                preview = self._kept.popleft()
            yield preview

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Wait until no preview is on its way; False when `timeout` seconds
        were not enough."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, timeout)

    def close(self, wait: bool = False) -> None:
        """End it; a preview on its way is cancelled, or first waited for."""
        if wait:
            self.wait()
        with self._changed:
            self._closed = True
            self._slot = None
            job, thread = self._job, self._thread
            self._changed.notify_all()
        if job is not None:
            job.cancel()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> "StepPreview":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]],
                 error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close(wait=kind is None)


__all__ = ["Preview", "StepPreview"]
