# SPDX-License-Identifier: Apache-2.0
"""What the queue costs: ./dev bench queue

Nanoseconds of each step at three depths (bench-queue), and the memory of a full
queue (queue_memory.py).  Writes queue.json and queue.md into the directory of
results.

usage: queue.py BIN_DIR RESULTS_DIR
"""

import json
import subprocess
import sys
from pathlib import Path

import queue_memory
from host import keep, machine, run_main

STEPS = {"push_ns": "push", "pop_ns": "pop", "cancel_ns": "cancel",
         "deadline_ns": "deadline, watched and forgotten"}


def table(costs):
    first = costs[0]
    lines = ["| step | " + " | ".join(
                 f"{c['depth']:,} jobs" for c in costs) + " | ratio |",
             "|---|" + "---:|" * (len(costs) + 1)]
    for step, name in STEPS.items():
        lines.append(f"| {name} | " + " | ".join(
            f"{c[step]:,} ns" for c in costs) +
            f" | {costs[-1][step] / first[step]:.1f} |")
    return "\n".join(lines)


def text(result):
    memory, where = result["memory"], result["machine"]
    mib = {name: value / 2**20 for name, value in memory.items()}
    return f"""# The queue's cost

`./dev bench queue` on {where['cpus']} cores of {where['cpu']}, Linux \
{where['kernel']}, load {where['load_before']:.1f} before.

Time of a step with so many jobs waiting, of 1,000 producers, in four classes
and of mixed sizes; the ratio is of the deepest queue to the shallowest.

{table(result['costs'])}

A full queue of {memory['jobs']:,} SDXL latents ({mib['payload_bytes']:.0f} \
MiB) is {mib['resident_bytes']:.0f} MiB of resident memory
({mib['resident_most_bytes']:.0f} MiB at the most, {mib['empty_bytes']:.0f} \
MiB when empty); the target of 1.05 x their bytes + 32 MiB
is {mib['target_bytes']:.0f} MiB and {'met' if memory['met'] else 'not met'}.
"""


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    bin_dir, results = Path(sys.argv[1]), Path(sys.argv[2])
    result = {"machine": machine()}
    result["costs"] = json.loads(subprocess.run(
        [bin_dir / "bench-queue"], stdout=subprocess.PIPE, check=True,
        timeout=300).stdout)
    result["memory"] = queue_memory.measure(bin_dir)
    keep(results, "queue", result, text(result))
    print(text(result))


if __name__ == "__main__":
    run_main(main)
