# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the scenario tests: real processes, real sockets, loopback."""

import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import fakes  # noqa: E402
import processes  # noqa: E402
import wire  # noqa: E402


@pytest.fixture
def short_tmp():
    """An empty directory with a path short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="latentd-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def stack(short_tmp):
    """What is entered here ends after the test, the latest first, and before
    short_tmp goes."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start_endpoint(stack):
    """start_endpoint(service_ms=0, parallel=None, token=None, ...)"""
    return lambda *args, **keys: stack.enter_context(
        processes.Endpoint(*args, **keys)
    )


@pytest.fixture
def start_daemon(short_tmp, stack):
    """start_daemon(sections, *args): latentd with its files in short_tmp.

    Unless a test says otherwise it does not wait at its end for jobs and
    results that the test has left behind."""

    def start(sections, *args, **keys):
        whole = {"daemon": {}, **sections}
        whole["daemon"] = {"drain_s": 0, **whole["daemon"]}
        return stack.enter_context(
            processes.Daemon(short_tmp, whole, *args, **keys)
        )

    return start


@pytest.fixture
def start_spooled(start_daemon, short_tmp):
    """start_spooled(sections, ...): a daemon with a spool in short_tmp."""

    def start(sections, spool=None, **keys):
        whole = {
            "spool": {"path": short_tmp / "spool", "size": "64M",
                      **(spool or {})},
            **sections,
        }
        return start_daemon(whole, **keys)

    return start


@pytest.fixture
def start_gateway(start_daemon):
    """start_gateway(sections, *args): latentd that serves HTTP, on a free
    port of loopback unless [daemon] says otherwise; .port, .http."""

    def start(sections, *args, **keys):
        whole = {"daemon": {}, **sections}
        whole["daemon"] = {"http": "127.0.0.1:0", **whole["daemon"]}
        daemon = start_daemon(whole, *args, **keys)
        return processes.find_http(daemon)

    return start


@pytest.fixture
def start_fake(stack):
    """start_fake(*steps, then=good): a scripted endpoint; see fakes.py."""
    return lambda *steps, **keys: stack.enter_context(
        fakes.FakeEndpoint(*steps, **keys)
    )


@pytest.fixture
def connect(stack):
    """connect(daemon, name="p", secret=None): a wire.Producer."""
    return lambda daemon, *args, **keys: stack.enter_context(
        wire.Producer(daemon.url, *args, **keys)
    )


@pytest.fixture
def latentctl():
    """latentctl(daemon, *args, ...): run it against the daemon to its end."""

    def call(daemon, *args, env=None, **keys):
        return processes.run(
            processes.program("latentctl"),
            *args,
            env={**(daemon.env() if daemon else {}), **(env or {})},
            **keys,
        )

    return call
