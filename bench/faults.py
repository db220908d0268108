# SPDX-License-Identifier: Apache-2.0
"""What sick endpoints cost: ./dev bench faults

Three endpoints that take 50 ms and serve 4 at a time: all well, and then with
one that fails half of its requests and one that stalls a tenth, until a
time-out of 2 s, without and with hedging.  First as many jobs as there is room
for, for jobs per second beside what the healthy capacity allows; then half of
that, which leaves room for another try, for the time from push to result.
Writes faults.json and faults.md into the directory of results.

usage: faults.py BIN_DIR RESULTS_DIR
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))

import wire  # noqa: E402
from host import keep, machine, run_main  # noqa: E402

SERVICE_MS, PARALLEL, SEED = 50, 4, 7
JOBS_N, FULL, HALF = 2400, 48, 6
WARM_N = 200
FAULTS = {"one": "fail-rate=0.5", "two": "stall-rate=0.1"}
TIMEOUT_MS, STALL_RATE = 2000, 0.1
# Right replies of a place that stalls, to those of one that is well.
STALLER_PART = (1 - STALL_RATE) * SERVICE_MS / (
    (1 - STALL_RATE) * SERVICE_MS + STALL_RATE * TIMEOUT_MS)
CAPACITY = (1 + 0.5 + STALLER_PART) / 3
THROUGHPUT_MIN, P99_MAX = 0.9, 3
FIELDS = {"task": "decode", "model": "sd-v1", "dtype": "float16",
          "shape": [1, 4, 8, 8], "output": "pixels"}

CONFIG = """[daemon]
listen = ipc://{directory}/latentd.sock
[queue]
attempts = 100
hedge_percent = {hedge_percent}
"""
SECTION = """[endpoint {name}]
model = sd-v1
task = decode
url = {url}/sd-v1
stall_s = 2
think_s = 2
"""


def start(stack, argv, pattern):
    """A program in the background; the match of what it says first."""
    child = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in child.stdout:
        if found := re.search(pattern, line):
            break
    else:
        sys.exit(f"{argv[0]} does not start")
    # The rest of its log goes nowhere.
    sink = subprocess.Popen(
        ["cat"], stdin=child.stdout, stdout=subprocess.DEVNULL)
    stack.callback(sink.wait)
    stack.callback(child.wait)
    stack.callback(child.terminate)
    return found


def load(url, jobs_n, in_flight):
    """Keep so many jobs in the daemon; jobs per second and every job's ms."""
    body, sent, took_ms, failed_n = bytes(512), {}, [], 0
    with wire.Producer(url, f"bench-{jobs_n}-{in_flight}") as producer:
        begin = time.monotonic()
        for i in range(jobs_n + in_flight):
            if i >= in_flight:
                result = producer.next()
                if result.type != "RESULT":
                    sys.exit(f"no result for 25 s: {result}")
                took_ms.append(
                    1e3 * (time.monotonic() - sent.pop(result["key"])))
                failed_n += result["state"] != "done"
            if i < jobs_n:
                sent[f"k{i}"] = time.monotonic()
                producer.submit(f"k{i}", body, **FIELDS)
        wall_s = time.monotonic() - begin
        producer.thank()
    took_ms.sort()
    return {"jobs_per_s": jobs_n / wall_s, "failed": failed_n,
            "p50_ms": took_ms[jobs_n // 2],
            "p99_ms": took_ms[jobs_n * 99 // 100], "most_ms": took_ms[-1]}


def measure(bin_dir, faults, hedge_percent):
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="latentd-bench-"))
        stack.callback(shutil.rmtree, directory)
        text = CONFIG.format(directory=directory, hedge_percent=hedge_percent)
        urls = {}
        for name in ("one", "two", "three"):
            urls[name] = start(
                stack, [bin_dir / "latentd-endpoint", "--listen",
                        "127.0.0.1:0", "--service-ms", str(SERVICE_MS),
                        "--parallel", str(PARALLEL), "--cache-mib", "1",
                        "--control"], r"(http://127\.0\.0\.1:\d+)")[1]
            text += SECTION.format(name=name, url=urls[name])
        config = directory / "latentd.conf"
        config.write_text(text)
        start(stack, [bin_dir / "latentd", "--config", config], "ready")
        url = f"ipc://{directory}/latentd.sock"
        load(url, WARM_N, FULL)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for name, fault in faults.items():
            opener.open(urllib.request.Request(
                f"{urls[name]}/control?{fault}&seed={SEED}",
                method="POST")).close()
        full = load(url, JOBS_N, FULL)
        half = load(url, JOBS_N // 2, HALF)
        ends = json.loads(wire.report(url))["endpoints"]
    return {"full": full, "half": half, "requests": {
        e["name"]: [e["requests_total"], e["failed_total"], e["state"]]
        for e in ends}}


def row(name, measured, healthy, allowed):
    full, half = measured["full"], measured["half"]
    part = full["jobs_per_s"] / allowed
    times = half["p99_ms"] / healthy["half"]["p99_ms"]
    return (
        f"| {name} | {full['jobs_per_s']:.0f} | {part:.0%} "
        f"| {half['p50_ms']:.0f} | {half['p99_ms']:.0f} | {times:.1f} "
        f"| {full['failed'] + half['failed']} |")


def text(result):
    where, rows = result["machine"], result["rows"]
    healthy = rows["all well"]
    allowed = result["allowed_per_s"]
    lines = [row(name, rows[name], healthy,
                 healthy["full"]["jobs_per_s"] if name == "all well"
                 else allowed) for name in rows]
    return f"""# What sick endpoints cost

`./dev bench faults` on {where['cpus']} cores of {where['cpu']}, Linux \
{where['kernel']}, load {where['load_before']:.1f} before.

Three endpoints, {SERVICE_MS} ms a request, {PARALLEL} at a time; then one \
fails half of its requests and one
stalls a tenth until a time-out of 2 s.  {JOBS_N:,} jobs with {FULL} in the \
daemon for jobs per second,
{JOBS_N // 2:,} with {HALF} for times, from push to result.  Seed {SEED}.

| | jobs/s | of the healthy capacity | p50 ms | p99 ms | x healthy p99 | \
failed |
|---|---:|---:|---:|---:|---:|---:|
{chr(10).join(lines)}

What the healthy capacity allows is {allowed:.0f} jobs/s, of the measured \
{healthy['full']['jobs_per_s']:.0f}: one endpoint whole,
half of the one that fails, and {STALLER_PART:.0%} of the one that stalls, \
because each stall holds
its place for the time-out.
Targets: {THROUGHPUT_MIN:.0%} of it or more, and {P99_MAX} x the healthy p99 \
or less: {result['verdict']}.
"""


def verdict(result):
    said = []
    for name, one in result["rows"].items():
        if name == "all well":
            continue
        part = one["full"]["jobs_per_s"] / result["allowed_per_s"]
        times = one["half"]["p99_ms"] \
            / result["rows"]["all well"]["half"]["p99_ms"]
        said.append(
            f"{name}: throughput "
            f"{'met' if part >= THROUGHPUT_MIN else 'not met'}, p99 "
            f"{'met' if times <= P99_MAX else 'not met'}")
    return "; ".join(said)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    bin_dir, results = Path(sys.argv[1]), Path(sys.argv[2])
    result = {"machine": machine(), "rows": {
        "all well": measure(bin_dir, {}, 0),
        "two sick": measure(bin_dir, FAULTS, 0),
        "two sick, hedged": measure(bin_dir, FAULTS, 5),
    }}
    result["allowed_per_s"] = (
        result["rows"]["all well"]["full"]["jobs_per_s"] * CAPACITY)
    result["verdict"] = verdict(result)
    keep(results, "faults", result, text(result))
    print(text(result))


if __name__ == "__main__":
    run_main(main)
