# SPDX-License-Identifier: Apache-2.0
"""What the durable spool costs: ./dev bench spool

Durable submits per second of 16 producers beside bare LMDB commits on the same
disk, in turns; the time of a start with 10,000 spooled jobs; and the anonymous
memory of a daemon that holds them.  Writes spool.json and spool.md into the
directory of results.  Needs about 6 GB of disk for a while.

usage: spool.py BIN_DIR RESULTS_DIR
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
import wire  # noqa: E402
from host import keep, machine, run_main  # noqa: E402

PRODUCERS_N = 16
ROUNDS_N = 3
SIZES = {"128 KiB": (128 * 1024, 4000), "1.25 MiB": (1280 * 1024, 480)}
JOBS_N = 10_000
LATENT_BYTES = 128 * 1024
TARGET = 0.8
START_TARGET_S = 1.0
MEMORY_TARGET_BYTES = 96 * 2**20
PATIENCE_S = 600

CONFIG = """
[daemon]
listen = ipc://{directory}/latentd.sock
drain_s = 0
[queue]
jobs = 1000000
producer_jobs = 1000000
producer_bytes = 16G
[spool]
path = {directory}/spool
size = 8G
[endpoint none]
model = sdxl
task = decode
url = http://127.0.0.1:9/
"""


@contextmanager
def directory(results):
    """On the disk of the results: /tmp is memory in places."""
    path = Path(tempfile.mkdtemp(prefix="s-", dir=results))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def daemon(bin_dir, where):
    """A daemon that takes jobs and does none; .url, .started_s"""
    config = where / "latentd.conf"
    config.write_text(CONFIG.format(directory=where))
    url = f"ipc://{where}/latentd.sock"
    begin_s = time.monotonic()
    process = subprocess.Popen(
        [bin_dir / "latentd", "--config", config],
        stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "ready:" in line:
                break
        with wire.Producer(url) as producer:
            producer.hello()
        process.started_s = time.monotonic() - begin_s
        process.url = url
        subprocess.run([bin_dir / "latentctl", "pause", "out"], check=True,
                       env={**os.environ, "LATENTD_URL": url},
                       stdout=subprocess.DEVNULL, timeout=PATIENCE_S)
        yield process
    finally:
        process.kill()
        process.communicate()


def took_s(bin_dir, *args):
    done = subprocess.run([bin_dir / "bench-spool", *map(str, args)],
                          stdout=subprocess.PIPE, check=True,
                          timeout=PATIENCE_S)
    return float(done.stdout)


def anonymous_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)[1]) * 1024


def bare_rate(bin_dir, results, size, jobs_n, batch_n):
    with directory(results) as where:
        return jobs_n / took_s(bin_dir, "bare", where, size, jobs_n, batch_n)


def spool_rate(bin_dir, results, size, jobs_n):
    with directory(results) as where, daemon(bin_dir, where) as process:
        rate = jobs_n / took_s(bin_dir, "push", process.url, size, jobs_n,
                               PRODUCERS_N)
        spool = json.loads(wire.report(process.url))["spool"]
        return rate, jobs_n / spool["commits_total"]


def submits(bin_dir, results):
    rows = {}
    for name, (size, jobs_n) in SIZES.items():
        runs = {"bare": [], "bare_16": [], "spool": [], "per_commit": []}
        for _ in range(ROUNDS_N):
            runs["bare"].append(
                bare_rate(bin_dir, results, size, jobs_n, 1))
            rate, per_commit = spool_rate(bin_dir, results, size, jobs_n)
            runs["spool"].append(rate)
            runs["per_commit"].append(per_commit)
            runs["bare_16"].append(
                bare_rate(bin_dir, results, size, jobs_n, PRODUCERS_N))
        row = {key: statistics.median(all) for key, all in runs.items()}
        row["ratio"] = row["spool"] / row["bare"]
        row["ratio_16"] = row["spool"] / row["bare_16"]
        row["met"] = row["ratio"] >= TARGET
        rows[name] = row
    return rows


def start(bin_dir, results):
    """Fill a spool, kill the daemon, and start the next one on it."""
    with directory(results) as where:
        with daemon(bin_dir, where) as process:
            empty = anonymous_bytes(process.pid)
            took_s(bin_dir, "push", process.url, LATENT_BYTES, JOBS_N,
                   PRODUCERS_N)
            full = anonymous_bytes(process.pid)
        with daemon(bin_dir, where) as process:
            queued = json.loads(wire.report(process.url))["jobs"]["queued"]
            assert queued == JOBS_N - JOBS_N % PRODUCERS_N, queued
            return {"jobs": queued, "start_s": process.started_s,
                    "start_met": process.started_s < START_TARGET_S,
                    "empty_bytes": empty, "full_bytes": full,
                    "again_bytes": anonymous_bytes(process.pid),
                    "memory_met": full < MEMORY_TARGET_BYTES}


def text(result):
    where, full = result["machine"], result["start"]
    lines = "\n".join(
        f"| {name} | {row['bare']:.0f} | {row['bare_16']:.0f} | "
        f"{row['spool']:.0f} | {row['per_commit']:.1f} | {row['ratio']:.2f} | "
        f"{row['ratio_16']:.2f} |"
        for name, row in result["submits"].items())
    met = {True: "met", False: "not met"}
    return f"""# The spool's cost

`./dev bench spool` on {where['cpus']} cores of {where['cpu']}, Linux \
{where['kernel']}, load {where['load_before']:.1f} before.

Jobs per second, medians of {ROUNDS_N} runs in turns on the same disk: what LMDB
alone commits, one or {PRODUCERS_N} values in each transaction, and what \
{PRODUCERS_N} producers of
liblatentd have accepted by the daemon, each answered after its commit.

| latent | LMDB, 1 | LMDB, {PRODUCERS_N} | spooled | jobs per commit | to 1 | to {PRODUCERS_N} |
|---|---:|---:|---:|---:|---:|---:|
{lines}

The last columns are the ratios of spooled jobs to LMDB's. The target, {TARGET}, is to one
value in a transaction: each job is promised by itself, and that is what a queue costs
that keeps such a promise without gathering. The other shows what is left of the disk's
own pace: its batches are free, no producer waits for them, and nothing is sent.

With {full['jobs']:,} spooled SDXL latents a start takes \
{full['start_s']:.2f} s until a producer is greeted
(target {START_TARGET_S} s: {met[full['start_met']]}). They hold \
{full['full_bytes'] / 2**20:.0f} MiB of anonymous memory after they were
submitted, {full['again_bytes'] / 2**20:.0f} MiB after that start, \
{full['empty_bytes'] / 2**20:.0f} MiB when there are none (target \
{MEMORY_TARGET_BYTES / 2**20:.0f} MiB: {met[full['memory_met']]}).
"""


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    bin_dir, results = (Path(arg).resolve() for arg in sys.argv[1:])
    results.mkdir(exist_ok=True)
    result = {"machine": machine(), "submits": submits(bin_dir, results),
              "start": start(bin_dir, results)}
    keep(results, "spool", result, text(result))
    print(text(result))


if __name__ == "__main__":
    run_main(main)
