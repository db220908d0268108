# SPDX-License-Identifier: Apache-2.0
"""What ./dev bench peers says: targets, tables and plots of its figures."""

import platform
import re
import statistics
import subprocess

import plot
import servers
from scenarios import CONTESTANTS, SCENARIOS

CEILING_MIN, GUIDE_MIN, RATE_MIN, CPU_MAX = 0.985, 16, 0.9, 1.2
ADDED_P50_US, ADDED_P99_US = 220, 1000
MEMORY_PART, MEMORY_MORE_BYTES = 1.02, 20 * 2**20
LIBRARIES = {"curl": "libcurl", "producers": "latentd", "nng": "nng"}
OWN = {"ipc": "nng over ipc", "tcp": "nng over tcp", "gateway": "the gateway"}


def spread(runs, key):
    values = [one[key] for one in runs]
    return statistics.median(values), min(values), max(values)


def median(runs, key):
    return spread(runs, key)[0]


def compared(runs, name, other, key, how):
    """The median of how(own, other's) over the rounds; None: not measured."""
    if name not in runs or other not in runs:
        return None
    return statistics.median(
        how(a[key], b[key]) for a, b in zip(runs[name], runs[other]))


def of(a, b):
    return a / b if b else float("inf")


def more(a, b):
    return a - b


def target(what, value, bound, least, unit=""):
    met = value >= bound if least else value <= bound
    sign = "≥" if least else "≤"
    return {"what": what, "value": value, "bound": f"{sign} {bound}{unit}",
            "unit": unit, "met": met}


def targets(result):
    """[what, value, bound, met] of whatever was measured."""
    runs, found = result["runs"], []

    def add(scenario, name, other, key, how, *rest):
        value = compared(runs.get(scenario, {}), name, other, key, how)
        if value is not None:
            found.append(target(rest[0], value, *rest[1:]))

    for name, through in OWN.items():
        ceiling = SCENARIOS["gpu"].ceiling
        if name in runs.get("gpu", {}):
            rate = median(runs["gpu"][name], "jobs_per_s")
            found.append(target(
                f"50 ms × 16, 64 in flight, through {through}: part of the "
                "ceiling", rate / ceiling, CEILING_MIN, True))
        add("gpu", name, "guide", "jobs_per_s", of,
            f"the same: times the guide's pattern, {through}", GUIDE_MIN, True)
        add("sixteen", name, "haproxy", "jobs_per_s", of,
            "service time 0, 16 in flight: jobs/s ÷ HAProxy's, through "
            f"{through}", RATE_MIN, True)
        add("sixteen", name, "haproxy", "middle_cpu_us", of,
            f"the same: CPU per job ÷ HAProxy's, {through}", CPU_MAX, False)
        add("alone", name, "curl", "p50_us", more,
            f"1 in flight: p50 more than curl alone, {through}",
            ADDED_P50_US, False, " µs")
        add("gpu-16", name, "curl", "p99_us", more,
            f"50 ms × 16, 16 in flight: p99 more than curl alone, {through}",
            ADDED_P99_US, False, " µs")
    if (memory := result.get("memory")):
        most = MEMORY_PART * memory["payload_bytes"] + MEMORY_MORE_BYTES
        found.append(target(
            f"resident memory of {memory['jobs']:,} queued SDXL latents",
            memory["resident_bytes"] / 2**20, round(most / 2**20), False,
            " MiB"))
    return found


def versions(results):
    """{program: version} of what ran."""
    found = {"python": platform.python_version()}
    for runs in results.values():
        for name, some in runs.items():
            client = CONTESTANTS[name].client
            said = some[-1]["version"]
            if client in LIBRARIES:
                found[LIBRARIES[client]] = said
            else:
                found.update([said.split()])
    for program in (servers.haproxy(), servers.nginx()):
        if program is not None:
            done = subprocess.run(
                [program, "-v"], stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, check=True)
            match = re.search(r"(?i)(haproxy|nginx)\D*([\d.]+\d)", done.stdout)
            found[match[1].lower()] = match[2]
    return found


def number(value, digits=3):
    """So many digits, and no exponent."""
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    for places in range(digits):
        if value >= 10 ** (digits - 1 - places):
            return f"{value:.{places}f}"
    return f"{value:.{digits - 1}f}"


def time_of(us):
    return f"{number(us / 1000)} ms" if us >= 10000 else f"{number(us)} µs"


def row(name, runs, floor):
    rate, least, most = spread(runs, "jobs_per_s")
    behind = "middle_cpu_us" in runs[0]

    def middle(key):
        return number(median(runs, f"middle_{key}")) if behind else "–"

    times = number(statistics.median(
        a["jobs_per_s"] / b["jobs_per_s"] for a, b in zip(runs, floor))) \
        if floor else "–"
    p99, p99_least, p99_most = spread(runs, "p99_us")
    return (
        f"| {CONTESTANTS[name].title} | {number(rate)} "
        f"({number(least)}–{number(most)}) | {times} "
        f"| {time_of(median(runs, 'p50_us'))} | {time_of(p99)} "
        f"({time_of(p99_least)}–{time_of(p99_most)}) "
        f"| {middle('cpu_us')} | {number(median(runs, 'client_cpu_us'))} "
        f"| {number(median(runs, 'endpoint_cpu_us'))} "
        f"| {middle('switches')} "
        f"| {number(median(runs, 'client_switches'))} "
        f"| {middle('rss_mib')} "
        f"| {number(median(runs, 'client_rss_mib'))} "
        f"| {sum(one['jobs'] for one in runs):,} |")


