# SPDX-License-Identifier: Apache-2.0
"""diffusers' remote_decode and remote_encode, through the daemon.

Names, parameters, defaults, return types and the error's type are those of
diffusers utils/remote_utils.py; proto/protocol.md section 10 has the contract.
What differs is mended: tensors that are not contiguous are sent right, mp4
comes back although return_type is left alone, batches come back whole, an error
that is no JSON is still a RuntimeError with a sentence, and nothing waits for
ever.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import warnings
from dataclasses import replace
from typing import Any, List, Optional, Tuple
from urllib.parse import urlsplit

import numpy as np

from . import _http, _models, _tensors
from ._client import Client, connect, default_url
from ._http import RemoteError
from ._remote_reply import Ask, Tensor, postprocess, to_unit
from ._tensors import Payload
from .errors import (
    ClientClosed,
    DaemonUnavailable,
    LatentdError,
    LibraryMissing,
    ModelError,
    ResultTimeout,
    ShapeError,
)

TIMEOUT_S = 600.0
_CONNECT_S = 1.0
_ABSENT_S = 10.0
_VIA = ("auto", "daemon", "direct")


# ---- which daemon, which model ----


class _Shared:
    """The process's one anonymous client, made when it is first wanted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Optional[Client] = None
        self._url = ""
        self._absent_until = 0.0

    def client(self, must: bool) -> Optional[Client]:
        """None when no daemon is there; `must`: raise then."""
        with self._lock:
            url = default_url()
            if self._client is not None and self._url == url and \
                    self._client.usable():
                return self._client
            self._client = None
            if not must and (time.monotonic() < self._absent_until or
                             not _may_listen(url)):
                return None
            try:
                self._client = connect(url, timeout=_CONNECT_S)
                self._url = url
            except (DaemonUnavailable, LibraryMissing, ClientClosed):
                self._absent_until = time.monotonic() + _ABSENT_S
                if must:
                    raise
            return self._client

    def forget(self) -> None:
        """In a forked child: the lock may be held for ever."""
        self._lock = threading.Lock()


def _may_listen(url: str) -> bool:
    """False where it is certain that no daemon listens."""
    prefix = "ipc://"
    return not url.startswith(prefix) or os.path.exists(url[len(prefix):])


_shared = _Shared()
os.register_at_fork(after_in_child=_shared.forget)


def _model_of(endpoint: str, shape: Tuple[int, ...],
              factor: Optional[float]) -> Optional[str]:
    """The model that an endpoint decodes: by its name or its URL's path, else
    by the scaling factor or by what only one model has."""
    if "://" not in endpoint:
        return _models.resolve(endpoint)
    for part in reversed(urlsplit(endpoint).path.split("/")):
        found = _models.canonical(part) if part else None
        if found is not None:
            return found
    for model in _models.MODELS.values():
        if factor is not None and abs(factor - model.scaling_factor) < 1e-6:
            return model.name
    if len(shape) == 5 and shape[1] == 16:
        return "hunyuan-video"
    if len(shape) == 3 and shape[-1] == 64:
        return "flux"
    return None


# ---- decode ----


def query_of(ask: Ask) -> _http.Query:
    """Source: diffusers, prepare_decode()."""
    query: _http.Query = [
        ("image_format", ask.image_format),
        ("output_type", ask.output_type),
        ("partial_postprocess", ask.partial),
        ("shape", list(ask.payload.shape)),
        ("dtype", ask.payload.dtype),
    ]
    if ask.do_scaling and ask.scaling_factor is not None:
        query.append(("scaling_factor", ask.scaling_factor))
    if ask.do_scaling and ask.shift_factor is not None:
        query.append(("shift_factor", ask.shift_factor))
    if ask.do_scaling and ask.scaling_factor is None:
        query.append(("do_scaling", ask.do_scaling))
    if ask.height is not None and ask.width is not None:
        query += [("height", ask.height), ("width", ask.width)]
    return query


