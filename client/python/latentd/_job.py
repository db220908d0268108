# SPDX-License-Identifier: Apache-2.0
"""A job in flight: a future that knows where it stands."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Generator, Optional

from . import _notebook
from ._result import Result
from .errors import JobCancelled, LatentdError, ResultTimeout

if TYPE_CHECKING:
    from ._client import Client


@dataclass(frozen=True)
class Progress:
    """Where a job stood when it was asked for; nobody is asked for it."""

    #: "waiting" (for the daemon to take it), "accepted", "done", "failed" or
    #: "cancelled"
    state: str
    #: about how many jobs went before it when the daemon last said
    position: int
    #: about how many seconds it still takes; None: not known
    wait_s: Optional[float]
    #: seconds since it was submitted, until it ended
    elapsed_s: float

    @property
    def fraction(self) -> float:
        """About how much of it is over: 0.0 to 1.0; 0.0 while unknown."""
        if self.state not in ("waiting", "accepted"):
            return 1.0
        if self.wait_s is None:
            return 0.0
        return self.elapsed_s / max(self.elapsed_s + self.wait_s, 1e-9)

    def __str__(self) -> str:
        said = f"{self.state} for {self.elapsed_s:.1f} s"
        if self.state not in ("waiting", "accepted"):
            return self.state
        if self.position:
            said += f", about {self.position} jobs before it"
        if self.wait_s is not None:
            said += f", about {self.wait_s:.1f} s to go"
        return said


class Job(concurrent.futures.Future):  # type: ignore[type-arg]
    """What Client.decode() and encode() return; `await job` works as well.

    A concurrent.futures.Future of a Result: result(), exception(), done(),
    add_done_callback(), concurrent.futures.wait() and as_completed().
    Callbacks run on the client's receiving thread and should be short.

    Attributes:
        key: names the job for the producer; of the same name and key there is
            one job.
        model, task: as submitted, the model under its own name.
    """

    def __init__(self, client: "Client", key: str, model: str,
                 task: str) -> None:
        super().__init__()
        self.key = key
        self.model = model
        self.task = task
        self._client = client
        self._ticket = 0
        self._id = 0
        self._durability = ""
        self._began = time.monotonic()
        self._ended: Optional[float] = None
        self._told = False  # waiters know of the cancel

    # ---- a future ----

    def result(self, timeout: Optional[float] = None) -> Result:
        """Wait for the Result, up to `timeout` seconds (None: for ever).

        Raises ResultTimeout (the job goes on), JobFailed and its kin,
        ModelError and ShapeError when the daemon refuses the job, and
        concurrent.futures.CancelledError after cancel().
        """
        if not self.done():
            self._client._check_may_wait()
        try:
            value: Result = super().result(timeout)
        except LatentdError:
            raise
        except concurrent.futures.TimeoutError:
            raise ResultTimeout(
                f"no result within {timeout} s: the job is {self.progress}; "
                "it goes on, job.why() says more") from None
        value._handle.given = True
        return value

    def exception(
            self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """Wait as result() does; what that raises for a job that failed, or
        None.  Raises concurrent.futures.TimeoutError and CancelledError."""
        if not self.done():
            self._client._check_may_wait()
        return super().exception(timeout)

    def cancel(self) -> bool:
        """Have the daemon drop the job: out of the queue, or out of its
        request.  Returns at once; False when it has ended already."""
        if not super().cancel():
            return False
        with self._condition:
            told, self._told = self._told, True
        if told:
            return True
        self._ended = time.monotonic()
        self.set_running_or_notify_cancel()
        self._client._cancel(self._ticket)
        return True

    def __await__(self) -> Generator[Any, None, Result]:
        return asyncio.wrap_future(self).__await__()

    def _finish(self, result: Optional[Result],
                error: Optional[BaseException]) -> None:
        """End it, unless it was cancelled meanwhile; for the client only."""
        if result is not None:
            self._id = result.id
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            # Before callbacks, which ask for progress.
            if not self.done():
                self._ended = time.monotonic()
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(result)

    def _disown(self, error: BaseException) -> None:
        """In a forked child, where the lock may be held for ever."""
        self._condition = threading.Condition()
        if not self.done():
            self._finish(None, error)

    # ---- where it stands ----

    @property
    def id(self) -> int:
        """The daemon's number of the job; 0 while it has not accepted it."""
        if self._id == 0 and not self.done():
            self._id = self._client._job_id(self._ticket)
        return self._id

    @property
    def durability(self) -> str:
        """What the job survives, as the daemon said when it accepted it:
        "none" (the end of this process, but not of the daemon; a client that
        lives submits it again) or "spooled" (it is on the daemon's disk and
        survives crash and power cut).  "" while the daemon has not accepted
        it, or when it ended before this was asked."""
        if not self.done():
            said = self._client._durability(self._ticket)
            self._durability = said or self._durability
        return self._durability

    @property
    def state(self) -> str:
        """"waiting", "accepted", "done", "failed" or "cancelled"."""
        return self.progress.state

    @property
    def progress(self) -> Progress:
        """Where it stands, as far as this process knows; asks nobody."""
        end = self._ended if self._ended is not None else time.monotonic()
        elapsed_s = end - self._began
        if self.done():
            return Progress(self._end_state(), 0, None, elapsed_s)
        position, wait_s = self._client._estimate(self._ticket)
        state = "accepted" if self.id else "waiting"
        return Progress(state, position, wait_s, elapsed_s)

    def _end_state(self) -> str:
        if self.cancelled():
            return "cancelled"
        error = self.exception()
        if isinstance(error, JobCancelled):
            return "cancelled"
        return "done" if error is None else "failed"

    def explain(self, timeout: float = 5.0) -> Dict[str, Any]:
        """Ask the daemon what the job waits for and has been through: the
        document of proto/protocol.md section 7.  Raises NotFound once the
        daemon has forgotten it, ResultTimeout, DaemonUnavailable."""
        return self._client._why(self.key, timeout)

    def why(self, timeout: float = 5.0) -> str:
        """The same as one sentence; never raises for a job that has ended or
        a daemon that does not answer."""
        if self.done():
            return self._end_sentence()
        try:
            return str(self.explain(timeout)["why"])
        except LatentdError as error:
            return f"the job is {self.progress}; {error}"

    def _end_sentence(self) -> str:
        if self.cancelled():
            return "the job was cancelled"
        error = self.exception()
        if error is not None:
            return str(error)
        result = super().result()
        return (f"the job is done: {result.endpoint or 'an endpoint'} served "
                f"it after {result.attempts} requests")

    def wait_accepted(self, timeout: Optional[float] = None) -> None:
        """Wait until the daemon has the job, so that it survives this
        process; `durability` says what else.  Raises ResultTimeout, and
        what the daemon refuses it with."""
        self._client._wait_accepted(self._ticket, timeout)

    def __reduce__(self) -> Any:
        raise TypeError("a latentd job cannot be pickled; pass its key, or "
                        "what its result gives")

    def __repr__(self) -> str:
        return f"<latentd.Job {self.task} {self.model} key={self.key}>"

    def _repr_mimebundle_(self, include: object = None,
                          exclude: object = None) -> Dict[str, Any]:
        return _notebook.job_bundle(self)

    def _ipython_display_(self) -> None:
        if not _notebook.show(self):
            print(repr(self))
