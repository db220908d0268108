# SPDX-License-Identifier: Apache-2.0
"""Who goes first: classes, and fair shares within them.

The endpoint serves one at a time and is held until all jobs are queued, so
that the order in which they end is the order that the daemon chose.
"""

import threading

import pytest

from fakes import good, held
from files import write_latent
from order import wait_ended
from samples import latent

Z = latent(seed=1)
CLASSES = ["urgent", "high", "normal", "low"]


@pytest.fixture
def gate(stack):
    """An event that opens at the end, so that no fake waits for ever."""
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


@pytest.fixture
def plugged(start_fake, start_daemon, connect, gate):
    """plugged(model="sd-v1", **sections): a daemon whose endpoint works on
    the job of producer "plug" until the gate opens."""

    def start(model="sd-v1", **sections):
        fake = start_fake(held(gate), then=good)
        daemon = start_daemon(
            {**fake.section(model=model, parallel=1), **sections})
        plug = connect(daemon, "plug")
        submit(plug, "plug", latent(model, frames=1))
        fake.wait_requests(1)
        return daemon

    return start


def submit(producer, key, z=Z, **fields):
    return producer.submit(key, z.data, **z.fields, output="pixels", **fields)


def order_of(daemon, n):
    """(producer, key) of the n jobs that ended after the plug."""
    first, *others = wait_ended(daemon, n + 1)
    assert first.producer == "plug"
    assert {job.outcome for job in others} == {"done"}
    return [(job.producer, job.key) for job in others]


def test_the_urgent_go_before_the_low_whoever_came_first(
    plugged, connect, gate
):
    daemon = plugged()
    one, two = connect(daemon, "one"), connect(daemon, "two")
    for i in range(3):
        for priority in reversed(CLASSES):
            submit(one, f"{priority}-{i}", priority=priority)
    submit(two, "urgent-late", priority="urgent")
    gate.set()
    order = order_of(daemon, 13)
    classes = [key.split("-")[0] for _, key in order]
    assert classes == sorted(classes, key=CLASSES.index)
    assert ("two", "urgent-late") in order[:4]
    # And within a class first come, first served.
    own = [key for producer, key in order if producer == "one"]
    assert own == [f"{name}-{i}" for name in CLASSES for i in range(3)]


def test_no_priority_is_normal(plugged, connect, gate):
    daemon = plugged()
    producer = connect(daemon)
    submit(producer, "low", priority="low")
    submit(producer, "plain")
    submit(producer, "normal", priority="normal")
    submit(producer, "high", priority="high")
    gate.set()
    assert [key for _, key in order_of(daemon, 4)] == [
        "high", "plain", "normal", "low"]


def test_latentctl_sets_the_priority(
    plugged, latentctl, short_tmp, gate
):
    daemon = plugged()
    for priority in reversed(CLASSES):
        latentctl(
            daemon, "submit",
            write_latent(short_tmp / f"{priority}.safetensors", Z),
            # Without PNG, which workers may end in another order.
            "--model", "sd-v1", "--format", "npy", "--priority", priority,
            check=0)
    gate.set()
    keys = [key.split("-")[0] for _, key in order_of(daemon, 4)]
    assert keys == CLASSES


def test_a_flood_keeps_nobody_from_a_fair_share(plugged, connect, gate):
    flood_n, polite_n, jobs_n = 120, 9, 6
    daemon = plugged()
    flood = connect(daemon, "flood")
    for i in range(flood_n):
        submit(flood, f"f{i}")
    polite = [connect(daemon, f"polite{i}") for i in range(polite_n)]
    for i in range(jobs_n):
        for producer in polite:
            submit(producer, f"{i}")
    gate.set()
    order = order_of(daemon, flood_n + polite_n * jobs_n)
    for name in (f"polite{i}" for i in range(polite_n)):
        places = [
            place for place, (producer, _) in enumerate(order, 1)
            if producer == name
        ]
        # Of ten producers, each one's k-th job is due at place 10 k.
        for k, place in enumerate(places, 1):
            assert place <= 2 * k * (polite_n + 1), (name, k, place)
        assert len(places) == jobs_n
    # Everybody still gets their own, and the flood its rest.
    for producer in polite:
        assert len(producer.take_all(jobs_n)) == jobs_n


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (1, 4)])
def test_stills_and_videos_share_by_pixels_and_weight(
    plugged, connect, gate, weights
):
    """Not by jobs: a video of 9 frames counts as 9 stills of its size."""
    stills_n, videos_n = 40, 5
    daemon = plugged("hunyuan-video", **{
        "producer stills": {"weight": weights[0]},
        "producer videos": {"weight": weights[1]},
    })
    stills, videos = connect(daemon, "stills"), connect(daemon, "videos")
    still = latent("hunyuan-video", height=64, width=64, frames=1)
    video = latent("hunyuan-video", height=64, width=64, frames=3)
    for i in range(stills_n):
        submit(stills, f"s{i}", still)
    for i in range(videos_n):
        submit(videos, f"v{i}", video)
    gate.set()
    frames = {"stills": 1, "videos": 9}
    left = {"stills": stills_n, "videos": videos_n}
    done = {"stills": 0, "videos": 0}
    compared = 0
    for producer, _ in order_of(daemon, stills_n + videos_n):
        left[producer] -= 1
        done[producer] += frames[producer]
        if 0 in left.values():
            break
        apart = done["stills"] / weights[0] - done["videos"] / weights[1]
        assert abs(apart) <= 2 * frames["videos"] / min(weights), done
        compared += 1
    assert compared >= 10
