# SPDX-License-Identifier: Apache-2.0
"""Whether a job costs more after many jobs, or beside many: ./dev bench growth

Done: one daemon does 100,000 jobs of SDXL latents, cut into stretches; after
each stretch a fresh daemon has its turn, and at the end the two take turns.
Depth: daemons with 0 to 10,000 jobs of another model in their queues take
turns.  Drain: 10,000 jobs that waited are done, and each thousand is compared
with the first.  Machines change their pace within seconds, so the daemons that
are compared take turns.  Writes growth.json, growth.md and growth.svg into the
directory of results.

usage: growth.py BIN_DIR RESULTS_DIR [--quick]
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

# At the end: bench/queue.py is not the one that requests wants.
ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "bench"), str(ROOT / "tests/support")]

import growth_told  # noqa: E402
import peers  # noqa: E402
import wire  # noqa: E402
import works  # noqa: E402
from host import keep, machine, run_main  # noqa: E402
from scenarios import CONTESTANTS, Scenario  # noqa: E402
from servers import SPOOL, Stage  # noqa: E402

IN_FLIGHT, PLACES = 16, 16
# While draining: 1,600 jobs/s at the most.  Results must leave as fast as they
# come, or the first of them would bear what later ones cost; and come one by
# one, since those that begin together are for a while cheaper together.
DRAIN_SERVICE_MS, DRAIN_PLACES = 0.625, 1
SCENARIO = Scenario("growth", (), IN_FLIGHT)
# A client of liblatentd has at most 1,024 jobs pending.
PRODUCER_JOBS_N = 1_000
# What waits beside the measured jobs: small, so that memory holds much of it.
WAITING = {"task": "decode", "model": "sd-v1", "dtype": "float16",
           "shape": [1, 4, 8, 8], "output": "jpg"}
WAITING_BYTES = 512
ROOM = """
[queue]
jobs = {jobs}
producer_jobs = {jobs}
"""
# Accepts connections and says nothing, ever.
SILENT = """
[endpoint silent]
model = sd-v1
task = decode
url = http://127.0.0.1:{port}/
parallel = 1
think_s = 3600
"""


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    ends: tuple  # jobs that the old daemon has done after each stretch
    spool_ends: tuple  # the same with [spool]
    fresh_n: int  # jobs of a fresh daemon after each stretch
    warm_n: int  # jobs of a fresh daemon before it is measured
    rounds: int
    turn_n: int  # jobs of a turn in a round
    fresh_rounds: int  # before there is another fresh daemon
    depths: tuple
    drain_n: int
    drain_every: int
    drains: int


LONG = Plan((100, 1_000, 10_000, *range(19_000, 100_001, 9_000)),
            (100, 1_000, 10_000), 1_500, 300, 40, 400, 4,
            (0, 100, 1_000, 10_000), 10_000, 1_000, 7)
QUICK = Plan((100, 500, 1_000, 2_000), (100, 500), 200, 50, 6, 100, 3,
             (0, 100, 1_000), 2_000, 200, 2)


class Bench:
    """A stage on which daemons grow old, and what they have done so far."""

    def __init__(self, stage, plan):
        self.stage, self.plan = stage, plan
        self.started_n = 0

    def turn(self, way, daemon, jobs_n):
        """${jobs_n} jobs through a daemon that runs."""
        one = replace(CONTESTANTS[way], middle=daemon)
        return peers.run(self.stage, SCENARIO, one, jobs_n)

    def fresh(self, way, more):
        """The name of a daemon that has just been started."""
        self.started_n += 1
        name = f"fresh-{self.started_n}"
        self.stage.daemon(name, more)
        self.turn(way, name, self.plan.warm_n)
        return name

    def stretch(self, way, daemon, more, begin, end):
        """So many jobs of the old daemon's life, and a fresh one's."""
        old = self.turn(way, daemon, end - begin)
        fresh = self.fresh(way, more)
        found = {"begin": begin, "end": end, "old": old,
                 "fresh": self.turn(way, fresh, self.plan.fresh_n)}
        self.stage.end(fresh)
        say(f"{way}: {end:,} jobs", found)
        return found

    def rounds(self, way, daemon, more):
        """The old daemon and fresh ones in short turns; who begins changes."""
        found, fresh = [], None
        for i in range(self.plan.rounds):
            if i % self.plan.fresh_rounds == 0:
                if fresh is not None:
                    self.stage.end(fresh)
                fresh = self.fresh(way, more)
            turns = [("old", daemon), ("fresh", fresh)]
            found.append({name: self.turn(way, which, self.plan.turn_n)
                          for name, which in turns[::1 if i % 2 else -1]})
            say(f"{way}: round {i + 1}", found[-1])
        self.stage.end(fresh)
        return found

    def done(self, way, more="", spooled=False):
        """A daemon's life: its stretches, and then turns with fresh ones."""
        daemon = f"old-{way}-{spooled}"
        ends = self.plan.spool_ends if spooled else self.plan.ends
        self.stage.daemon(daemon, more)
        stretches = [self.stretch(way, daemon, more, begin, end)
                     for begin, end in zip((0, *ends), ends)]
        rounds = self.rounds(way, daemon, more)
        self.stage.end(daemon)
        return {"stretches": stretches, "rounds": rounds}

    def url(self, daemon):
        return f"ipc://{self.stage.directory}/{daemon}.sock"

    def waiting_n(self, daemon):
        return json.loads(wire.report(self.url(daemon)))["queue"]["jobs"]

    def depth(self):
        """{jobs that wait: [figures of each round]}, through nng."""
        plan, runs = self.plan, {depth: [] for depth in self.plan.depths}
        with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
            more = ROOM.format(jobs=2 * max(plan.depths) + 100) \
                + SILENT.format(port=silent.getsockname()[1])
            for depth in plan.depths:
                self.stage.daemon(f"deep-{depth}", more)
                self.fill(f"deep-{depth}", depth)
                self.turn("ipc", f"deep-{depth}", plan.warm_n)
            for i in range(plan.rounds):
                for depth in peers.in_turn(plan.depths, i):
                    runs[depth].append(
                        self.turn("ipc", f"deep-{depth}", plan.turn_n))
                say(f"depth: round {i + 1}", {
                    f"{n:,} wait": some[-1] for n, some in runs.items()})
            for depth in plan.depths:
                if self.waiting_n(f"deep-{depth}") != depth:
                    sys.exit(f"not all of the {depth} jobs wait any more")
                self.stage.end(f"deep-{depth}")
        return runs

    def fill(self, daemon, jobs_n):
        with wire.Producer(self.url(daemon), "waits") as producer:
            for i in range(jobs_n):
                producer.submit(f"k{i}", bytes(WAITING_BYTES), **WAITING)

    def control(self, daemon, verb):
        subprocess.run(
            [self.stage.bin / "latentctl", verb, "out"], check=True,
            env={**os.environ, "LATENTD_URL": self.url(daemon)},
            stdout=subprocess.DEVNULL, timeout=peers.PATIENCE_S)

    def drain(self):
        """[figures of each part] of every round."""
        n, rounds = self.plan.drain_n, []
        server = self.stage.daemon("drained", ROOM.format(jobs=2 * n))
        for i in range(self.plan.drains):
            rounds.append(self.drain_once(server))
            say(f"drain: round {i + 1}", {
                "first": rounds[-1][0], "last": rounds[-1][-1]})
        self.stage.end("drained")
        return rounds

    def wait_full(self, server, jobs_n, child):
        """Until so many jobs wait, or the producer that sends them ended."""
        def is_full():
            return (self.waiting_n("drained") == jobs_n
                    or child.poll() is not None) or None
        server.wait_until(is_full)

    def drain_once(self, server):
        n, every = self.plan.drain_n, self.plan.drain_every
        one = replace(CONTESTANTS["ipc"], middle="drained")
        scenario = replace(SCENARIO, producers=-(-n // PRODUCER_JOBS_N))
        argv = peers.argv_of(self.stage, scenario, one, n, n)
        self.control("drained", "pause")
        served_n = self.stage.served_n()
        with subprocess.Popen(
                list(map(str, [*argv, every])), stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL, text=True) as child:
            try:
                self.wait_full(server, n, child)
                parts = self.watch(server, child.stderr, served_n)
            except BaseException:
                child.kill()
                raise
        served_n = self.stage.served_n() - served_n
        if child.returncode != 0 or served_n != n \
                or len(parts) != n // every:
            sys.exit(f"drained {served_n} of {n} jobs")
        return parts

    def watch(self, server, lines, served_n):
        """Have the daemon begin; what each part cost it."""
        every, parts = self.plan.drain_every, []
        before = server.used()
        self.control("drained", "resume")
        for line in lines:
            now = server.used()
            done_n = every * (len(parts) + 1)
            if line != f"{done_n}\n":
                sys.exit(f"while draining: {line}")
            parts.append({
                "middle_cpu_us":
                    1e6 / every * (now["cpu_s"] - before["cpu_s"]),
                "middle_switches":
                    (now["switches"] - before["switches"]) / every,
                "ahead": self.stage.served_n() - served_n - done_n})
            before = now
        return parts


def say(what, found):
    costs = ", ".join(f"{name} {figures['middle_cpu_us']:.0f} µs"
                      for name, figures in found.items()
                      if isinstance(figures, dict))
    print(f"{what}: {costs}", file=sys.stderr, flush=True)


def measure(bin_dir, plan, names=("sdxl", "small")):
    """What growth.json has; ${names}: the works for all, and to drain."""
    directory = Path(tempfile.mkdtemp(prefix="latentd-bench-"))
    large, small = names
    try:
        prepared = works.prepare(sorted(set(names)), bin_dir, directory)
        with on_stage(bin_dir, directory / "l", prepared[large], 0,
                      PLACES) as stage:
            bench = Bench(stage, plan)
            found = {
                "done": {"ipc": bench.done("ipc"),
                         "gateway": bench.done("gateway"),
                         "ipc-spool": bench.done("ipc", SPOOL, True)},
                "depth": bench.depth()}
        with on_stage(bin_dir, directory / "s", prepared[small],
                      DRAIN_SERVICE_MS, DRAIN_PLACES) as stage:
            found["drain"] = Bench(stage, plan).drain()
    finally:
        shutil.rmtree(directory)
    return found


def on_stage(bin_dir, directory, prepared, service_ms, places):
    directory.mkdir()
    return Stage(bin_dir, directory, prepared, service_ms, places)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("bin_dir", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    plan = QUICK if args.quick else LONG
    began_s, facts = time.monotonic(), machine()
    result = {"machine": facts, "plan": asdict(plan),
              **measure(args.bin_dir, plan)}
    result["seconds"] = time.monotonic() - began_s
    text = growth_told.text(result)
    print(text)
    if not args.quick:
        keep(args.results, "growth", result, text)
        (args.results / "growth.svg").write_text(growth_told.drawing(result))


if __name__ == "__main__":
    run_main(main)
