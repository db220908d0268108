# SPDX-License-Identifier: Apache-2.0
"""latentd beside what people use instead: ./dev bench peers

Every scenario has an endpoint that answers from memory (bench-canned) and its
contestants, which take turns: each round begins with the next one, and every
second one goes backwards.  Writes peers.json, peers.md and peers-*.svg into the
directory of results.

usage: peers.py BIN_DIR RESULTS_DIR [--quick] [--repeats N] [NAME...]

NAME is of a scenario or a contestant; without one of either kind, all of it.
--quick has three scenarios, one short round, and keeps nothing.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# At the end: bench/queue.py is not the one that requests wants.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import queue_memory  # noqa: E402
import told  # noqa: E402
import works  # noqa: E402
from host import keep, machine, run_main  # noqa: E402
from scenarios import (  # noqa: E402
    CONTESTANTS, QUICK, SCENARIOS, is_here)
from servers import Stage  # noqa: E402

HERE = Path(__file__).resolve().parent
PATTERNS = HERE / "patterns.py"
REPEATS_N = 5
WARM_N = 200
PATIENCE_S = 300


def argv_of(stage, scenario, one, jobs_n, in_flight):
    """The load generator of a contestant, as a command."""
    p = stage.prepared
    work = p.work
    if one.scheme:
        port = stage.ports[f"{one.middle} tcp"]
        url = f"tcp://127.0.0.1:{port}" if one.scheme == "tcp" \
            else f"ipc://{stage.directory}/{one.middle}.sock"
        if one.client == "nng":
            return [stage.bin / "bench-nng", "load", url, p.body,
                    p.reply_bytes, jobs_n, in_flight]
        return [stage.bin / "bench-producers", url, work.model,
                ",".join(map(str, work.shape)), work.output, p.body,
                p.result_bytes, jobs_n, in_flight, scenario.producers]
    port = stage.ports[one.middle or "direct"]
    url = f"http://127.0.0.1:{port}{work.target}"
    if one.client == "curl":
        return [stage.bin / "bench-curl", url, f"Accept: {work.accept}",
                p.body, p.reply_bytes, jobs_n, in_flight]
    return [sys.executable, PATTERNS, one.client, url, work.accept, p.body,
            p.reply_bytes, jobs_n, in_flight]


def middle_figures(before, after, jobs_n):
    """What stands in the middle needed for so many jobs."""
    return {
        "middle_cpu_us": 1e6 / jobs_n * (after["cpu_s"] - before["cpu_s"]),
        "middle_switches": (after["switches"] - before["switches"]) / jobs_n,
        "middle_rss_mib": after["rss_bytes"] / 2**20,
        "middle_anonymous_mib": after["anonymous_bytes"] / 2**20}


def run(stage, scenario, one, jobs_n):
    """One turn of a contestant: what it and the servers needed for it."""
    in_flight = 1 if one.client == "guide" else scenario.in_flight
    middle = stage.middle(one.middle) if one.middle else None
    argv = argv_of(stage, scenario, one, jobs_n, in_flight)
    served_n = stage.served_n()
    endpoint_s, before = stage.endpoint.cpu_s(), middle and middle.used()
    done = subprocess.run(
        list(map(str, argv)), stdout=subprocess.PIPE, check=True,
        timeout=PATIENCE_S,
        env={**os.environ, "no_proxy": "*"})
    figures = json.loads(done.stdout)
    served_n = stage.served_n() - served_n
    if (figures["jobs"], served_n) != (
            jobs_n, jobs_n if one.reaches_endpoint else 0):
        sys.exit(f"{one.title}: {figures['jobs']} of {jobs_n} jobs, and "
                 f"{served_n} requests at the endpoint")
    figures["endpoint_cpu_us"] = 1e6 / jobs_n * (
        stage.endpoint.cpu_s() - endpoint_s)
    if middle:
        figures.update(middle_figures(before, middle.used(), jobs_n))
    return figures


def whole(scenario, jobs_n):
    """As many jobs, and enough to fill the endpoint and share out.

    With a service time no place of the endpoint is idle at the end, which would
    take its part from everybody's jobs per second.
    """
    n = max(int(jobs_n), 2 * scenario.in_flight, 20)
    shares = math.lcm(scenario.producers,
                      scenario.places if scenario.service_ms else 1)
    return n + -n % shares


def in_turn(names, i):
    """The order of round ${i}: nobody is always first, or always after the
    same one."""
    n, first = len(names), i % len(names)
    step = -1 if i % 2 else 1
    return [names[(first + step * k) % n] for k in range(n)]


def jobs_of(stage, scenario, name, seconds, warm_n):
    """How many jobs a contestant does in that time, by a trial."""
    trial = run(stage, scenario, CONTESTANTS[name], whole(
        scenario, warm_n if scenario.service_ms == 0 else 0)
        if name != "guide" or scenario.service_ms == 0 else 2)
    if name == "guide":
        return max(20, int(trial["jobs_per_s"] * seconds))
    rate = scenario.ceiling or trial["jobs_per_s"]
    return whole(scenario, rate * seconds)


def measure(stage, scenario, names, repeats, seconds, warm_n=WARM_N):
    """{contestant: [figures of each turn]}, in turns."""
    jobs = {name: jobs_of(stage, scenario, name, seconds, warm_n)
            for name in names}
    runs = {name: [] for name in names}
    for i in range(repeats):
        for name in in_turn(names, i):
            runs[name].append(
                run(stage, scenario, CONTESTANTS[name], jobs[name]))
            print(f"{scenario.title}: {name} {i + 1}/{repeats}: "
                  f"{runs[name][-1]['jobs_per_s']:.0f} jobs/s",
                  file=sys.stderr, flush=True)
    return runs


def measure_all(bin_dir, chosen, names, repeats, seconds):
    """{scenario: {contestant: [figures]}}; ${seconds}: None for its own.

    Each scenario has one of ${names}.
    """
    results, sizes = {}, {}
    directory = Path(tempfile.mkdtemp(prefix="latentd-bench-"))
    try:
        prepared = works.prepare(
            sorted({SCENARIOS[s].work for s in chosen}), bin_dir, directory)
        for key in chosen:
            scenario = SCENARIOS[key]
            here = [n for n in scenario.contestants if n in names]
            own = directory / f"stage-{key}"
            own.mkdir()
            work = prepared[scenario.work]
            with Stage(bin_dir, own, work, scenario.service_ms,
                       scenario.places) as stage:
                results[key] = measure(stage, scenario, here, repeats,
                                       seconds or scenario.seconds)
            shutil.rmtree(own)
            sizes[key] = {"latent": work.latent_bytes,
                          "reply": work.reply_bytes}
    finally:
        shutil.rmtree(directory)
    return results, sizes


def choose(parser, names, quick):
    """The scenarios and contestants that ${names} mean."""
    for name in names:
        if name not in SCENARIOS and name not in CONTESTANTS:
            parser.error(f"there is no {name}; there are "
                         f"{', '.join([*SCENARIOS, *CONTESTANTS])}")
    chosen = [s for s in SCENARIOS if s in names] \
        or list(QUICK if quick else SCENARIOS)
    wanted = [c for c in CONTESTANTS if c in names] or list(CONTESTANTS)
    return chosen, wanted


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("bin_dir", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("names", nargs="*")
    options = parser.parse_intermixed_args()
    chosen, wanted = choose(parser, options.names, options.quick)
    repeats = options.repeats or (1 if options.quick else REPEATS_N)
    names = [name for name in wanted if is_here(name)]
    absent = [name for name in wanted if name not in names]
    if absent:
        print(f"not on this machine: {', '.join(absent)}", file=sys.stderr)
    chosen = [s for s in chosen if set(names) & set(SCENARIOS[s].contestants)]
    if not chosen:
        parser.error("none of the contestants named is here and in one of the "
                     "scenarios named")
    began_s, facts = time.monotonic(), machine()
    results, sizes = measure_all(options.bin_dir, chosen, names, repeats,
                                 0.3 if options.quick else None)
    result = {
        "machine": facts, "repeats": repeats, "quick": options.quick,
        "absent": absent,
        "versions": told.versions(results), "bytes": sizes,
        "memory": None if options.quick or options.names
        else queue_memory.measure(options.bin_dir), "runs": results}
    result["targets"] = told.targets(result)
    result["seconds"] = time.monotonic() - began_s
    text = told.text(result)
    print(text)
    # A part would take the place of the whole.
    if not options.quick and not options.names:
        keep(options.results, "peers", result, text)
        for name, drawing in told.plots(result).items():
            (options.results / f"peers-{name}.svg").write_text(drawing)


if __name__ == "__main__":
    run_main(main)
