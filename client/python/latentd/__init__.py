# SPDX-License-Identifier: Apache-2.0
"""latentd: push latents to a daemon and go on; pictures come back as futures.

    import latentd

    with latentd.connect() as client:
        jobs = [client.decode(z, model="sdxl") for z in latents]
        for job in jobs:
            job.result().save(f"{job.key}.png")

Jobs are concurrent.futures.Futures and can be awaited.  Only numpy is needed;
torch, Pillow, tqdm and IPython are used where they are there.
"""

from ._client import Client, connect, default_url
from ._job import Job, Progress
from ._models import MODELS, Model
from ._remote import RemoteError, remote_decode, remote_encode
from ._result import Result
from ._version import __version__
from .errors import (
    Busy,
    ClientClosed,
    DaemonUnavailable,
    Denied,
    ImageError,
    InvalidError,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobLost,
    LatentdError,
    LibraryMissing,
    ModelError,
    NotFound,
    ResultTimeout,
    ShapeError,
    UnfinishedJobsWarning,
)

__all__ = [
    "Busy",
    "Client",
    "ClientClosed",
    "DaemonUnavailable",
    "Denied",
    "ImageError",
    "InvalidError",
    "Job",
    "JobCancelled",
    "JobExpired",
    "JobFailed",
    "JobLost",
    "LatentdError",
    "LibraryMissing",
    "MODELS",
    "Model",
    "ModelError",
    "NotFound",
    "Progress",
    "RemoteError",
    "Result",
    "ResultTimeout",
    "ShapeError",
    "UnfinishedJobsWarning",
    "__version__",
    "connect",
    "default_url",
    "remote_decode",
    "remote_encode",
]
