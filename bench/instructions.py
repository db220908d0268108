# SPDX-License-Identifier: Apache-2.0
"""Instructions that a step takes: ./dev bench instructions [--quick] [--against FILE]

Each step of bench-steps is run by callgrind so many times and twice as many; the
difference belongs to the step alone.  Unlike times the counts are the same on
a busy machine, so a later change can be compared: with the same compiler,
libraries and instruction set.  Prints the difference to the results kept, or
to FILE, and then writes instructions.json and instructions.md into the
directory of results; --quick counts few and only prints.

usage: instructions.py BIN_DIR RESULTS_DIR [--quick] [--against FILE]
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

import pictures
from host import keep, machine, run_main

MESSAGES = ("submit", "accepted", "collect", "result")
STEPS = {
    **{f"{verb}-{name}": f"{verb} {name.upper()}"
       for name in MESSAGES for verb in ("encode", "decode")},
    "queue-100": "a job created, pushed, popped and destroyed, 100 waiting",
    "queue-10000": "the same, 10,000 waiting",
}
PICTURES = {"scenery": "PNG of a photograph",
            "screen": "PNG of graphics"}
TIMES, QUICK_TIMES = 1000, 20
SIDE, QUICK_SIDE = 512, 64


def instructions(*argv):
    """How many a program executes, by callgrind."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
         *(str(a) for a in argv)],
        stderr=subprocess.PIPE, text=True, timeout=600)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        raise RuntimeError(f"callgrind failed: {done.stderr[-2000:]}")
    return int(found[1])


def of_step(program, step, times, *more):
    once = instructions(program, step, times, *more)
    twice = instructions(program, step, 2 * times, *more)
    return round((twice - once) / times)


def count(bin_dir, quick):
    program = bin_dir / "bench-steps"
    counts = {name: of_step(program, step, QUICK_TIMES if quick else TIMES)
              for step, name in STEPS.items()}
    side = QUICK_SIDE if quick else SIDE
    with tempfile.TemporaryDirectory() as directory:
        for picture in pictures.make(side):
            if picture.name in PICTURES:
                file = Path(directory) / "picture.png"
                Image.fromarray(picture.pixels).save(file)
                name = f"{PICTURES[picture.name]}, {side} x {side}"
                counts[name] = of_step(program, "png", 1, file)
    return counts


def version(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[0]


def difference(now, before):
    if not before:
        return "–"
    return f"{100 * (now - before) / before:+.1f} %"


def table(counts, before):
    lines = ["| step | instructions | against before |", "|---|---:|---:|"]
    for name, value in counts.items():
        lines.append(f"| {name} | {value:,} "
                     f"| {difference(value, before.get(name))} |")
    return "\n".join(lines)


def text(result, before):
    return f"""# Instructions of a step

`./dev bench instructions` on {result['machine']['cpu']}, {result['compiler']}, \
{result['valgrind']}.

{table(result['counts'], before)}
"""


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("bin_dir", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    kept = options.results / "instructions.json"
    against = options.against or kept
    before = {}
    if options.against or kept.exists():
        before = json.loads(against.read_text())["counts"]
    result = {"machine": machine(), "compiler": version("gcc", "--version"),
              "valgrind": version("valgrind", "--version"),
              "counts": count(options.bin_dir, options.quick)}
    print(text(result, before))
    if not options.quick:
        keep(options.results, "instructions", result, text(result, before))


if __name__ == "__main__":
    run_main(main)
