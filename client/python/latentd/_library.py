# SPDX-License-Identifier: Apache-2.0
"""liblatentd by ctypes: where it is, its structures, its functions.

The one module that knows C.  ctypes releases the GIL during every call.
Source: include/latentd/client.h and types.h.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional

from .errors import LibraryMissing, call_error

SONAME = "liblatentd.so.0"
PRESETS = ("release", "check")

MAX_NDIM = 6

TASKS = {"decode": 0, "encode": 1}
SPACES = {"model": 0, "vae": 1}
DTYPES = {"": 0, "float16": 1, "bfloat16": 2, "float32": 3, "uint8": 4}
OUTPUTS = {"": 0, "jpg": 1, "png": 2, "mp4": 3, "pixels": 4, "float": 5,
           "latent": 6}
PRIORITIES = {"normal": 0, "urgent": 1, "high": 2, "low": 3}
DURABILITIES = {"none": 0, "spooled": 1}

DTYPE_NAMES = {number: name for name, number in DTYPES.items()}
OUTPUT_NAMES = {number: name for name, number in OUTPUTS.items()}
DURABILITY_NAMES = {number: name for name, number in DURABILITIES.items()}

OK = "ok"


class Tensor(ctypes.Structure):
    """struct latentd_tensor"""

    _fields_ = [
        ("dtype", ctypes.c_int),
        ("ndim", ctypes.c_uint32),
        ("shape", ctypes.c_uint64 * MAX_NDIM),
    ]


class Metadata(ctypes.Structure):
    """struct latentd_metadata"""

    _fields_ = [("key", ctypes.c_char_p), ("value", ctypes.c_char_p)]


# Zeros behind a structure: a later library that added fields at its end finds
# their defaults there.
_LATER = ("later", ctypes.c_uint64 * 32)


class Tls(ctypes.Structure):
    """struct latentd_tls"""

    _fields_ = [
        ("ca_file", ctypes.c_char_p),
        ("certificate_file", ctypes.c_char_p),
        ("key_file", ctypes.c_char_p),
        ("server_name", ctypes.c_char_p),
        _LATER,
    ]


class Options(ctypes.Structure):
    """struct latentd_client_options"""

    _fields_ = [
        ("url", ctypes.c_char_p),
        ("producer", ctypes.c_char_p),
        ("secret", ctypes.c_char_p),
        ("secret_bytes", ctypes.c_size_t),
        ("connect_timeout_ms", ctypes.c_uint32),
        ("max_jobs", ctypes.c_uint32),
        ("max_bytes", ctypes.c_uint64),
        ("software", ctypes.c_char_p),
        ("secret_file", ctypes.c_char_p),
        ("tls", ctypes.POINTER(Tls)),
        _LATER,
    ]


class Request(ctypes.Structure):
    """struct latentd_request"""

    _fields_ = [
        ("task", ctypes.c_int),
        ("model", ctypes.c_char_p),
        ("tensor", Tensor),
        ("data", ctypes.c_void_p),
        ("data_bytes", ctypes.c_size_t),
        ("space", ctypes.c_int),
        ("height_px", ctypes.c_uint32),
        ("width_px", ctypes.c_uint32),
        ("output", ctypes.c_int),
        ("metadata", ctypes.POINTER(Metadata)),
        ("metadata_n", ctypes.c_size_t),
        ("key", ctypes.c_char_p),
        ("priority", ctypes.c_int),
        ("deadline_ms", ctypes.c_uint64),
        ("refuse_late", ctypes.c_bool),
        ("cancel_on_disconnect", ctypes.c_bool),
        ("accept_timeout_ms", ctypes.c_uint32),
        _LATER,
    ]


_P = ctypes.c_void_p
_INT = ctypes.c_int
_U32 = ctypes.c_uint32
_U64 = ctypes.c_uint64
_TEXT = ctypes.c_char_p
_OUT = ctypes.POINTER

# name: (result, arguments)
_FUNCTIONS: Dict[str, Any] = {
    "latentd_err_name": (_TEXT, [_INT]),
    "latentd_client_open": (_INT, [_OUT(_P), _OUT(Options)]),
    "latentd_client_close": (None, [_P]),
    "latentd_client_error": (_TEXT, [_P]),
    "latentd_client_producer": (_TEXT, [_P]),
    "latentd_client_fd": (_INT, [_P]),
    "latentd_client_pending": (ctypes.c_size_t, [_P]),
    "latentd_submit": (_INT, [_P, _OUT(Request), _INT, _OUT(_U64)]),
    "latentd_wait_accepted": (_INT, [_P, _U64, _INT]),
    "latentd_job_id": (_INT, [_P, _U64, _OUT(_U64)]),
    "latentd_job_durability": (_INT, [_P, _U64, _OUT(_INT)]),
    "latentd_job_estimate": (_INT, [_P, _U64, _OUT(_U64), _OUT(_U64)]),
    "latentd_collect": (_INT, [_P, _INT, _OUT(_P)]),
    "latentd_cancel": (_INT, [_P, _U64]),
    "latentd_status": (_INT, [_P, _INT, _OUT(_P)]),
    "latentd_why": (_INT, [_P, _U64, _TEXT, _INT, _OUT(_P)]),
    "latentd_result_free": (None, [_P]),
    "latentd_result_ack": (None, [_P]),
    "latentd_result_ticket": (_U64, [_P]),
    "latentd_result_id": (_U64, [_P]),
    "latentd_result_key": (_TEXT, [_P]),
    "latentd_result_error": (_INT, [_P]),
    "latentd_result_message": (_TEXT, [_P]),
    "latentd_result_output": (_INT, [_P]),
    "latentd_result_tensor": (_OUT(Tensor), [_P]),
    "latentd_result_parts": (ctypes.c_size_t, [_P]),
    "latentd_result_part": (
        _P, [_P, ctypes.c_size_t, _OUT(ctypes.c_size_t)]),
    "latentd_result_width_px": (_U32, [_P]),
    "latentd_result_height_px": (_U32, [_P]),
    "latentd_result_frames": (_U32, [_P]),
    "latentd_result_endpoint": (_TEXT, [_P]),
    "latentd_result_attempts": (_U32, [_P]),
    "latentd_result_queued_ms": (_U64, [_P]),
    "latentd_result_decode_ms": (_U64, [_P]),
    "latentd_result_finish_ms": (_U64, [_P]),
}


# Options of a program in the library's sentences, and the arguments here.
_ARGUMENTS = {"--url": "url=", "--tls-ca": "tls_ca="}


def _in_build_tree() -> List[str]:
    """Where ./dev builds it, when this package lies in a checkout."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "include/latentd/client.h").exists():
        return []
    places = (root / "build" / preset / "lib" / SONAME for preset in PRESETS)
    return [str(place) for place in places if place.exists()]


