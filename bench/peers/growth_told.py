# SPDX-License-Identifier: Apache-2.0
"""What ./dev bench growth says of its figures: ratios, tables and a plot."""

import math
import statistics

import plot
from told import number, spread, time_of

# What is not more than this is no growth.
RATIO_MAX = 1.05
CONFIDENCE = 0.95
# Fewer cannot be as sure as that.
ROUNDS_MIN = 6
TITLES = {"ipc": "nng over ipc", "gateway": "the gateway",
          "ipc-spool": "nng over ipc, spooled"}
COST = "middle_cpu_us"


def interval(values):
    """The median and where that of all such values is, by their order alone.

    As sure as CONFIDENCE; of few values it is the least and the most.
    """
    values, n = sorted(values), len(values)
    outside, k = 0.0, 0
    while k < (n - 1) // 2:
        outside += 2 * math.comb(n, k) / 2**n
        if outside > 1 - CONFIDENCE:
            break
        k += 1
    k = max(k, 1)
    return statistics.median(values), values[k - 1], values[n - k]


def ratios(pairs, key=COST):
    """Of the first's figure to the second's."""
    return interval([a[key] / b[key] for a, b in pairs])


def aged(life, key=COST):
    return ratios([(r["old"], r["fresh"]) for r in life["rounds"]], key)


def deep(depth, n, key=COST):
    return ratios(list(zip(depth[n], depth[0])), key)


def drained(rounds, part):
    return ratios([(parts[part], parts[0]) for parts in rounds])