def _accept(ask: Ask) -> str:
    if ask.output_type == "mp4":
        return "text/plain"
    if not ask.files:
        return "tensor/binary"
    return "image/png" if ask.image_format == "png" else "image/jpeg"


def _split(payload: Payload) -> List[Payload]:
    """The latents of a batch one by one."""
    shape = payload.shape
    n = shape[0] if len(shape) > 2 else 1
    each = payload.size // max(n, 1)
    return [replace(payload, shape=(1, *shape[1:]), size=each,
                    address=payload.address + i * each) for i in range(n)]


def _memory(payload: Payload) -> bytes:
    return ctypes.string_at(payload.address, payload.size)


def _direct(ask: Ask) -> List[Any]:
    """The replies of the endpoint itself: bytes of files, or Tensors."""
    headers = {"Content-Type": "tensor/binary", "Accept": _accept(ask)}
    whole = ask.output_type == "pt" and not (
        ask.partial and len(ask.payload.shape) == 5)
    replies: List[Any] = []
    for one in [ask.payload] if whole else _split(ask.payload):
        body, head = _http.post(
            ask.endpoint, query_of(replace(ask, payload=one)), headers,
            _memory(one), ask.timeout)
        if ask.files or ask.output_type == "mp4":
            replies.append(body)
        else:
            replies.append(Tensor(body, *_http.tensor_head(head, len(body))))
    return replies


def _through(ask: Ask, client: Client, model: str) -> List[Any]:
    """The same through the daemon."""
    payload, space = _unscaled(ask, _models.MODELS[model])
    if ask.output_type == "mp4":
        output = "mp4"
    elif ask.files:
        output = ask.image_format
    else:
        output = "pixels" if ask.output_type == "pt" and ask.partial \
            else "float"
    packed = len(payload.shape) == 3  # else sizes mean nothing
    try:
        job = client._decode_payload(
            payload, model, output, space, ask.height if packed else None,
            ask.width if packed else None)
    except ShapeError as error:
        raise RemoteError({"error": str(error)}, error.code) from None
    result = _wait(job, ask.timeout)
    parts = result.view()
    if result.dtype == "":
        return [bytes(part) for part in parts]
    shape = result.shape
    if not _models.MODELS[model].temporal and len(parts) == shape[0]:
        shape = (1, *shape[1:])
    tensors = [Tensor(part, result.dtype, shape) for part in parts]
    if ask.output_type == "pil":
        return [to_unit(t) for t in tensors]
    return tensors


def _wait(job: Any, timeout: Optional[float]) -> Any:
    try:
        return job.result(timeout)
    except ResultTimeout as error:
        job.cancel()
        raise RemoteError({"error": str(error)}, "timeout") from None
    except ModelError:
        raise
    except LatentdError as error:
        raise RemoteError({"error": str(error)}, error.code) from None


def _unscaled(ask: Ask, model: _models.Model) -> Tuple[Payload, str]:
    """The latent, and the space in which the daemon is to take it: with
    somebody's own factors they are applied here."""
    if not ask.do_scaling:
        return ask.payload, "vae"
    factor, shift = ask.scaling_factor, ask.shift_factor
    if factor is None or (
            abs(factor - model.scaling_factor) < 1e-6 and
            abs((shift or 0) - (model.shift_factor or 0)) < 1e-6):
        return ask.payload, "model"
    sent = Tensor(_memory(ask.payload), ask.payload.dtype, ask.payload.shape)
    values = sent.array().astype(np.float32) / np.float32(factor)
    return _tensors.tensor(values + np.float32(shift or 0)), "vae"


# ---- the functions ----


def _deprecated(what: str, sentence: str) -> None:
    warnings.warn(f"{what}: {sentence}", FutureWarning, 4)