def table(key, runs, size):
    scenario = SCENARIOS[key]
    about = (f"{size['latent']:,} bytes out, {size['reply']:,} back"
             + (f"; the ceiling is {scenario.ceiling:.1f} jobs/s"
                if scenario.ceiling else ""))
    return "\n".join([
        f"## {scenario.title}", "", f"{about}.", "",
        "| | jobs/s (spread) | ÷ curl | p50 | p99 (spread) | CPU/job µs: "
        "middle | client | endpoint | switches/job: middle | client | MiB: "
        "middle | client | jobs |",
        "|---|" + "---:|" * 12,
        *(row(name, some, runs.get("curl")) for name, some in runs.items()),
        ""])


def target_table(found):
    lines = ["| target | measured | bound | |", "|---|---:|---:|---|"]
    for t in found:
        lines.append(f"| {t['what']} | {t['value']:.3g}{t['unit']} "
                     if t["value"] < 100 else
                     f"| {t['what']} | {t['value']:,.0f}{t['unit']} ")
        lines[-1] += (f"| {t['bound']} "
                      f"| {'met' if t['met'] else '**not met**'} |")
    return "\n".join(lines)


def text(result):
    where, load = result["machine"], result["machine"]["load_before"]
    busy = (f"**The machine was busy (load {load:.1f} before): take the "
            "ratios, not the figures.**\n\n" if load > 0.5 else "")
    said = ", ".join(f"{k} {v}" for k, v in sorted(
        result["versions"].items()))
    absent = (f"Not here: {', '.join(result['absent'])}; targets that compare "
              "with them are left out.\n\n" if result["absent"] else "")
    nng = ("nng alone is one request and one reply of these sizes, answered "
           "from memory:\nwhat remains when latentd and the endpoint cost "
           "nothing.\n" if "nng" in result["versions"] else "")
    met = sum(t["met"] for t in result["targets"])
    tables = "\n".join(table(key, runs, result["bytes"][key])
                       for key, runs in result["runs"].items())
    return f"""# latentd beside its peers

`./dev bench peers` on {where['cpus']} cores of {where['cpu']}, Linux \
{where['kernel']}, load {load:.1f} before;
{said}. {result['seconds'] / 60:.1f} minutes.

{busy}{absent}Contestants took turns; medians of {result['repeats']} rounds, \
with the least and the most. Load generator,
what stands in the middle and the endpoint share the processors. HAProxy and \
nginx are not
queues: they pass everything on at once, and log nothing, as latentd does \
here unless it says so.
{nng}The guide has always 1 in flight. Replies are counted and measured, not \
decoded.

* PNG: liblatentd's producers get pictures that latentd has written itself, \
from pixels; the others
  get what the endpoint had written before.
* Of several producers those of liblatentd are a thread and a client each; \
curl is one process with
  a connection for each request in flight, as everywhere.
* Contestants through latentd with the same settings share one daemon for a \
scenario, so its memory is
  what all of them need.
* A p99 is of each turn: of at most 100 jobs, the longest.

{met} of {len(result['targets'])} targets met; ratios and differences are \
medians of those of each round.

{target_table(result['targets'])}

{tables}"""


def colour_of(name):
    one = CONTESTANTS[name]
    if name == "curl" or one.client == "nng":
        return plot.GREY
    if one.middle in ("haproxy", "nginx"):
        return plot.COLOURS[3]
    return plot.COLOURS[0] if one.middle else plot.COLOURS[1]


def group(result, key, column, say, part=1):
    runs = result["runs"].get(key, {})
    rows = []
    for name, some in runs.items():
        if column in some[0]:
            value, least, most = (v / part for v in spread(some, column))
            rows.append(plot.Bar(CONTESTANTS[name].title, value, least, most,
                                 say(value), colour_of(name)))
    return SCENARIOS[key].title, rows


def plots(result):
    """{name: SVG} of what was measured."""
    about = f"Medians of {result['repeats']} rounds; lines from the least " \
        "to the most"
    zero = [k for k in result["runs"] if SCENARIOS[k].ceiling is None]
    timed = [k for k in result["runs"] if SCENARIOS[k].ceiling]
    return {
        "rate": plot.bars("Jobs per second, service time 0", [
            group(result, k, "jobs_per_s", number) for k in zero], about),
        "ceiling": plot.bars("Part of what the endpoint can serve", [
            group(result, k, "jobs_per_s", lambda v: f"{100 * v:.1f} %",
                  SCENARIOS[k].ceiling) for k in timed], about, mark=1),
        "latency": plot.bars("Median time of a job", [
            group(result, k, "p50_us", time_of)
            for k in ("alone", "sixteen", "gpu-16")], about),
        "cpu": plot.bars("CPU time per job of what stands in the middle", [
            group(result, k, "middle_cpu_us", time_of) for k in zero],
            about),
    }
