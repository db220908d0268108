# SPDX-License-Identifier: Apache-2.0
"""A C program over liblatentd with the real daemon: support/async_client.c."""

import json
import re
import threading

import pytest

import processes
import wire
from cutter import Cutter
from fakes import held
from files import write_latent
from order import wait_ended
from samples import latent


def parse(stdout):
    *results, end = stdout.splitlines()
    return [line.split() for line in results], int(
        re.fullmatch(r"end (\d+) wakes", end)[1])


@pytest.mark.parametrize("producer", [[], ["me"]])
def test_every_job_pushed_comes_back_once(
        start_endpoint, start_daemon, producer):
    daemon = start_daemon(start_endpoint().sections(["sdxl"], ["decode"]))
    done = processes.run(
        processes.program("async_client"), daemon.url, 200, *producer,
        check=0)
    results, _ = parse(done.stdout.decode())
    assert sorted(key for key, _, _ in results) == sorted(
        f"job-{i}" for i in range(200))
    assert {outcome for _, outcome, _ in results} == {"ok"}


def test_pushing_never_waits_for_the_endpoint(
        start_fake, start_daemon, stack):
    gate = threading.Event()
    stack.callback(gate.set)
    fake = start_fake(then=held(gate))
    daemon = start_daemon(
        processes.endpoint_sections(fake.url, ["sdxl"], ["decode"]))
    process = stack.enter_context(processes.Process(
        [processes.program("async_client"), daemon.url, 20]))
    # All are pushed while the endpoint has not answered one request.
    processes.wait_until(
        lambda: json_report(daemon)["queue"]["jobs"] == 20,
        "the daemon has all jobs")
    assert process.stdout() == ""
    gate.set()
    assert process.wait() == 0
    results, _ = parse(process.stdout())
    assert len(results) == 20


def json_report(daemon):
    return json.loads(wire.report(daemon.url))


def test_a_full_daemon_only_delays(start_endpoint, start_daemon):
    sections = start_endpoint().sections(["sdxl"], ["decode"])
    daemon = start_daemon({"queue": {"jobs": 5}, **sections})
    done = processes.run(
        processes.program("async_client"), daemon.url, 60, check=0)
    results, _ = parse(done.stdout.decode())
    assert len(results) == 60


def test_many_threads_share_a_client(start_endpoint, start_daemon):
    daemon = start_daemon(start_endpoint().sections(["sdxl"], ["decode"]))
    done = processes.run(
        processes.program("threads_client"), daemon.url, 8, 25, check=0)
    assert done.stdout == b"200 results\n"


def test_clients_come_and_go_by_the_hundred(start_endpoint, start_daemon):
    daemon = start_daemon(start_endpoint().sections(["sdxl"], ["decode"]))
    for _ in range(100):
        processes.run(
            processes.program("async_client"), daemon.url, 1, check=0)
    assert json_report(daemon)["jobs"]["done_total"] == 100
    assert json_report(daemon)["producers"] == []


def test_push_time_measures(start_endpoint, start_daemon):
    daemon = start_daemon(start_endpoint().sections(["sdxl"], ["decode"]))
    done = processes.run(
        processes.program("push_time"), daemon.url, 20, 128, check=0)
    assert re.match(rb"20 pushes of 128 KiB: median \d+ us, 90% ",
                    done.stdout)


@pytest.mark.parametrize("options", [
    (), ("--producer", "p"),
    ("--producer", "p", "--deadline", "3600", "--priority", "high"),
])
def test_lost_connections_lose_and_double_nothing(
        start_fake, start_daemon, latentctl, short_tmp, stack, options):
    """Cut in the middle of replies and results, in front of them, and twice
    in a row."""
    jobs_n = 30
    fake = start_fake()
    url = f"tcp://127.0.0.1:{processes.free_port()}"
    daemon = start_daemon({
        **fake.section(parallel=2), "daemon": {"listen": url}})
    cuts = [60, 20, 400, 8, 5000, 30000, 16, 70000, 9000, 25000]
    cutter = stack.enter_context(Cutter(url, cuts))
    paths = [
        write_latent(short_tmp / f"z{i}.safetensors", latent(seed=i))
        for i in range(jobs_n)
    ]
    out = short_tmp / "out"
    latentctl(
        None, "decode", *paths, "--model", "sd-v1", "--out", out, *options,
        env={"LATENTD_URL": cutter.url}, check=0)
    assert len(list(out.glob("*.png"))) == jobs_n
    assert cutter.cut_n == len(cuts)
    # Nothing was decoded twice, and nothing is left.
    assert len(fake.requests) == jobs_n
    assert len(wait_ended(daemon, jobs_n)) == jobs_n
    whole = json_report(daemon)
    assert whole["queue"]["jobs"] == whole["queue"]["result_bytes"] == 0
