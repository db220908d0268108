# SPDX-License-Identifier: Apache-2.0
"""The spool's bound is reached and left again while several producers push:
backpressure for new jobs, and everything else goes on."""

import json
import threading

import processes
import wire
from samples import direct_pixels, latent

PRODUCERS_N = 4
EXTRA_N = 25  # jobs of each that find the spool full at first
Z = [latent(height=128, width=128, seed=seed) for seed in range(4)]


def try_push(producer, key, kind):
    """Submit one; whether there was room."""
    z = Z[kind]
    reply = producer.try_submit(key, z.data, **z.fields, output="pixels")
    if reply.type == "BUSY":
        assert reply["reason"] == "spool", reply
        assert reply["retry_after_ms"] > 0
        return False
    assert reply.expect("ACCEPTED")["durability"] == "spooled"
    return True


def fill(producer, name, keys):
    """Push until there is no room."""
    while try_push(producer, f"{name}-{len(keys)}", len(keys) % len(Z)):
        keys[f"{name}-{len(keys)}"] = len(keys) % len(Z)


def in_threads(calls):
    """Run all of them at once; the first failure fails the test."""
    failures = []

    def guard(call):
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guard, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def empty(producer, name, keys, pixels, busy):
    """Push EXTRA_N more as there is room, and take all results."""
    left = dict(keys)
    extra_n = 0
    while left or extra_n < EXTRA_N:
        if extra_n < EXTRA_N:
            key = f"{name}-extra-{extra_n}"
            if try_push(producer, key, extra_n % len(Z)):
                left[key] = extra_n % len(Z)
                extra_n += 1
            else:
                busy.append(key)
        reply = producer.next(100)
        if reply.type == "EMPTY":
            continue
        reply.expect("RESULT", state="done")
        assert reply.body == pixels[left.pop(reply["key"])]
    producer.thank()


def spool(daemon):
    return json.loads(wire.report(daemon.url))["spool"]


def test_a_full_spool_goes_on_and_is_as_before_when_it_is_empty(
    start_endpoint, start_daemon, connect, latentctl, short_tmp
):
    endpoint = start_endpoint(parallel=4)
    pixels = [direct_pixels(endpoint.url, z).tobytes() for z in Z]
    daemon = start_daemon({
        **endpoint.sections(["sd-v1"], ["decode"], parallel=4),
        "queue": {"bytes": "1G", "producer_bytes": "1G"},
        "spool": {"path": short_tmp / "spool", "size": "64M"},
    })
    names = [f"p{i}" for i in range(PRODUCERS_N)]
    producers = {name: connect(daemon, name) for name in names}
    keys = {name: {} for name in names}

    latentctl(daemon, "pause", "out", check=0)
    in_threads([lambda n=n: fill(producers[n], n, keys[n]) for n in names])
    held_n = sum(map(len, keys.values()))
    assert held_n > 200
    for name, producer in producers.items():
        assert not try_push(producer, f"{name}-more", 0)

    # What makes room is taken when there is none, also its result and its
    # acknowledgement.
    for name, producer in producers.items():
        gone = next(reversed(keys[name]))
        del keys[name][gone]
        producer.cancel(gone).expect("CANCELLED")
        producer.take(gone).expect("RESULT", state="cancelled")
        producer.thank()
        processes.wait_until(
            lambda: try_push(producer, f"{name}-after", 1), "there is room")
        keys[name][f"{name}-after"] = 1

    latentctl(daemon, "resume", "out", check=0)
    busy = []
    in_threads([
        lambda n=n: empty(producers[n], n, keys[n], pixels, busy)
        for n in names])
    assert busy
    told = processes.wait_until(
        lambda: spool(daemon)["bytes"] == 0 and spool(daemon), "it is empty")
    assert told["failure"] == "" and told["lost_total"] == 0

    # All of it can be used again.
    latentctl(daemon, "pause", "out", check=0)
    again = {name: {} for name in names}
    in_threads([
        lambda n=n: fill(producers[n], f"{n}-again", again[n])
        for n in names])
    assert sum(map(len, again.values())) >= 0.95 * held_n
    assert (short_tmp / "spool/data.mdb").stat().st_size <= 64 << 20
    daemon.kill()
    processes.run(processes.program("latentctl"), "spool", "check",
                  short_tmp / "spool", check=0)
