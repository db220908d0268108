# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the Python client's tests: those of the scenarios, and clients
that load the release build's library."""

import importlib.util
import os
import sys
import threading
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SOURCE_DIR = TESTS.parent
LIBRARY = Path(os.environ.get(
    "LATENTD_RELEASE_BIN_DIR", SOURCE_DIR / "build/check/bin"
)).parent / "lib/liblatentd.so.0"
PACKAGE_DIR = SOURCE_DIR / "client/python"

os.environ["LATENTD_LIBRARY"] = str(LIBRARY)
os.environ.pop("LATENTD_URL", None)
sys.path[:0] = [str(PACKAGE_DIR), str(TESTS / "support")]

spec = importlib.util.spec_from_file_location(
    "scenario_fixtures", TESTS / "scenario/conftest.py")
scenario = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenario)

short_tmp = scenario.short_tmp
stack = scenario.stack
start_endpoint = scenario.start_endpoint
start_daemon = scenario.start_daemon
start_spooled = scenario.start_spooled
start_fake = scenario.start_fake

import fakes  # noqa: E402
import processes  # noqa: E402

import latentd  # noqa: E402


@pytest.fixture
def connect(stack):
    """connect(daemon, name=None, ...): a latentd.Client, closed at the end."""

    def call(daemon, *args, **keys):
        client = latentd.connect(daemon.url, *args, **keys)
        stack.callback(client.close)
        return client

    return call


@pytest.fixture
def service(start_endpoint, start_daemon):
    """A daemon with an endpoint of all models: .endpoint is its URL."""
    endpoint = start_endpoint()
    daemon = start_daemon(endpoint.sections())
    daemon.endpoint = endpoint.url
    return daemon


@pytest.fixture
def held(start_fake, start_daemon, stack):
    """A daemon whose sd-v1 endpoint answers once .gate is set; .fake."""
    gate = threading.Event()
    stack.callback(gate.set)
    fake = start_fake(then=fakes.held(gate))
    daemon = start_daemon(fake.section(parallel=64))
    daemon.gate, daemon.fake = gate, fake
    return daemon


@pytest.fixture
def script():
    """script(text, daemon=None, ...): run Python with the package to its end,
    as processes.run() does."""

    def call(text, daemon=None, env=None, **keys):
        whole = {
            "PYTHONPATH": str(PACKAGE_DIR),
            # Since 3.12 fork() beside threads is one.
            "PYTHONWARNINGS": "ignore::DeprecationWarning",
            **(env or {}),
        }
        if os.environ.get("PYTHONPATH"):
            whole["PYTHONPATH"] += ":" + os.environ["PYTHONPATH"]
        if daemon is not None:
            whole["LATENTD_URL"] = daemon.url
        return processes.run(sys.executable, "-c", text, env=whole, **keys)

    return call
