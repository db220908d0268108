# SPDX-License-Identifier: Apache-2.0
"""One struct latentd_client and the thread that receives its results.

The thread sleeps in poll() on liblatentd's descriptor, so nothing runs while
nothing happens.  `_lock` guards the tables; no call of the library that could
wait is made with it held.  A Core does not know its Client: when that is thrown
away without jobs in flight, the Core closes.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import ctypes
import os
import select
import threading
import time
import warnings
import weakref
from typing import Any, Deque, Dict, Iterator, List, Optional, Tuple

from ._job import Job
from ._library import DURABILITY_NAMES, Library, Options, Request, library
from ._result import Handle, Result
from .errors import (
    Busy,
    ClientClosed,
    InvalidError,
    LatentdError,
    ResultTimeout,
    UnfinishedJobsWarning,
    call_error,
    job_error,
)

_Outcome = Tuple[Optional[Result], Optional[LatentdError]]

_STEP_S = 0.25

_cores: "weakref.WeakSet[Core]" = weakref.WeakSet()
_opened_pid: Optional[int] = None


def milliseconds(seconds: Optional[float]) -> int:
    """For the library: -1 for None, which means for ever."""
    if seconds is None:
        return -1
    return min(max(int(seconds * 1000), 0), 2**31 - 1)


def check_not_forked() -> None:
    """nng, below the library, aborts a child whose parent has used it."""
    if _opened_pid is not None and _opened_pid != os.getpid():
        raise ClientClosed(
            "this process was forked from one that has used latentd, which "
            "does not survive that; connect in children only, or start them "
            "with multiprocessing's \"spawn\" or \"forkserver\"")


class Core:
    """Threads: any, at the same time; close() included."""

    def __init__(self, options: Options) -> None:
        """Connect.  Raises DaemonUnavailable, Denied, InvalidError,
        LibraryMissing, ClientClosed (in a forked child)."""
        global _opened_pid
        check_not_forked()
        self.library: Library = library()
        self._pid = _opened_pid = os.getpid()
        pointer = ctypes.c_void_p()
        self.library.check(self.library.latentd_client_open(
            ctypes.byref(pointer), ctypes.byref(options)))
        self._pointer = pointer
        self.anonymous = not options.producer
        self.name: str = self.library.latentd_client_producer(
            pointer).decode()
        self._make_locks()
        self._closing = False
        self._closed = False
        self._users = 0
        self._jobs: Dict[int, Job] = {}
        self._orphans: Dict[int, _Outcome] = {}
        self._earlier: Deque[Result] = collections.deque()
        self._handles: "weakref.WeakSet[Handle]" = weakref.WeakSet()
        self._received = 0
        self._refusal: Optional[LatentdError] = None
        self._refusals_n = 0  # since the last result
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(
            target=self._receive, name="latentd-receive", daemon=True)
        self._thread.start()
        _cores.add(self)

    def _make_locks(self) -> None:
        # Re-entered when the garbage collector finds the Client meanwhile.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    # ---- using the library ----

    @contextlib.contextmanager
    def use(self) -> Iterator[ctypes.c_void_p]:
        """The client's pointer, which close() leaves alone meanwhile."""
        with self._lock:
            if self._closing or self._pid != os.getpid():
                raise self._why_closed()
            self._users += 1
        try:
            yield self._pointer
        finally:
            with self._lock:
                self._users -= 1
                self._changed.notify_all()

    def usable(self) -> bool:
        """Whether use() would succeed now."""
        return not self._closing and self._pid == os.getpid()

    def _why_closed(self) -> ClientClosed:
        if self._pid != os.getpid():
            return ClientClosed(
                f"this client belongs to process {self._pid}, from which this "
                "one was forked; connect in children only, or start them with "
                "multiprocessing's \"spawn\" or \"forkserver\"")
        return ClientClosed("the client is closed; connect again")

    def submit(self, request: Request, job: Job, block: bool,
               timeout: Optional[float]) -> Job:
        """Hand a job over; the one of the same key if it is pending already.

        Raises Busy when there is no room within `timeout` seconds, and what
        latentd_submit() refuses.  Ctrl-C works while it waits.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                received = self._received
            try:
                return self._submit_once(request, job)
            except Busy:
                if not block or not self._wait_room(received, deadline):
                    raise

    def _submit_once(self, request: Request, job: Job) -> Job:
        ticket = ctypes.c_uint64()
        with self.use() as client:
            self.library.check(self.library.latentd_submit(
                client, ctypes.byref(request), 0, ctypes.byref(ticket)))
        return self._register(ticket.value, job)

    def _register(self, ticket: int, job: Job) -> Job:
        """The result may be here before the ticket is."""
        with self._lock:
            known = self._jobs.get(ticket)
            if known is not None and not known.cancelled():
                return known
            job._ticket = ticket
            outcome = self._orphans.pop(ticket, None)
            if outcome is None:
                self._jobs[ticket] = job
        if outcome is not None:
            job._finish(*outcome)
        return job

    def _wait_room(self, received: int, deadline: Optional[float]) -> bool:
        """Wait until a result came that was not counted in `received`; False
        when none can come in time."""
        if threading.current_thread() is self._thread:
            return False
        with self._lock:
            while self._received == received and not self._closing:
                left = None if deadline is None \
                    else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def check_may_wait(self) -> None:
        """Raises InvalidError in a callback of a job."""
        if threading.current_thread() is self._thread:
            raise InvalidError(
                "a job's callback would wait for ever: it runs on the thread "
                "that receives results; wait in another thread, or add a "
                "callback to the other job")

    def cancel(self, ticket: int) -> None:
        """Ask the daemon to drop the job; no-op when it is too late."""
        with contextlib.suppress(ClientClosed), self.use() as client:
            self.library.latentd_cancel(client, ticket)

    def estimate(self, ticket: int) -> Tuple[int, Optional[float]]:
        """(position, seconds or None) as the daemon last said."""
        position, wait_ms = ctypes.c_uint64(), ctypes.c_uint64()
        with contextlib.suppress(ClientClosed), self.use() as client:
            self.library.latentd_job_estimate(
                client, ticket, ctypes.byref(position), ctypes.byref(wait_ms))
        wait_s = wait_ms.value / 1000 if wait_ms.value else None
        return position.value, wait_s

    def job_id(self, ticket: int) -> int:
        """The daemon's number of a pending job; 0 if it has none."""
        number = ctypes.c_uint64()
        with contextlib.suppress(ClientClosed), self.use() as client:
            self.library.latentd_job_id(client, ticket, ctypes.byref(number))
        return number.value

    def durability(self, ticket: int) -> str:
        """What an accepted job survives; "" when it is not with the daemon."""
        number = ctypes.c_int()
        with contextlib.suppress(ClientClosed), self.use() as client:
            if not self.library.latentd_job_durability(
                    client, ticket, ctypes.byref(number)):
                return DURABILITY_NAMES[number.value]
        return ""

    def text(self, call: str, *arguments: Any) -> str:
        """What latentd_CALL(client, ..., json) writes."""
        pointer = ctypes.c_void_p()
        with self.use() as client:
            self.library.check(getattr(self.library, f"latentd_{call}")(
                client, *arguments, ctypes.byref(pointer)))
        return self.library.take_text(pointer)

    def wait_accepted(self, ticket: int, timeout: Optional[float]) -> None:
        """Raises ResultTimeout, and what the daemon refuses the job with.
        In steps, so that Ctrl-C and close() do not wait for the daemon."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            step_s = _STEP_S if deadline is None else \
                min(_STEP_S, deadline - time.monotonic())
            try:
                with self.use() as client:
                    self.library.check(self.library.latentd_wait_accepted(
                        client, ticket, milliseconds(step_s)))
                return
            except ResultTimeout:
                if deadline is not None and time.monotonic() >= deadline:
                    raise

    # ---- receiving ----

    def _receive(self) -> None:
        poll = select.poll()
        poll.register(self.library.latentd_client_fd(self._pointer),
                      select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while not self._closing:
            self._drain()
            if not self._closing:
                poll.poll()

    def _drain(self) -> None:
        """Take all that is there."""
        pointer = ctypes.c_void_p()
        while not self._closing:
            err = self.library.latentd_collect(
                self._pointer, 0, ctypes.byref(pointer))
            if err == 0:
                assert pointer.value is not None
                self._take(Handle(self.library, pointer.value))
                continue
            code = self.library.code(err)
            if code not in ("timeout", "not_found"):
                self._refused(code, self.library.sentence())
            return

    def _outcome(self, handle: Handle) -> _Outcome:
        code = self.library.code(handle.number("error"))
        if code == "ok":
            try:
                return Result(handle), None
            except Exception as fault:  # or all jobs would wait for ever
                return None, LatentdError(
                    f"the result cannot be read: {fault!r}")
        error = job_error(code, handle.text("message"))
        handle.ack()
        return None, error

    def _take(self, handle: Handle) -> None:
        ticket = handle.number("ticket")
        outcome = self._outcome(handle)
        if self.anonymous:
            # Nobody else could get it again; it is safe as it is.
            handle.ack()
        with self._lock:
            job = self._jobs.pop(ticket, None)
            if ticket == 0 and outcome[0] is not None:
                self._earlier.append(outcome[0])
            elif job is None and ticket != 0:
                self._orphans[ticket] = outcome
            self._handles.add(handle)
            self._received += 1
            self._refusal = None
            self._refusals_n = 0
        if job is not None:
            job._finish(*outcome)
        # What waits for the last job finds it done.
        with self._lock:
            self._changed.notify_all()

    def _refused(self, code: str, sentence: str) -> None:
        """The daemon refuses to deliver: what it has accepted is lost to this
        client.  Only the second time, since the first may say no more than
        that the name was not used with this secret until now."""
        with self._lock:
            self._refusal = call_error(code, sentence)
            self._refusals_n += 1
            self._received += 1
            jobs = [] if self._refusals_n < 2 else list(self._jobs.values())
        for job in jobs:
            if job.id != 0:
                job._finish(None, call_error(code, sentence))
        with self._lock:
            self._changed.notify_all()

    # ---- results of earlier clients ----

    def take_earlier(self, key: Optional[str],
                     timeout: float) -> Optional[Result]:
        """The next result, or that of `key`, of an earlier client of the same
        name; None when none is here within `timeout` seconds.  Raises what
        the daemon refuses to deliver with, unless a key is asked for."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while True:
                for result in self._earlier:
                    if key is None or result.key == key:
                        self._earlier.remove(result)
                        return result
                if self._refusal is not None and key is None:
                    raise self._refusal
                left = deadline - time.monotonic()
                if left <= 0 or self._closing:
                    return None
                self._changed.wait(left)

    # ---- the end ----

    def pending(self) -> List[Job]:
        """Jobs whose end is still to come, cancelled ones not counted."""
        with self._lock:
            return [job for job in self._jobs.values() if not job.done()]

    def wait_all(self, timeout: Optional[float] = None) -> bool:
        """Wait until no job is pending; False when time was over."""
        self.check_may_wait()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while any(not job.done() for job in self._jobs.values()):
                left = None if deadline is None \
                    else deadline - time.monotonic()
                if self._closing or (left is not None and left <= 0):
                    return False
                self._changed.wait(left)
        return True

    def close(self) -> None:
        """Disconnect; jobs without a result fail with ClientClosed.  Only the
        first call does something; later ones wait for it."""
        if self._pid != os.getpid():
            return
        with self._lock:
            first = not self._closing
            self._closing = True
            self._changed.notify_all()
        if first:
            self._close()
            return
        if threading.current_thread() is self._thread:
            return
        with self._lock:
            while not self._closed:
                self._changed.wait()

    def _close(self) -> None:
        os.write(self._wake, b"x")
        if threading.current_thread() is not self._thread:
            self._thread.join()
        with self._lock:
            while self._users:
                self._changed.wait()
            jobs, self._jobs = self._jobs, {}
            handles = list(self._handles)
        for handle in handles:
            if handle.given:
                handle.ack()
        self.library.latentd_client_close(self._pointer)
        os.close(self._wake)
        os.close(self._woken)
        _cores.discard(self)
        for job in jobs.values():
            job._finish(None, self._abandoned(job))
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def _abandoned(self, job: Job) -> ClientClosed:
        if self.anonymous:
            return ClientClosed(
                "the client was closed, which cancelled the job")
        return ClientClosed(
            f"the client was closed; the job goes on in the daemon: "
            f"connect(name=\"{self.name}\").collect() gets its result, key "
            f"{job.key}")

    def close_at_exit(self) -> None:
        """Python ends: say what becomes of jobs in flight."""
        jobs = len(self.pending())
        try:
            if jobs:
                warnings.warn(self._left_behind(jobs), UnfinishedJobsWarning,
                              2)
        finally:
            self.close()

    def _left_behind(self, jobs: int) -> str:
        what = "job" if jobs == 1 else "jobs"
        if self.anonymous:
            return (f"Python ends with {jobs} latentd {what} in flight, "
                    "cancelled now because nobody could collect them; wait "
                    "for results (\"with latentd.connect() as client\" does), "
                    "or connect with a name")
        return (f"Python ends with {jobs} latentd {what} in flight; the daemon "
                f"finishes them: latentd.connect(name=\"{self.name}\")"
                ".collect() or \"latentctl collect --producer "
                f"{self.name}\" gets the results")

    def forget_after_fork(self) -> None:
        """In the child: neither locks nor threads of the parent's are any
        use; futures must not wait for ever."""
        self._make_locks()
        self._closing = True
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job._disown(self._why_closed())
        os.close(self._wake)
        os.close(self._woken)


def _at_exit() -> None:
    for core in list(_cores):
        core.close_at_exit()


def _after_fork() -> None:
    for core in list(_cores):
        core.forget_after_fork()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
