# SPDX-License-Identifier: Apache-2.0
"""What the Python client costs: ./dev bench python

How long Client.decode() takes for an SDXL latent in CPU memory, how near 64
jobs in flight from one thread come to an endpoint's ceiling of 16 requests of
50 ms at a time, and what the receiving thread uses of a processor.  Writes
python.json and python.md into the directory of results.

usage: python.py BIN_DIR RESULTS_DIR
"""

import collections
import os
import platform
import statistics
import sys
import threading
import time
from pathlib import Path

BIN_DIR = Path(sys.argv[1]).resolve() if len(sys.argv) == 3 else None
ROOT = Path(__file__).resolve().parents[1]
os.environ["LATENTD_BIN_DIR"] = str(BIN_DIR)
os.environ["LATENTD_LIBRARY"] = f"{BIN_DIR}/../lib/liblatentd.so.0"
sys.path[:0] = [str(ROOT / "client/python"), str(ROOT / "tests/support")]

import numpy as np  # noqa: E402
import processes  # noqa: E402
from host import keep, machine, run_main  # noqa: E402

import latentd  # noqa: E402

CALLS = 400
JOBS = 3200
AHEAD = 64
SERVICE_MS = 50
PARALLEL = 16
# What the daemon keeps at the endpoint: a few wait there, see docs/performance.md.
OFFERED = PARALLEL + 4
IDLE_S = 2.0
TARGET_MS = 1.0
TARGET_SHARE = 0.95


def thread_cpu_s(thread):
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def measure_calls(client):
    """Seconds of each call, one every 5 ms as a fast sampler makes them."""
    z = np.random.default_rng(1).normal(
        size=(1, 4, 128, 128)).astype(np.float16)
    times, pause = [], threading.Event()
    for _ in range(CALLS):
        began = time.perf_counter()
        client.decode(z, "sdxl", output="jpg")
        times.append(time.perf_counter() - began)
        pause.wait(0.005)
    return times


def calls(client):
    times = sorted(measure_calls(client))
    median_ms = 1000 * statistics.median(times)
    return {"calls": CALLS, "payload_bytes": 131072, "median_ms": median_ms,
            "p90_ms": 1000 * times[CALLS * 9 // 10],
            "p99_ms": 1000 * times[CALLS * 99 // 100],
            "target_ms": TARGET_MS, "met": median_ms < TARGET_MS}


def idle(client):
    """Processor time of the receiving thread while it has nothing to do."""
    thread = client._core._thread
    before, began = thread_cpu_s(thread), time.monotonic()
    threading.Event().wait(IDLE_S)
    return {"seconds": time.monotonic() - began,
            "cpu_ms": 1000 * (thread_cpu_s(thread) - before)}


def flow(client):
    z = np.random.default_rng(1).normal(size=(1, 4, 8, 8)).astype(np.float16)
    list(client.map([z] * AHEAD, "sdxl", ahead=AHEAD, output="jpg"))
    thread = client._core._thread
    cpu, process, began = (
        thread_cpu_s(thread), time.process_time(), time.monotonic())
    jobs = collections.deque()
    for _ in range(JOBS):
        if len(jobs) == AHEAD:
            jobs.popleft().result()
        jobs.append(client.decode(z, "sdxl", output="jpg"))
    for job in jobs:
        job.result()
    seconds = time.monotonic() - began
    ceiling = 1000 * PARALLEL / SERVICE_MS
    share = JOBS / seconds / ceiling
    return {"jobs": JOBS, "in_flight": AHEAD, "seconds": seconds,
            "jobs_per_s": JOBS / seconds, "ceiling_per_s": ceiling,
            "share": share, "target": TARGET_SHARE,
            "met": share >= TARGET_SHARE,
            "thread_cpu_us_per_job":
                1e6 * (thread_cpu_s(thread) - cpu) / JOBS,
            "process_cpu_us_per_job":
                1e6 * (time.process_time() - process) / JOBS}


def measure():
    result = {"machine": {
        **machine(), "python": platform.python_version(),
        "numpy": np.__version__, "nice": os.nice(0)}}
    with processes.short_directory() as directory:
        with processes.Endpoint(service_ms=SERVICE_MS,
                                parallel=PARALLEL) as endpoint, \
                processes.Daemon(directory, endpoint.sections(
                    ["sdxl"], ["decode"], parallel=OFFERED)) as daemon, \
                latentd.connect(daemon.url) as client:
            result["flow"] = flow(client)
        with processes.Endpoint(service_ms=600000) as endpoint, \
                processes.Daemon(directory, {
                    "daemon": {"drain_s": 0},
                    **endpoint.sections(["sdxl"], ["decode"])}) as daemon:
            client = latentd.connect(daemon.url)
            result["decode_call"] = calls(client)
            result["idle"] = idle(client)
            client.close()
    return result


def text(result):
    where, call, flow_, idle_ = (result[k] for k in (
        "machine", "decode_call", "flow", "idle"))

    def met(part):
        return "met" if part["met"] else "not met"

    return f"""# The Python client's cost

`./dev bench python` on {where['cpus']} cores of {where['cpu']}, Linux \
{where['kernel']}, Python {where['python']}, numpy {where['numpy']}, load \
{where['load_before']:.1f} before, nice {where['nice']}.

| what | measured | target | |
|---|---:|---:|---|
| `decode()` of an SDXL latent in CPU memory (128 KiB), median of \
{call['calls']} | {call['median_ms']:.3f} ms | < {call['target_ms']:.0f} ms | \
{met(call)} |
| the same, 90 % and 99 % | {call['p90_ms']:.3f} and {call['p99_ms']:.3f} ms | \
| |
| {flow_['in_flight']} jobs in flight from one thread, endpoint of \
{PARALLEL} x {SERVICE_MS} ms | {flow_['jobs_per_s']:.1f} of \
{flow_['ceiling_per_s']:.0f} jobs/s, {100 * flow_['share']:.1f} % | \
≥ {100 * flow_['target']:.0f} % | {met(flow_)} |
| receiving thread, processor time of a job | \
{flow_['thread_cpu_us_per_job']:.0f} µs | | |
| whole process, processor time of a job | \
{flow_['process_cpu_us_per_job']:.0f} µs | | |
| receiving thread with nothing to do for {idle_['seconds']:.0f} s, processor \
time | {idle_['cpu_ms']:.2f} ms | | |

Endpoint, daemon and client share the processors.
"""


def main():
    if BIN_DIR is None:
        sys.exit(__doc__)
    results = Path(sys.argv[2])
    result = measure()
    keep(results, "python", result, text(result))
    print(text(result))


if __name__ == "__main__":
    run_main(main)
