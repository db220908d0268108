# SPDX-License-Identifier: Apache-2.0
"""All of latentd-endpoint's fault switches at once: repeatable, counted."""

import threading

import processes
from raw import HEALTHY_BYTES, Raw

ALL = [
    "--drop-rate", "0.1", "--fail-rate", "0.1:503", "--fail-rate", "0.1",
    "--oom-rate", "0.1", "--stall-rate", "0.1", "--stall-ms", "1",
    "--truncate-rate", "0.1", "--garbage-rate", "0.1",
    "--wrong-size-rate", "0.1", "--slow-rate", "0.1:2",
]


def outcomes(endpoint, n=80):
    found = []
    for _ in range(n):
        raw = Raw(endpoint)
        raw.close()
        found.append((raw.ended, raw.head.split(b"\r\n")[0], raw.body))
    return found


def test_same_seed_gives_the_same_faults(start_endpoint):
    first = start_endpoint(*ALL, "--seed", "5", control=True)
    second = start_endpoint(*ALL, control=True)
    second.control(seed=5)
    seen = outcomes(first)
    assert outcomes(second) == seen
    # And again, when the seed is set again.
    first.control(seed=5)
    assert outcomes(first) == seen
    first.control(seed=6)
    assert outcomes(first) != seen


def test_all_faults_together_are_counted_and_it_stays_well(start_endpoint):
    endpoint = start_endpoint(*ALL, control=True, parallel=4)
    lock, seen = threading.Lock(), []

    def client():
        found = outcomes(endpoint, 60)
        with lock:
            seen.extend(found)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(processes.PATIENCE_S)
    assert len(seen) == 240
    told = endpoint.control()
    faults = told["faults"]
    assert told["received"]["/sdxl"] == 240
    ended = [one[0] for one in seen]
    assert ended.count("reset") == faults["drop"] > 0
    assert ended.count("closed") == faults["truncate"] > 0
    status = [one[1] for one in seen if one[0] == "whole"]
    bad = [line for line in status if b" 50" in line]
    assert len(bad) == faults["fail"] > 0
    assert sum(b" 400 " in line for line in status) == faults["oom"] > 0
    assert faults["stall"] > 0 and faults["slow"] > 0
    sizes = [len(one[2]) for one in seen if one[1].endswith(b"200 OK")]
    assert sizes.count(40 * 32 * 3) == faults["wrong-size"] > 0
    good = max({one[2] for one in seen if len(one[2]) == HEALTHY_BYTES},
               key=[one[2] for one in seen].count)
    noise = [one for one in seen
             if len(one[2]) == HEALTHY_BYTES and one[2] != good]
    assert len(noise) == faults["garbage"] > 0
    # Switched off, everything is right again.
    endpoint.control(**{name: 0 for name in (
        "drop_rate", "fail_rate", "oom_rate", "stall_rate", "truncate_rate",
        "garbage_rate", "wrong_size_rate", "slow_rate")})
    assert [one[2] for one in outcomes(endpoint, 10)] == [good] * 10