def candidates() -> List[str]:
    """What to load, the best first: $LATENTD_LIBRARY alone where it is set;
    else the package's own, the build tree's, the system's."""
    chosen = os.environ.get("LATENTD_LIBRARY")
    if chosen:
        return [chosen]
    own = Path(__file__).with_name(SONAME)
    found = [str(own)] if own.exists() else []
    found += _in_build_tree()
    found.append(SONAME)
    system = ctypes.util.find_library("latentd")
    if system is not None and system not in found:
        found.append(system)
    return found


class Library:
    """The loaded liblatentd; its functions are attributes `latentd_*`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._cdll = ctypes.CDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._cdll, name)
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = [ctypes.c_void_p]
        self._free.restype = None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self.path} has no {name}")

    def code(self, err: int) -> str:
        """The name of an `enum latentd_err`: "ok", "busy", ..."""
        name: bytes = self.latentd_err_name(err)
        return name.decode()

    def sentence(self) -> str:
        """About the calling thread's latest failed call."""
        said: Optional[bytes] = self.latentd_client_error(None)
        text = (said or b"").decode(errors="replace")
        for option, argument in _ARGUMENTS.items():
            text = text.replace(option, argument)
        return text

    def check(self, err: int) -> None:
        """Raise the exception of a call that returned `err`, unless OK."""
        if err:
            raise call_error(self.code(err), self.sentence())

    def take_text(self, pointer: ctypes.c_void_p) -> str:
        """The text at a pointer that is ours to free."""
        try:
            assert pointer.value is not None
            return ctypes.string_at(pointer.value).decode(errors="replace")
        finally:
            self._free(pointer)


_lock = threading.Lock()
_loaded: Optional[Library] = None


def _load() -> Library:
    failures = []
    for path in candidates():
        try:
            return Library(path)
        except (OSError, AttributeError) as error:
            failures.append(f"{path}: {error}")
    raise LibraryMissing(
        f"cannot load {SONAME}: " + "; ".join(failures) + ". Install "
        "liblatentd0; or run ./dev build in latentd's source tree and then "
        "install this package from there; or set LATENTD_LIBRARY to the "
        "library's path")


def library() -> Library:
    """liblatentd, loaded at the first call.  Raises LibraryMissing."""
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _load()
        return _loaded