def _check(ask: Ask, kinds: Tuple[str, str]) -> None:
    for what, kind in zip(("input_tensor_type", "output_tensor_type"), kinds):
        if kind == "base64":
            _deprecated(f"{what}='base64'", "using `binary`")
        elif kind != "binary":
            raise ValueError(f"{what} is {kind!r}; there is 'binary'")
    for what, value, known in (
            ("output_type", ask.output_type, ("mp4", "pil", "pt")),
            ("return_type", ask.return_type, ("mp4", "pil", "pt")),
            ("image_format", ask.image_format, ("png", "jpg"))):
        if value not in known:
            raise ValueError(f"{what} is {value!r}; there are "
                             f"{', '.join(known)}")
    if (ask.return_type == "mp4") > (ask.output_type == "mp4"):
        raise ValueError("return_type='mp4' needs output_type='mp4'")
    if len(ask.payload.shape) == 3 and ask.height is None and \
            ask.width is None:
        raise ValueError("`height` and `width` required for packed latents.")
    if ask.do_scaling and ask.scaling_factor is None:
        _deprecated("do_scaling", "`do_scaling` is deprecated, pass "
                    "`scaling_factor` and `shift_factor` if required.")


def _route(endpoint: str, shape: Tuple[int, ...], factor: Optional[float],
           via: str) -> Tuple[Optional[Client], str]:
    """(client, model) to go through, or (None, "") to go directly."""
    if via not in _VIA:
        raise ValueError(f"via is {via!r}; there are {', '.join(_VIA)}")
    url = "://" in endpoint
    if via == "direct" and url:
        return None, ""
    model = _model_of(endpoint, shape, factor)
    if model is None:
        if via == "daemon":
            raise ModelError(
                f"cannot tell which model {endpoint} serves; pass a model's "
                "name as endpoint")
        return None, ""
    client = _shared.client(must=via == "daemon" or not url)
    return client, model


def remote_decode(
    endpoint: str,
    tensor: Any,
    processor: Any = None,
    do_scaling: bool = True,
    scaling_factor: Optional[float] = None,
    shift_factor: Optional[float] = None,
    output_type: str = "pil",
    return_type: str = "pil",
    image_format: str = "jpg",
    partial_postprocess: bool = False,
    input_tensor_type: str = "binary",
    output_tensor_type: str = "binary",
    height: Optional[int] = None,
    width: Optional[int] = None,
    *,
    timeout: Optional[float] = TIMEOUT_S,
    via: str = "auto",
) -> Any:
    """Decode a latent remotely: diffusers' function, through the daemon when
    one runs, else by HTTP.

    endpoint: an endpoint's URL, or a model's name ("sdxl"), for which a daemon
        is needed.  With a daemon the URL only tells the model: by its path
        ("/sdxl"), the scaling factor or the shape; where none does, the
        endpoint is asked directly.
    tensor: [N,C,h,w], [N,C,T,h,w] or packed [N,P,4C] with height and width;
        float16, bfloat16 or float32; torch (any device and strides), numpy or
        DLPack.
    processor: a VaeImageProcessor or VideoProcessor; with output_type "pil"
        any value but None asks for a tensor in [0,1].
    do_scaling, scaling_factor, shift_factor: z / scaling + shift is decoded;
        without factors the endpoint's own apply; do_scaling=False: the latent
        is unscaled already.
    output_type: what the endpoint sends: "pil" (a JPEG or PNG file; with a
        processor a tensor), "pt", "mp4".
    return_type: what comes back here: "pil", "pt"; "mp4" comes as bytes.
    partial_postprocess: with "pt": uint8 [N,H,W,3] or [F,H,W,3] instead of
        floats [N,3,H,W] or [N,3,F,H,W] in [-1,1].
    height, width: of the picture in pixels; for packed latents.
    timeout: seconds; None: for ever.
    via: "auto", "daemon" (or raise), "direct".

    Returns a PIL image, of a batch or a video a list, bytes of an mp4, or a
    tensor: torch if `tensor` is, else numpy (bfloat16 as float32).
    Raises RemoteError, which is a RuntimeError of {"error": "..."}; ValueError
    for arguments that do not fit.
    Source: diffusers utils/remote_utils.py, remote_decode().
    """
    ask = Ask(
        endpoint, _tensors.latent(tensor),
        sys.modules.get("torch") if _tensors.is_torch(tensor) else None,
        processor, do_scaling, scaling_factor, shift_factor, output_type,
        return_type, image_format, partial_postprocess, height, width, timeout)
    _check(ask, (input_tensor_type, output_tensor_type))
    client, model = _route(endpoint, ask.payload.shape,
                           scaling_factor if do_scaling else None, via)
    if client is not None:
        try:
            return postprocess(ask, _through(ask, client, model))
        except (ModelError, ClientClosed):
            # The daemon has no endpoint for it.
            if via == "daemon" or "://" not in endpoint:
                raise
    return postprocess(ask, _direct(ask))


