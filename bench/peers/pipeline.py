# SPDX-License-Identifier: Apache-2.0
"""The guide's pipeline, three ways: ./dev bench pipeline

Three processes generate latents and have them decoded by one endpoint: serially
(decode before the next), by the guide's queue and thread in each process, and
through latentd.  A decode takes what the tables of the Hugging Face guide to
hybrid inference give for a card, a model and a size; the guide does not say how
long generating takes, so there are two cases: four times as long as a decode,
and half as long.  All times are scaled down by the same factor.  Writes
pipeline.json, pipeline.md and pipeline.svg into the directory of results.

usage: pipeline.py BIN_DIR RESULTS_DIR [--quick]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

# At the end: bench/queue.py is not the one that requests wants.
HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import plot  # noqa: E402
import works  # noqa: E402
from host import keep, machine, run_main  # noqa: E402
from servers import Stage  # noqa: E402

# Seconds of a decode in the guide: docs/source/en/hybrid_inference/
# vae_decode.md of diffusers, tables "SD v1.5" and "SDXL", column "Time".
GUIDE_S = {
    ("RTX 4090", "sd-v1", 512): 0.031, ("RTX 4090", "sd-v1", 1024): 0.148,
    ("RTX 3090", "sd-v1", 512): 0.062, ("RTX 3090", "sd-v1", 1024): 0.253,
    ("RTX 4090", "sdxl", 512): 0.057, ("RTX 4090", "sdxl", 1024): 0.256,
    ("RTX 3090", "sdxl", 512): 0.107, ("RTX 3090", "sdxl", 1024): 0.459,
}
DRAWN = ("RTX 4090", "sdxl", 1024)
MODES = {"serial": "serial", "queue": "threaded queue", "latentd": "latentd"}
TIMES_DECODE = (4, 0.5)
PRODUCERS_N, PICTURES_N, PLACES, SCALE, REPEATS_N = 3, 12, 4, 0.25, 5
GENERATES, DECODES = plot.COLOURS[0], plot.COLOURS[1]


def let_go(children, mode):
    """Have all begin at once: when that was, and what they told."""
    for child in children:
        if child.stdout.readline() != "ready\n":
            raise RuntimeError(f"a producer ({mode}) does not start")
    begin_s = time.monotonic()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    return begin_s, [json.loads(child.stdout.readline()) for child in children]


def produce(stage, mode, model, body, generate_s, pictures_n):
    """Run the producers; what each did, in seconds from their start."""
    port = stage.ports["direct"]
    url = f"http://127.0.0.1:{port}{stage.prepared.work.target}"
    if mode == "latentd":
        stage.middle("latentd")
        url = f"ipc://{stage.directory}/latentd.sock"
    environment = {
        **os.environ, "no_proxy": "*",
        "PYTHONPATH": str(HERE.parents[1] / "client/python"),
        "LATENTD_LIBRARY": str(
            stage.bin.resolve().parent / "lib/liblatentd.so.0")}
    with ExitStack() as stack:
        children = [stack.enter_context(subprocess.Popen(
            [sys.executable, HERE / "producer.py", mode, url, model, body,
             str(generate_s), str(pictures_n)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=environment))
            for _ in range(PRODUCERS_N)]
        try:
            begin_s, told = let_go(children, mode)
        except BaseException:
            for child in children:
                child.kill()
            raise
    return [{what: [[b - begin_s, e - begin_s] for b, e in spans]
             for what, spans in one.items()} for one in told]


def wall_s(told):
    return max(end for one in told for spans in one.values()
               for _, end in spans)


def measure_row(bin_dir, directory, prepared, row, times, options):
    """{mode: [what the producers did, of each round]} of one row."""
    decode_s = GUIDE_S[row] * options["scale"]
    runs = {mode: [] for mode in MODES}
    with Stage(bin_dir, directory, prepared, 1000 * decode_s,
               PLACES) as stage:
        for _ in range(options["repeats"]):
            for mode in MODES:
                runs[mode].append(produce(
                    stage, mode, row[1], prepared.body, decode_s * times,
                    options["pictures"]))
    return runs


def measure(bin_dir, rows, options):
    """[row, times, {mode: rounds}] of every row and case."""
    directory = Path(tempfile.mkdtemp(prefix="latentd-bench-"))
    found = []
    try:
        prepared = works.prepare(
            sorted({f"{model}-{side}" for _, model, side in rows}), bin_dir,
            directory)
        for times in TIMES_DECODE:
            for row in rows:
                own = directory / f"stage-{len(found)}"
                own.mkdir()
                runs = measure_row(
                    bin_dir, own, prepared[f"{row[1]}-{row[2]}"], row, times,
                    options)
                found.append((row, times, runs))
                print(f"{' '.join(map(str, row))}, x {times}: " + ", ".join(
                    f"{mode} {wall_s(told[-1]):.2f} s"
                    for mode, told in runs.items()),
                    file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(directory)
    return found


def table(found, times, options):
    lines = ["| card | model | size | generate | decode | serial | threaded "
             "queue | latentd | serial ÷ latentd | queue ÷ latentd |",
             "|---|---|---|" + "---:|" * 7]
    for (card, model, side), own, runs in found:
        if own != times:
            continue
        decode_s = GUIDE_S[card, model, side]
        walls = {mode: [wall_s(told) / options["scale"] for told in rounds]
                 for mode, rounds in runs.items()}
        middle = {mode: statistics.median(some)
                  for mode, some in walls.items()}
        lines.append(
            f"| {card} | {model} | {side}² | {times * decode_s:.3f} s "
            f"| {decode_s:.3f} s | " + " | ".join(
                f"{middle[mode]:.2f} s ({min(some):.2f}–{max(some):.2f})"
                for mode, some in walls.items())
            + f" | {middle['serial'] / middle['latentd']:.2f} "
            f"| {middle['queue'] / middle['latentd']:.2f} |")
    return "\n".join(lines)


def drawn(found):
    """[row, times, {mode: first round}] of the row whose timeline is drawn."""
    row = DRAWN if any(r == DRAWN for r, _, _ in found) else found[0][0]
    return [(row, times, {mode: runs[mode][0] for mode in MODES})
            for own, times, runs in found if own == row]


def drawing(lines, options):
    """The timelines of what drawn() gives."""
    groups = []
    for row, times, first in lines:
        for mode, title in MODES.items():
            spans = []
            for i, one in enumerate(first[mode], 1):
                for what, colour in (("generated", GENERATES),
                                     ("decoded", DECODES)):
                    verb = "generates" if what == "generated" else "decodes"
                    spans += [plot.Span(
                        f"{i} {verb}", b / options["scale"],
                        e / options["scale"], colour)
                        for b, e in one[what]]
            groups.append((f"{title}, generating {times:g} × a decode",
                           spans))
    return plot.timeline(
        f"Three producers: {row[0]}, {row[1]}, {row[2]}²", groups,
        {"generating": GENERATES, "decoding at the endpoint": DECODES})


def text(result, found):
    where, o = result["machine"], result["options"]
    cases = "\n\n".join(
        f"## Generating takes {times:g} × a decode\n\n"
        f"{table(found, times, o)}" for times in TIMES_DECODE)
    return f"""# The guide's pipeline