def thirds(rounds):
    """What the last third of each drain cost, to the first third."""
    n = -(-len(rounds[0]) // 3)
    return interval([sum(one[COST] for one in parts[-n:])
                     / sum(one[COST] for one in parts[:n])
                     for parts in rounds])


def depths(result):
    """Keys of JSON are text."""
    return {int(n): runs for n, runs in result["depth"].items()}


def verdict(found, rounds_n):
    _, low, high = found
    if rounds_n < ROUNDS_MIN:
        return "too few rounds"
    if high <= RATIO_MAX:
        return "met"
    return "**not met**" if low > RATIO_MAX else "not decided"


def targets(result):
    """[what, (median, low, high), verdict] of all that must not grow."""
    found = []
    for way, life in result["done"].items():
        last = life["stretches"][-1]["end"]
        found.append((f"after {last:,} jobs ÷ a fresh daemon's, through "
                      f"{TITLES[way]}", aged(life),
                      len(life["rounds"])))
    depth, plan = depths(result), result["plan"]
    for n in sorted(depth)[1:]:
        found.append((f"beside {n:,} that wait ÷ beside none", deep(depth, n),
                      len(depth[n])))
    found.append((f"of the last third of {plan['drain_n']:,} that waited ÷ of "
                  "the first", thirds(result["drain"]), len(result["drain"])))
    return [(what, value, verdict(value, n)) for what, value, n in found]


def target_table(found):
    return "\n".join([
        "| CPU per job | ratio | |", "|---|---:|---|",
        *(f"| {what} | {ratio(value)} | {said} |"
          for what, value, said in found)])


def ratio(found):
    middle, low, high = found
    return f"{middle:.3f} ({low:.3f}–{high:.3f})"


def life_table(life):
    lines = [
        "| jobs done | jobs/s | p50 | p99 | CPU/job µs | a fresh daemon's "
        "| ratio | switches/job | resident MiB | anonymous MiB |",
        "|---:|" + "---:|" * 9]
    for s in life["stretches"]:
        old, fresh = s["old"], s["fresh"]
        lines.append(
            f"| {s['begin']:,} to {s['end']:,} "
            f"| {number(old['jobs_per_s'])} | {time_of(old['p50_us'])} "
            f"| {time_of(old['p99_us'])} | {number(old[COST])} "
            f"| {number(fresh[COST])} | {old[COST] / fresh[COST]:.3f} "
            f"| {number(old['middle_switches'])} "
            f"| {old['middle_rss_mib']:.1f} "
            f"| {old['middle_anonymous_mib']:.1f} |")
    return "\n".join(lines)


def life_text(way, life):
    rounds = life["rounds"]
    fresh = [r["fresh"] for r in rounds]
    old = [r["old"] for r in rounds]
    memory = statistics.median(
        one["middle_anonymous_mib"] for one in fresh)
    last = life["stretches"][-1]["end"]
    return f"""## Jobs done: {TITLES[way]}

{life_table(life)}

After them in {len(rounds)} turns each, {old[0]['jobs']:,} jobs a turn: CPU \
per job of the old daemon ÷ of a
fresh one **{ratio(aged(life))}**; jobs/s \
{ratio(aged(life, 'jobs_per_s'))}, p50 {ratio(aged(life, 'p50_us'))}, \
p99 {ratio(aged(life, 'p99_us'))}, context switches \
{ratio(aged(life, 'middle_switches'))}. At the end of a turn a fresh daemon \
has {memory:.1f} MiB of anonymous memory,
the one of {last + sum(one['jobs'] for one in old):,} jobs \
{old[-1]['middle_anonymous_mib']:.1f} MiB.
"""


def depth_text(result):
    depth, lines = depths(result), [
        "| jobs that wait | CPU/job µs | ÷ beside none | jobs/s | ÷ beside "
        "none | p50 | p99 | anonymous MiB |", "|---:|" + "---:|" * 7]
    for n, runs in sorted(depth.items()):
        cost, rate, p50, p99, memory = (
            spread(runs, key)[0] for key in (
                COST, "jobs_per_s", "p50_us", "p99_us",
                "middle_anonymous_mib"))
        compared = [ratio(deep(depth, n, key)) if n else "–"
                    for key in (COST, "jobs_per_s")]
        lines.append(f"| {n:,} | {number(cost)} | {compared[0]} "
                     f"| {number(rate)} | {compared[1]} | {time_of(p50)} "
                     f"| {time_of(p99)} | {memory:.1f} |")
    return "\n".join(lines)


def drain_text(result):
    every, rounds = result["plan"]["drain_every"], result["drain"]
    lines = ["| of those that waited | CPU/job µs | ÷ the first "
             "| switches/job |", "|---:|---:|---:|---:|"]
    for i in range(len(rounds[0])):
        cost, switches = (spread([parts[i] for parts in rounds], key)[0]
                          for key in (COST, "middle_switches"))
        lines.append(f"| {i * every:,} to {(i + 1) * every:,} "
                     f"| {number(cost)} | {ratio(drained(rounds, i))} "
                     f"| {number(switches)} |")
    ahead = max(one["ahead"] for parts in rounds for one in parts)
    return "\n".join([*lines, "", f"At the most {ahead} results were on their "
                      "way when a line of these was drawn."])


def text(result):
    where, plan = result["machine"], result["plan"]
    lives = "\n".join(life_text(way, life)
                      for way, life in result["done"].items())
    found = targets(result)
    met = sum(said == "met" for _, _, said in found)
    busy = ("**The machine was busy: take the ratios, not the figures.**\n\n"
            if where["load_before"] > 0.5 else "")
    return f"""# Whether a job's cost grows

`./dev bench growth` on {where['cpus']} cores of {where['cpu']}, Linux \
{where['kernel']}, load {where['load_before']:.1f} before;
{result['seconds'] / 60:.1f} minutes.

{busy}SDXL latents, an endpoint that answers at once, 16 in flight. CPU time, \
context switches and
memory are the daemon's. What is compared took turns: ratios are medians of \
{plan['rounds']} rounds, and in
brackets where the median of all such rounds is, {100 * CONFIDENCE:.0f} % sure \
(of fewer than six: the least and the
most). A ratio of at most {RATIO_MAX} is no growth: met when all of the \
interval is, not met when none of it
is, and otherwise not decided by this run.

{met} of {len(found)} are met.

{target_table(found)}

![Ratios](growth.svg)

{lives}
## Jobs waiting

Jobs through nng over ipc, in a daemon that holds so many small jobs of \
another model, whose endpoint
is silent.

{depth_text(result)}

## Draining

{plan['drain_n']:,} small jobs (64²) waited while the daemon was paused; \
their cost as their results come,
{plan['drain_every']:,} at a time, from an endpoint that serves 1,600 a \
second, one by one; medians of
{plan['drains']} rounds.

{drain_text(result)}
"""


def bar(label, found, colour=plot.COLOURS[0]):
    middle, least, most = found
    return plot.Bar(label, middle, least, most, f"{middle:.3f}", colour)


def drawing(result):
    groups, grey = [], plot.GREY
    for way, life in result["done"].items():
        rows = []
        for s in life["stretches"]:
            one = s["old"][COST] / s["fresh"][COST]
            rows.append(bar(f"{s['begin']:,} to {s['end']:,}",
                            (one, one, one), grey))
        rows.append(bar(f"after {life['stretches'][-1]['end']:,}, "
                        f"{len(life['rounds'])} rounds", aged(life)))
        groups.append((f"Jobs done, {TITLES[way]}: ÷ a fresh daemon", rows))
    depth, every = depths(result), result["plan"]["drain_every"]
    groups.append(("Jobs waiting: ÷ none", [
        bar(f"{n:,} wait", deep(depth, n)) for n in sorted(depth)[1:]]))
    groups.append(("Draining: ÷ the first", [
        bar(f"{i * every:,} to {(i + 1) * every:,}",
            drained(result["drain"], i))
        for i in range(1, len(result["drain"][0]))]))
    return plot.bars(
        "CPU per job: what it grows to, as a ratio", groups,
        "Blue: medians of rounds, with lines where that of all such rounds "
        f"is, {100 * CONFIDENCE:.0f} % sure; grey: a single stretch each",
        mark=1)
