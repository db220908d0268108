# SPDX-License-Identifier: Apache-2.0
"""A producer: submits latents and pictures, gives jobs."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import sys
import weakref
from dataclasses import dataclass
from types import TracebackType
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Type,
    Union,
)

from . import _lookahead, _models, _tensors
from ._core import Core, milliseconds
from ._job import Job
from ._library import (
    DTYPES,
    MAX_NDIM,
    OUTPUTS,
    PRIORITIES,
    SPACES,
    TASKS,
    Metadata,
    Options,
    Request,
    Tls,
)
from ._result import Result
from .errors import ClientClosed, InvalidError, ShapeError

Latent = Any
Picture = Any
Bar = Union[bool, Callable[..., Any]]
PathLike = Union[str, "os.PathLike[str]"]


def _choice(what: str, value: Optional[str], known: Mapping[str, int]) -> int:
    found = known.get("" if value is None else value)
    if found is None:
        names = ", ".join(name for name in known if name)
        raise InvalidError(f"{what} is \"{value}\"; there are {names}")
    return found


def _name(what: str, value: str) -> bytes:
    if not _models.is_name(value):
        raise InvalidError(
            f"{what} \"{value}\" is not a name: use 1 to 64 of A-Z a-z 0-9 . _"
            " -")
    return value.encode()


def _path(path: Optional[PathLike]) -> Optional[bytes]:
    return None if path is None else os.fsencode(path)


def _span(what: str, seconds: Optional[float]) -> int:
    """A time limit in milliseconds, 0 for None."""
    if seconds is None:
        return 0
    if not 0 < seconds <= 604800:
        raise InvalidError(
            f"{what} is {seconds} s; more than 0 and at most a week is allowed")
    return max(int(seconds * 1000), 1)


def _check_bounds(**numbers: object) -> None:
    """Numbers from 0 on; what is not even a number is a TypeError."""
    for what, value in numbers.items():
        if value is None or not value >= 0:  # type: ignore[operator]
            raise InvalidError(f"{what} is {value}; must be 0 or more")


@dataclass(frozen=True)
class _Options:
    """What decode() and encode() have in common."""

    key: Optional[str] = None
    priority: str = "normal"
    deadline: Optional[float] = None
    refuse_late: bool = False
    accept_timeout: Optional[float] = None
    cancel_on_disconnect: bool = False
    block: bool = True
    timeout: Optional[float] = None

    def fill(self, request: Request) -> None:
        """Raises InvalidError for a value that is not allowed."""
        request.priority = _choice("priority", self.priority, PRIORITIES)
        request.deadline_ms = _span("deadline", self.deadline)
        request.accept_timeout_ms = _span("accept_timeout",
                                          self.accept_timeout)
        request.refuse_late = self.refuse_late
        request.cancel_on_disconnect = self.cancel_on_disconnect


_DEFAULTS = _Options()


def _request(task: str, model: str, payload: _tensors.Payload,
             shape: Tuple[int, ...], output: Optional[str],
             space: Optional[str]) -> Request:
    if len(shape) > MAX_NDIM:
        raise ShapeError(f"shape {list(shape)} has {len(shape)} dimensions; "
                         f"at most {MAX_NDIM} are allowed")
    request = Request(
        task=TASKS[task],
        model=model.encode(),
        data=payload.address,
        data_bytes=payload.size,
        space=_choice("space", space or payload.space or "model", SPACES),
        output=_choice("output", output, OUTPUTS),
    )
    request.tensor.dtype = DTYPES[payload.dtype]
    request.tensor.ndim = len(shape)
    request.tensor.shape[:len(shape)] = shape
    return request


def _metadata(texts: Mapping[str, str]) -> "ctypes.Array[Metadata]":
    pairs = [(str(k).encode(), str(v).encode()) for k, v in texts.items()]
    for key, value in pairs:
        if b"\0" in key + value:
            raise InvalidError(f"metadata {key!r} holds a NUL, which no text "
                               "of a PNG may")
    return (Metadata * len(pairs))(*[Metadata(*pair) for pair in pairs])


class Client:
    """A connection to a daemon; connect() makes one.

    All methods may be called from any thread at the same time.  As a context
    manager it waits for its jobs at the end, or, when an exception ends the
    block, closes at once.  It does not survive fork(): in the child every use
    raises ClientClosed.
    """

    def __init__(self, url: Optional[str] = None, name: Optional[str] = None,
                 *, secret: Optional[bytes] = None, timeout: float = 5.0,
                 max_jobs: int = 0, max_bytes: int = 0,
                 software: Optional[str] = None,
                 secret_file: Optional[PathLike] = None,
                 tls_ca: Optional[PathLike] = None,
                 tls_certificate: Optional[PathLike] = None,
                 tls_key: Optional[PathLike] = None,
                 tls_name: Optional[str] = None) -> None:
        """See connect()."""
        _check_bounds(timeout=timeout, max_jobs=max_jobs, max_bytes=max_bytes)
        tls = Tls(
            ca_file=_path(tls_ca), certificate_file=_path(tls_certificate),
            key_file=_path(tls_key), server_name=_path(tls_name))
        options = Options(
            url=None if url is None else url.encode(),
            producer=None if name is None else _name("name", name),
            secret=secret or None,
            secret_bytes=len(secret or b""),
            connect_timeout_ms=max(milliseconds(timeout), 1),
            max_jobs=max_jobs,
            max_bytes=max_bytes,
            software=(software or f"python {sys.version.split()[0]}").encode(),
            secret_file=_path(secret_file),
            tls=ctypes.pointer(tls),
        )
        self._core = Core(options)
        self._services: Tuple[str, ...] = ()
        end = weakref.finalize(self, self._core.close)
        end.atexit = False

    @property
    def name(self) -> str:
        """The producer's name in use, also when it was not chosen."""
        return self._core.name

    # ---- submitting ----

    def decode(self, latent: Latent, model: str, *,
               output: Optional[str] = None, space: Optional[str] = None,
               height: Optional[int] = None, width: Optional[int] = None,
               metadata: Optional[Mapping[str, str]] = None,
               key: Optional[str] = None, priority: str = "normal",
               deadline: Optional[float] = None, refuse_late: bool = False,
               accept_timeout: Optional[float] = None,
               cancel_on_disconnect: bool = False,
               tensor: Optional[str] = None, block: bool = True,
               timeout: Optional[float] = None) -> Job:
        """Submit a latent and return at once; the network is not waited for.

        latent: a torch tensor (any device and strides), a numpy array, anything
            with DLPack, or the path of a .safetensors, .latent or .npy file;
            float16, bfloat16, float32 or float64 (sent as float32).
            [N,C,h,w] for image models, [N,C,T,h,w] for video models, packed
            [N,P,4C] with height and width; N at most 64.  Without N it is one.
        model: "sd-v1", "sdxl", "flux", "hunyuan-video", or a name that people
            and repositories use for them.
        output: "png" (default for images), "jpg", "mp4" (default for videos),
            "pixels" (uint8), "float" ([-1,1]).
        space: "model" (scaled values, as diffusers' output_type="latent"
            returns; the default) or "vae" (as ComfyUI's LATENT; the default
            for .latent files).
        height, width: of the picture in pixels; for packed latents.
        metadata: text to write into PNG files, such as "parameters".
        key: the same producer name and key give the same job.
        priority: "urgent", "high", "normal" or "low".
        deadline: seconds from now within which it must be done, else it ends
            as JobExpired; refuse_late: fail at once, with Busy, when the
            daemon's estimate passes it.
        accept_timeout: seconds for which a busy daemon may refuse the job.
        cancel_on_disconnect: the job ends with this connection.
        tensor: which one of a .safetensors file.
        block, timeout: what to do when max_jobs or max_bytes are reached: wait
            (up to `timeout` seconds), or raise Busy.

        Raises ModelError, ShapeError, InvalidError, OSError (file), TypeError,
        Busy, ClientClosed.  Everything later comes through the job.
        Source: include/latentd/client.h, latentd_submit().
        """
        options = _Options(key, priority, deadline, refuse_late,
                           accept_timeout, cancel_on_disconnect, block,
                           timeout)
        return self._decode_payload(
            _tensors.latent(latent, tensor), self._model(model), output,
            space, height, width, metadata, options)

    def encode(self, image: Picture, model: str, *,
               space: Optional[str] = None, key: Optional[str] = None,
               priority: str = "normal", deadline: Optional[float] = None,
               refuse_late: bool = False,
               accept_timeout: Optional[float] = None,
               cancel_on_disconnect: bool = False,
               tensor: Optional[str] = None, block: bool = True,
               timeout: Optional[float] = None) -> Job:
        """Submit a picture; the job's result is a latent [N,C,H/s,W/s].

        image: a PIL image, the path or the bytes of a PNG or JPEG file, uint8
            pixels [H,W,3] or [N,H,W,3] in numpy, or a float tensor [N,3,H,W]
            in [-1,1].
        space: which values the latent shall have, "model" (default) or "vae".
        The others, and what is raised, as for decode().
        """
        options = _Options(key, priority, deadline, refuse_late,
                           accept_timeout, cancel_on_disconnect, block,
                           timeout)
        return self._encode_payload(_tensors.picture(image, tensor),
                                    self._model(model), space, options)

    def map(self, inputs: Iterable[Any], model: str, *, task: str = "decode",
            ahead: int = 32, tqdm: Bar = False, **options: Any,
            ) -> Iterator[Result]:
        """Decode (or encode) many, at most `ahead` at a time in flight, and
        yield their Results in order.

        inputs is read as results are taken, so it may be endless.  An input
        may be a dictionary of decode()'s arguments with "latent" (or "image").
        tqdm: True for a progress bar (needs tqdm), or a class like it.
        options: further arguments of every decode() or encode().
        What a job failed with is raised when its turn comes; what is in flight
        when the iteration ends early is cancelled.
        """
        if task not in TASKS:
            raise InvalidError(f"task is \"{task}\"; there are decode, encode")
        if ahead < 1:
            raise InvalidError(f"ahead is {ahead}; it must be at least 1")
        submit: Callable[..., Job] = self.encode
        if task == "decode":
            submit = self.decode
        return _lookahead.run(submit, "latent" if task == "decode" else
                              "image", inputs, model, ahead, tqdm, options)

    def _model(self, name: object) -> str:
        if isinstance(name, str) and _models.canonical(name) is None and \
                name not in self._services:
            self._services = self._ask_services()
        return _models.resolve(name, self._services)

    def _ask_services(self) -> Tuple[str, ...]:
        """Models of the daemon's endpoints; a newer daemon may know more."""
        endpoints = self.status().get("endpoints", [])
        return tuple(sorted({str(e.get("model")) for e in endpoints}))

    def _decode_payload(self, payload: _tensors.Payload, model: str,
                        output: Optional[str], space: Optional[str],
                        height: Optional[int], width: Optional[int],
                        metadata: Optional[Mapping[str, str]] = None,
                        options: _Options = _DEFAULTS) -> Job:
        """decode() of what was read already, for a model's own name."""
        height_px = _models.check_size("height", height)
        width_px = _models.check_size("width", width)
        table = _models.MODELS.get(model)
        shape = payload.shape
        if table is not None:
            shape = _models.check_latent(table, shape, height_px, width_px)
        request = _request("decode", model, payload, shape, output, space)
        request.height_px, request.width_px = height_px, width_px
        if metadata is None and output in (None, "png"):
            metadata = payload.metadata
        entries = _metadata(metadata or {})
        if entries:
            request.metadata = ctypes.cast(entries, type(request.metadata))
            request.metadata_n = len(entries)
        # payload and entries live until the library has copied them.
        return self._submit(request, "decode", model, options)

    def _encode_payload(self, payload: _tensors.Payload, model: str,
                        space: Optional[str],
                        options: _Options = _DEFAULTS) -> Job:
        """encode() of what was read already, for a model's own name."""
        request = _request("encode", model, payload, payload.shape, None,
                           space)
        return self._submit(request, "encode", model, options)

    def _submit(self, request: Request, task: str, model: str,
                options: _Options) -> Job:
        key = options.key
        job = Job(self, secrets.token_hex(16) if key is None else key, model,
                  task)
        request.key = _name("key", job.key)
        options.fill(request)
        if key is not None:
            earlier = self._core.take_earlier(key, 0)
            if earlier is not None:
                job._finish(earlier, None)
                return job
        return self._core.submit(request, job, options.block, options.timeout)

    # ---- for jobs ----

    def _cancel(self, ticket: int) -> None:
        self._core.cancel(ticket)

    def _estimate(self, ticket: int) -> Tuple[int, Optional[float]]:
        return self._core.estimate(ticket)

    def _job_id(self, ticket: int) -> int:
        return self._core.job_id(ticket)

    def _check_may_wait(self) -> None:
        self._core.check_may_wait()

    def _durability(self, ticket: int) -> str:
        return self._core.durability(ticket)

    def _why(self, key: str, timeout: float) -> Dict[str, Any]:
        found: Dict[str, Any] = json.loads(self._core.text(
            "why", 0, key.encode(), milliseconds(timeout)))
        return found

    def _wait_accepted(self, ticket: int, timeout: Optional[float]) -> None:
        self._core.wait_accepted(ticket, timeout)

    # ---- the rest ----

    def collect(self, timeout: float = 0.0) -> Iterator[Result]:
        """Results of jobs that other clients of the same name have submitted
        and not collected: of an earlier run, say.  Waits up to `timeout`
        seconds for each next one.  Result.key says which job it was.

        Raises InvalidError for a client without a chosen name, Denied when
        the name is known with another secret only.
        """
        if self._core.anonymous:
            raise InvalidError("only a client with a name of its own choice, "
                               "connect(name=...), has earlier jobs")
        while True:
            result = self._core.take_earlier(None, timeout)
            if result is None:
                return
            result._handle.given = True
            yield result

    def pending(self) -> List[Job]:
        """The jobs that have not ended."""
        return self._core.pending()

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Wait until no job is pending; False when `timeout` seconds were
        not enough."""
        return self._core.wait_all(timeout)

    def status(self, timeout: float = 5.0) -> Dict[str, Any]:
        """How the daemon is: the document of proto/protocol.md section 7.
        Raises ResultTimeout, DaemonUnavailable."""
        found: Dict[str, Any] = json.loads(
            self._core.text("status", milliseconds(timeout)))
        return found

    def usable(self) -> bool:
        """False after close() and in a forked child."""
        return self._core.usable()

    def close(self, wait: bool = False) -> None:
        """Disconnect.  wait: first wait for all jobs.

        Otherwise jobs of a client with a chosen name go on in the daemon, for
        collect() of the next client of that name; those of a client without
        one are cancelled.  Their futures fail with ClientClosed.  Results
        stay usable.
        """
        if wait:
            self._core.wait_all()
        self._core.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]],
                 error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close(wait=kind is None)

    def __repr__(self) -> str:
        return f"<latentd.Client {self.name}>"

    def __reduce__(self) -> Any:
        raise TypeError("a latentd client cannot be pickled; connect in the "
                        "other process")


def connect(url: Optional[str] = None, name: Optional[str] = None, *,
            secret: Optional[bytes] = None, timeout: float = 5.0,
            max_jobs: int = 0, max_bytes: int = 0,
            software: Optional[str] = None,
            secret_file: Optional[PathLike] = None,
            tls_ca: Optional[PathLike] = None,
            tls_certificate: Optional[PathLike] = None,
            tls_key: Optional[PathLike] = None,
            tls_name: Optional[str] = None) -> Client:
    """Connect to a daemon.

    url: "ipc:///run/latentd/latentd.sock", "tcp://127.0.0.1:8376" or
        "tls+tcp://render1.lan:8376"; None: $LATENTD_URL if set, else the first.
    name: the producer's name, 1 to 64 of A-Z a-z 0-9 . _ -; it survives this
        process: what it leaves behind, the next client of that name collects.
        None: a name of its own, of which nothing remains.
    secret: goes with the name; at most 64 bytes.  With the daemon's
        secret_file for this producer it is proved and never sent.
    timeout: seconds to wait for the daemon.
    max_jobs, max_bytes: jobs in flight, and bytes of their latents, before
        decode() waits or raises Busy; 0: 1024 and 1 GiB.
    software: name and version of the application, for the daemon's log.
    secret_file: the secret as the content of a file; None, with no secret
        either: $LATENTD_SECRET_FILE, if that is set.
    tls_ca: file of who signed the daemon's certificate, for tls+tcp://;
        tls_certificate, tls_key: files of this side's; tls_name: the name that
        the daemon's certificate must have, instead of the url's host.  None:
        $LATENTD_TLS_CA, $LATENTD_TLS_CERT, $LATENTD_TLS_KEY, $LATENTD_TLS_NAME.

    Raises DaemonUnavailable, Denied, InvalidError, LibraryMissing, and
    ClientClosed in a process that was forked from one that has connected.
    """
    return Client(url, name, secret=secret, timeout=timeout,
                  max_jobs=max_jobs, max_bytes=max_bytes, software=software,
                  secret_file=secret_file, tls_ca=tls_ca,
                  tls_certificate=tls_certificate, tls_key=tls_key,
                  tls_name=tls_name)


def default_url() -> str:
    """Where connect() looks for the daemon."""
    return os.environ.get("LATENTD_URL") or "ipc:///run/latentd/latentd.sock"


__all__ = ["Client", "ClientClosed", "connect", "default_url"]