`./dev bench pipeline` on {where['cpus']} cores of {where['cpu']}, Linux \
{where['kernel']}, load {where['load_before']:.1f} before;
{result['seconds'] / 60:.1f} minutes.

{PRODUCERS_N} processes make {o['pictures']} pictures each; one endpoint \
decodes {PLACES} at a time. A decode takes what
the guide's tables give for the card, the model and the size. The guide does \
not say how long
generating takes; there are two cases. Times ran {1 / o['scale']:g} times \
faster and are multiplied again
here, so what the programs add themselves counts {1 / o['scale']:g} times. \
Total wall time, medians of {o['repeats']}
rounds (least–most), in turns.

{cases}

![Timeline](pipeline.svg)

The guide's thread has one request at the endpoint at a time, latentd as many \
as it serves: what
that gives shows where latents come faster than one is decoded. Where \
generating is slower than
decoding, both hide the decoding as far as it can be hidden; what latentd \
adds there is not speed
but that a latent outlives an endpoint that fails and a process that ends.
"""


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("bin_dir", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    options = {"scale": SCALE, "repeats": REPEATS_N, "pictures": PICTURES_N}
    rows = list(GUIDE_S)
    if args.quick:
        options.update(repeats=1, pictures=4)
        rows = [DRAWN]
    began_s, facts = time.monotonic(), machine()
    found = measure(args.bin_dir, rows, options)
    result = {
        "machine": facts, "options": options,
        "seconds": time.monotonic() - began_s,
        "rows": [{"card": card, "model": model, "size": side,
                  "times_decode": times, "wall_s": {
                      mode: [wall_s(told) for told in rounds]
                      for mode, rounds in runs.items()}}
                 for (card, model, side), times, runs in found],
        "timeline": drawn(found)}
    print(text(result, found))
    if not args.quick:
        keep(args.results, "pipeline", result, text(result, found))
        (args.results / "pipeline.svg").write_text(
            drawing(drawn(found), options))


if __name__ == "__main__":
    run_main(main)
