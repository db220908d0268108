# SPDX-License-Identifier: Apache-2.0
"""What writing a PNG takes: ./dev bench png [--quick] [FILE...]

Pictures of 1024 x 1024 (pictures.py), and the middle of each image file that
is named, scaled to that, are written by latentd's writer, by libpng as it is,
and by libpng with its best settings for photographs (Paeth, Huffman codes
only), in turns on one thread (bench-png).  Writes png.json and png.md into the
directory of results; --quick takes small pictures, once, and only prints.

usage: png.py BIN_DIR RESULTS_DIR [--quick] [FILE...]
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import pictures
from host import keep, machine, run_main

REPEATS, QUICK_REPEATS = 5, 1
SIDE, QUICK_SIDE = 1024, 128
KINDS = {"photo": "photographs", "given": "files given", "noise": "noise",
         "flat": "graphics", "alpha": "grey and alpha"}


def middle(file, side):
    """The largest square in the middle of an image file, scaled."""
    image = Image.open(file).convert("RGB")
    least = min(image.size)
    left, top = ((length - least) // 2 for length in image.size)
    return np.asarray(image.resize(
        (side, side), Image.LANCZOS,
        (left, top, left + least, top + least)))


def measure(bin_dir, files, repeats):
    return json.loads(subprocess.run(
        [bin_dir / "bench-png", str(repeats), *files],
        stdout=subprocess.PIPE, check=True, timeout=1800).stdout)


def judge(name, kind, measured):
    """One line of the table, from one answer of bench-png."""
    result = {"name": name, "kind": kind,
              "pixels_bytes": measured["pixels_bytes"]}
    default = measured["libpng_default"]
    default_ms = statistics.median(default["ms"])
    for writer in ("latentd", "libpng_default", "libpng_tuned"):
        turns = measured[writer]["ms"]
        result[writer] = {
            "ms": statistics.median(turns), "ms_least": min(turns),
            "ms_most": max(turns), "bytes": measured[writer]["bytes"],
            "speed": default_ms / statistics.median(turns),
            "size": measured[writer]["bytes"] / default["bytes"]}
    return result


def mean(values):
    return math.exp(statistics.fmean(math.log(v) for v in values))


def summary(results):
    found = {}
    for kind in KINDS:
        of_kind = [r["latentd"] for r in results if r["kind"] == kind]
        if of_kind:
            found[kind] = {
                "pictures": len(of_kind),
                "speed": mean(r["speed"] for r in of_kind),
                "speed_least": min(r["speed"] for r in of_kind),
                "size": mean(r["size"] for r in of_kind),
                "size_most": max(r["size"] for r in of_kind)}
    return found


def table(results):
    lines = ["| picture | libpng, ms | latentd, ms (spread) | times faster "
             "| size | libpng tuned: times faster | size |",
             "|---|---:|---:|---:|---:|---:|---:|"]
    for result in results:
        own, tuned = result["latentd"], result["libpng_tuned"]
        lines.append(
            f"| {result['name']} | {result['libpng_default']['ms']:.0f} "
            f"| {own['ms']:.1f} ({own['ms_least']:.1f}–{own['ms_most']:.1f}) "
            f"| {own['speed']:.1f} | {own['size']:.3f} "
            f"| {tuned['speed']:.1f} | {tuned['size']:.3f} |")
    return "\n".join(lines)


def summary_table(found):
    lines = ["| kind | pictures | times faster (least) | size (most) |",
             "|---|---:|---:|---:|"]
    for kind, s in found.items():
        lines.append(
            f"| {KINDS[kind]} | {s['pictures']} | {s['speed']:.1f} "
            f"({s['speed_least']:.1f}) | {s['size']:.3f} "
            f"({s['size_most']:.3f}) |")
    return "\n".join(lines)


def text(result):
    where = result["machine"]
    return f"""# Writing PNG

`./dev bench png` on {where['cpus']} cores of {where['cpu']}, Linux \
{where['kernel']}, load {where['load_before']:.1f} before.

CPU time of one thread, the median of {result['repeats']} turns; times and \
sizes against libpng's
defaults in the same run, means are geometric. {result['side']} pixels square.

{summary_table(result['summary'])}

{table(result['pictures'])}
"""


def main():
    arguments = sys.argv[1:]
    quick = "--quick" in arguments
    arguments = [a for a in arguments if a != "--quick"]
    if len(arguments) < 2 or any(a.startswith("-") for a in arguments):
        sys.exit(__doc__)
    bin_dir, results, *given = (Path(a) for a in arguments)
    result = {"machine": machine(),
              "side": QUICK_SIDE if quick else SIDE,
              "repeats": QUICK_REPEATS if quick else REPEATS}
    with tempfile.TemporaryDirectory() as directory:
        made = pictures.make(result["side"])
        made += [pictures.Picture(file.stem, "given",
                                  middle(file, result["side"]))
                 for file in given]
        files = [Path(directory) / f"{i}.png" for i in range(len(made))]
        for picture, file in zip(made, files):
            Image.fromarray(picture.pixels).save(file, compress_level=1)
        measured = measure(bin_dir, files, result["repeats"])
    result["pictures"] = [judge(picture.name, picture.kind, one)
                          for picture, one in zip(made, measured, strict=True)]
    result["summary"] = summary(result["pictures"])
    if not quick:
        keep(results, "png", result, text(result))
    print(text(result))


if __name__ == "__main__":
    run_main(main)
