# SPDX-License-Identifier: Apache-2.0
"""Nothing that was accepted is lost: the daemon is killed at random moments
under load while its endpoints misbehave; see tests/support/kill.py.

The moments come from a seed, which a failure tells; LATENTD_KILL_SEED sets it.
LATENTD_KILL_CYCLES (./dev test --kill N) sets how often the daemon is killed.
"""

import os
import random

import pytest

from kill import House

SUITE_CYCLES_N = 100
# Each builds up what the sanitizers' shadow slows down.
SANITIZED_CYCLES_N = 15


@pytest.fixture
def start_house(start_endpoint, short_tmp, stack):
    def start(bin=None):
        seed = int(os.environ.get("LATENTD_KILL_SEED")
                   or random.randrange(1 << 31))
        endpoints = [
            start_endpoint(service_ms=3, parallel=4, control=True,
                           directory=bin)
            for _ in range(2)
        ]
        house = House(short_tmp, endpoints, seed, bin)
        print(f"LATENTD_KILL_SEED={seed}")
        stack.callback(house.close)
        return house

    return start


def test_no_accepted_job_is_lost_however_often_the_daemon_is_killed(
    start_house
):
    cycles_n = int(os.environ.get("LATENTD_KILL_CYCLES") or SUITE_CYCLES_N)
    house = start_house(os.environ.get("LATENTD_RELEASE_BIN_DIR"))
    jobs_n = house.run(cycles_n)
    print(f"{jobs_n} jobs, {house.tell()}")
    assert house.life > cycles_n
    # Each life took jobs, so that there was something to lose.
    assert jobs_n > cycles_n


def test_nor_is_a_byte_of_memory_misused_on_the_way(start_house):
    house = start_house()
    jobs_n = house.run(SANITIZED_CYCLES_N)
    print(f"{jobs_n} jobs, {house.tell()}")
