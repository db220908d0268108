# SPDX-License-Identifier: Apache-2.0
"""Clients of daemons, and waiting that ComfyUI can interrupt.

There is one client for each daemon and producer name, shared by all graphs and
connected when first needed: ComfyUI starts, and shows the nodes, without a
daemon and without the latentd package.
"""

import concurrent.futures
import contextlib
import re
import sys
import threading
from pathlib import Path

import comfy.model_management
import comfy.utils

# What the nodes offer; latentd.MODELS knows more about each.
MODELS = ("sdxl", "sd-v1", "flux", "hunyuan-video")

# How soon a wait notices ComfyUI's interrupt.
_TURN_S = 0.1
_STEPS = 100  # of the progress bar, for each job

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_URL = re.compile(r"(ipc|tcp|tls\+tcp)://\S+\Z")

_clients = {}
_lock = threading.Lock()


class RemoteError(RuntimeError):
    """What ComfyUI's error window shows: what is wrong and what helps."""


def package():
    """The latentd package: the installed one, or that of the source tree which
    this folder is part of.  Raises RemoteError."""
    try:
        import latentd
        return latentd
    except ImportError as error:
        beside = Path(__file__).resolve().parents[1] / "python"
        if not (beside / "latentd").is_dir():
            raise RemoteError(
                "The Python package \"latentd\" is missing.\n\nInstall it into "
                "ComfyUI's Python: python -m pip install "
                "<latentd's sources>/client/python") from error
    sys.path.append(str(beside))
    import latentd
    return latentd


@contextlib.contextmanager
def explained(daemon=""):
    """Turn latentd's exceptions into RemoteErrors with advice."""
    latentd = package()
    try:
        yield
    except latentd.LibraryMissing as error:
        raise RemoteError(
            f"{error}\n\nThe library comes with latentd; where it is not "
            "installed, set LATENTD_LIBRARY to the path of liblatentd.so.0 "
            "before ComfyUI starts.") from error
    except latentd.DaemonUnavailable as error:
        where = daemon or latentd.default_url()
        raise RemoteError(
            f"{error}\n\nThe nodes need the latentd daemon at {where}. Start "
            "it (systemctl start latentd), or enter its address in the node's "
            "\"daemon\" field, such as tcp://renderbox:8376.") from error
    except latentd.ModelError as error:
        raise RemoteError(
            f"{error}\n\n\"latentctl status\" shows which models the daemon "
            "has endpoints for; its configuration adds more.") from error
    except latentd.LatentdError as error:
        raise RemoteError(str(error)) from error


def connect(daemon="", name=None):
    """The client for a daemon ("": the default one).  Raises RemoteError."""
    with _lock, explained(daemon):
        client = _clients.get((daemon, name))
        if client is None or not client.usable():
            client = package().connect(daemon or None, name,
                                       software="ComfyUI")
            _clients[daemon, name] = client
        return client


def disconnect():
    """Close all clients, for tests and reloads."""
    with _lock:
        clients = list(_clients.values())
        _clients.clear()
    for client in clients:
        client.close()


def check_address(daemon):
    """For VALIDATE_INPUTS: True, or what is wrong."""
    if daemon and not _URL.match(daemon):
        return (f"daemon is \"{daemon}\"; it must be empty or an address like "
                "ipc:///run/latentd/latentd.sock or tcp://renderbox:8376")
    return True


def check_name(name):
    """For VALIDATE_INPUTS: True, or what is wrong."""
    if name is not None and not _NAME.match(name):
        return (f"name is \"{name}\"; use 1 to 64 of A-Z a-z 0-9 . _ -")
    return True


def check_interrupted():
    """Raises ComfyUI's exception when its user has pressed the button."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def start(submit, *args, **options):
    """submit(...), waiting while the client has as many jobs as it takes."""
    while True:
        check_interrupted()
        # A latent that is too large for an empty client is refused with
        # another exception, so there will be room.
        with contextlib.suppress(package().Busy):
            return submit(*args, timeout=_TURN_S, **options)


def run(submit, inputs, **options):
    """Results of submit(one, **options) for every one of inputs, in order,
    with a progress bar.  What is in flight is cancelled when ComfyUI is
    interrupted or a job fails."""
    jobs = []
    try:
        for one in inputs:
            jobs.append(start(submit, one, **options))
        return gather(jobs)
    finally:
        for job in jobs:
            job.cancel()


def gather(jobs):
    """Wait for all and return their results in order; raises what the first
    failed job failed with, and ComfyUI's interrupt.  Cancels nothing."""
    bar = comfy.utils.ProgressBar(_STEPS * len(jobs))
    shown = 0
    pending = set(jobs)
    while pending:
        check_interrupted()
        done, pending = concurrent.futures.wait(
            pending, _TURN_S, concurrent.futures.FIRST_COMPLETED)
        for job in done:
            job.result()
        value = int(_STEPS * sum(job.progress.fraction for job in jobs))
        shown = max(shown, value)
        bar.update_absolute(shown, _STEPS * len(jobs))
    return [job.result() for job in jobs]
