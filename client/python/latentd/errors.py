# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, as exceptions.

Every exception is a LatentdError with the `code` of include/latentd/errors.h
("model", "busy", ...), and also of the built-in kind that fits, so that
`except ValueError` finds a wrong shape and `except ConnectionError` a missing
daemon.  The sentences say what was wrong, what was found and what would be
right.
"""

from __future__ import annotations

import concurrent.futures
from typing import Dict, Type


class LatentdError(Exception):
    """Something that latentd, its daemon or an endpoint refused or failed."""

    code: str = "internal"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class InvalidError(LatentdError, ValueError):
    """An argument has a value that is not allowed, or is too large."""

    code = "invalid"


class ModelError(LatentdError, ValueError):
    """No such model, or no endpoint is configured for it and the task."""

    code = "model"


class ShapeError(LatentdError, ValueError):
    """Shape, dtype, sizes and model do not fit together."""

    code = "shape"


class ImageError(LatentdError, ValueError):
    """The image cannot be read."""

    code = "image"


class DaemonUnavailable(LatentdError, ConnectionError):
    """No daemon answers at the address, or it is shutting down."""

    code = "unreachable"


class LibraryMissing(LatentdError, ImportError):
    """liblatentd.so.0 was not found, or cannot be loaded."""

    code = "not_found"


class Busy(LatentdError):
    """A bound is reached; later there is room again."""

    code = "busy"


class Denied(LatentdError, PermissionError):
    """This user, name or secret may not do that."""

    code = "denied"


class NotFound(LatentdError, LookupError):
    """No such job, key or file."""

    code = "not_found"


class ClientClosed(LatentdError, RuntimeError):
    """The client was closed, or belongs to the process that forked this."""

    code = "invalid"


class ResultTimeout(LatentdError, concurrent.futures.TimeoutError):
    """Nothing within the time that the caller allowed.  The job goes on."""

    code = "timeout"


class JobFailed(LatentdError):
    """The job ended without a picture; `code` says why."""

    code = "endpoint"


class JobExpired(JobFailed):
    """The deadline passed before the job was done."""

    code = "expired"


class JobLost(JobFailed):
    """The result was dropped, or another client of that name has it."""

    code = "dropped"


class JobCancelled(JobFailed, concurrent.futures.CancelledError):
    """Somebody else cancelled the job: an operator, or a lost connection."""

    code = "cancelled"


class UnfinishedJobsWarning(RuntimeWarning):
    """Python ends, or a client was thrown away, with jobs in flight."""


_CALLS: Dict[str, Type[LatentdError]] = {
    "invalid": InvalidError,
    "too_large": InvalidError,
    "unsupported": InvalidError,
    "model": ModelError,
    "shape": ShapeError,
    "image": ImageError,
    "busy": Busy,
    "denied": Denied,
    "not_found": NotFound,
    "unreachable": DaemonUnavailable,
    "stopping": DaemonUnavailable,
    "timeout": ResultTimeout,
}

_JOBS: Dict[str, Type[LatentdError]] = {
    "invalid": InvalidError,
    "too_large": InvalidError,
    "unsupported": InvalidError,
    "model": ModelError,
    "shape": ShapeError,
    "image": ImageError,
    "busy": Busy,
    "cancelled": JobCancelled,
    "expired": JobExpired,
    "dropped": JobLost,
    "collected": JobLost,
}


def call_error(code: str, message: str) -> LatentdError:
    """The exception of a call that failed with `code`."""
    return _CALLS.get(code, LatentdError)(message, code)


def job_error(code: str, message: str) -> LatentdError:
    """The exception of a job that ended with `code`."""
    return _JOBS.get(code, JobFailed)(message, code)
