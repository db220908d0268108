# SPDX-License-Identifier: Apache-2.0
"""The benchmark of growth runs and counts right; no cost is asserted."""

import json
import sys
import xml.etree.ElementTree as xml

import pytest

import processes

sys.path.insert(0, str(processes.SOURCE_DIR / "bench/peers"))

import growth  # noqa: E402
import growth_told  # noqa: E402

# Two producers share what is drained.
growth.PRODUCER_JOBS_N = 50

PLAN = growth.Plan(
    ends=(20, 60), spool_ends=(20, 40), fresh_n=24, warm_n=16, rounds=3,
    turn_n=18, fresh_rounds=2, depths=(0, 20), drain_n=100, drain_every=25,
    drains=2)


@pytest.fixture(scope="module")
def found():
    """What it measures, as it is read again."""
    return json.loads(json.dumps(growth.measure(
        processes.bin_dir(), PLAN, ("small", "small"))))


@pytest.mark.parametrize("way, ends", [
    ("ipc", PLAN.ends), ("gateway", PLAN.ends),
    ("ipc-spool", PLAN.spool_ends)])
def test_a_life_has_every_job_once(found, way, ends):
    life = found["done"][way]
    assert [s["end"] for s in life["stretches"]] == list(ends)
    # peers.run() has seen to it that the endpoint counted as many.
    assert sum(s["old"]["jobs"] for s in life["stretches"]) == ends[-1]
    assert {s["fresh"]["jobs"] for s in life["stretches"]} == {24}
    assert [r[name]["jobs"] for r in life["rounds"]
            for name in ("old", "fresh")] == 2 * PLAN.rounds * [18]
    for one in life["stretches"] + life["rounds"]:
        for figures in (one["old"], one["fresh"]):
            assert figures["middle_cpu_us"] > 0
            assert 1 < figures["middle_anonymous_mib"] \
                < figures["middle_rss_mib"]


def test_jobs_flow_past_those_that_wait(found):
    assert list(found["depth"]) == [str(n) for n in PLAN.depths]
    for runs in found["depth"].values():
        assert [one["jobs"] for one in runs] == [PLAN.turn_n] * PLAN.rounds


def test_what_waited_is_drained_in_parts(found):
    assert len(found["drain"]) == PLAN.drains
    for parts in found["drain"]:
        assert len(parts) == 4
        # A line that is read late leaves nothing for the part after it.
        assert sum(part["middle_cpu_us"] for part in parts) > 0
        assert all(0 <= part["ahead"] <= 75 for part in parts)
        # All have been served when the last result is there.
        assert parts[-1]["ahead"] == 0


def a_run(cost_us, **more):
    return {"jobs": 10, "jobs_per_s": 100, "p50_us": 100, "p99_us": 200,
            "middle_cpu_us": cost_us, "middle_switches": 2,
            "middle_rss_mib": 9, "middle_anonymous_mib": 5, **more}


def a_life(*rounds):
    pairs = [{"old": a_run(old), "fresh": a_run(fresh)}
             for old, fresh in rounds]
    return {"stretches": [{"begin": 0, "end": 1000, **pairs[0]}],
            "rounds": 2 * pairs}


RESULT = {
    "machine": {"cpu": "one", "cpus": 2, "kernel": "6", "load_before": 0.1},
    "seconds": 60, "plan": {
        "rounds": 6, "drains": 6, "drain_n": 300, "drain_every": 100},
    # Ratios of each round: 0.5, 1, 2; of the medians it would be 1.5.
    "done": {"ipc": a_life((100, 200), (150, 150), (200, 100)),
             "gateway": a_life((110, 100), (130, 100), (120, 100))},
    "depth": {"0": 2 * [a_run(c) for c in (100, 110, 120)],
              "1000": 2 * [a_run(c) for c in (200, 110, 126)]},
    "drain": [[{"middle_cpu_us": c, "middle_switches": 4, "ahead": ahead}
               for c, ahead in parts]
              for parts in 3 * (((100, 3), (110, 9), (90, 0)),
                                ((100, 5), (130, 2), (110, 0)))]}


def test_growth_is_judged_round_by_round():
    found = {what: (value, said)
             for what, value, said in growth_told.targets(RESULT)}
    assert found == {
        "after 1,000 jobs ÷ a fresh daemon's, through nng over ipc":
            ((1, 0.5, 2), "not decided"),
        "after 1,000 jobs ÷ a fresh daemon's, through the gateway":
            ((1.2, 1.1, 1.3), "**not met**"),
        "beside 1,000 that wait ÷ beside none":
            ((1.05, 1, 2), "not decided"),
        "of the last third of 300 that waited ÷ of the first":
            ((1, 0.9, 1.1), "not decided")}
    assert growth_told.verdict((1, 0.9, 1.04), 6) == "met"
    assert growth_told.verdict((1, 0.9, 1.04), 5) == "too few rounds"


@pytest.mark.parametrize("n, cut", [(3, 0), (6, 0), (9, 1), (40, 13)])
def test_an_interval_is_as_sure_as_it_says(n, cut):
    middle, low, high = growth_told.interval(list(range(n - 1, -1, -1)))
    assert (low, high) == (cut, n - 1 - cut) and middle == (n - 1) / 2


def test_the_page_has_every_figure():
    text = growth_told.text(RESULT)
    assert "0 of 4 are met" in text and text.count("**not met**") == 1
    assert "**1.200 (1.100–1.300)**" in text
    assert "| 1,000 | 126 | 1.050 (1.000–2.000) |" in text
    assert "| 100 to 200 | 120 | 1.200 (1.100–1.300) | 4.00 |" in text
    assert "At the most 9 results" in text
    assert "machine was busy" not in text


def test_the_plot_has_a_bar_for_every_ratio():
    words = [t.text for t in xml.fromstring(growth_told.drawing(RESULT)).iter(
        "{http://www.w3.org/2000/svg}text")]
    assert words.count("after 1,000, 6 rounds") == 2
    assert {"1,000 wait", "100 to 200", "200 to 300"} <= set(words)