def remote_encode(
    endpoint: str,
    image: Any,
    scaling_factor: Optional[float] = None,
    shift_factor: Optional[float] = None,
    *,
    timeout: Optional[float] = TIMEOUT_S,
    via: str = "auto",
) -> Any:
    """Encode a picture remotely: diffusers' function, through the daemon when
    one runs, else by HTTP.

    image: a PIL image, or a tensor [N,3,H,W] in [-1,1]; also what
        Client.encode() takes.
    scaling_factor, shift_factor: (z - shift) * scaling is returned; without
        factors the VAE's own values.
    endpoint, timeout, via: as for remote_decode().

    Returns the latent [N,C,h,w]: a torch tensor, or where torch is not
    imported a numpy array (bfloat16 as float32).
    Raises RemoteError, which is a RuntimeError of {"error": "..."}.
    Source: diffusers utils/remote_utils.py, remote_encode().
    """
    payload = _tensors.picture(image)
    torch = sys.modules.get("torch")
    client, model = _route(endpoint, (), scaling_factor, via)
    if client is not None:
        try:
            return _encode_through(payload, client, model, scaling_factor,
                                   shift_factor, timeout, torch)
        except (ModelError, ClientClosed):
            if via == "daemon" or "://" not in endpoint:
                raise
    body, head = _http.post(
        endpoint, encode_query(payload, scaling_factor, shift_factor),
        {"Accept": "*/*"}, _memory(payload), timeout)
    return Tensor(body, *_http.tensor_head(head, len(body))).give(torch)


def encode_query(payload: Payload, scaling_factor: Optional[float],
                 shift_factor: Optional[float]) -> _http.Query:
    """Source: diffusers, prepare_encode()."""
    query: _http.Query = []
    if scaling_factor is not None:
        query.append(("scaling_factor", scaling_factor))
    if shift_factor is not None:
        query.append(("shift_factor", shift_factor))
    if payload.dtype:
        query += [("shape", list(payload.shape)), ("dtype", payload.dtype)]
    return query


def _encode_through(payload: Payload, client: Client, name: str,
                    factor: Optional[float], shift: Optional[float],
                    timeout: Optional[float], torch: Any) -> Any:
    model = _models.MODELS[name]
    own = factor is not None and \
        abs(factor - model.scaling_factor) < 1e-6 and \
        abs((shift or 0) - (model.shift_factor or 0)) < 1e-6
    job = client._encode_payload(payload, name, "model" if own else "vae")
    result = _wait(job, timeout)
    tensor = Tensor(result.view()[0] if len(result) == 1 else
                     b"".join(result.view()), result.dtype, result.shape)
    if own or (factor is None and shift is None):
        return tensor.give(torch)
    values = tensor.array().astype(np.float32) - np.float32(shift or 0)
    values *= np.float32(1 if factor is None else factor)
    return Tensor(values.tobytes(), "float32", tensor.shape).give(torch)


__all__ = ["RemoteError", "remote_decode", "remote_encode"]
