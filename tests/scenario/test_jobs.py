# SPDX-License-Identifier: Apache-2.0
"""What the daemon promises about jobs: keys, owners, delivery, bounds.

The endpoint is a fake whose answers depend on the latent's bytes, and which
waits where a test wants a job to stay active.
"""

import json
import os
import threading

import pytest

import processes
import wire
from fakes import fake_pixels, held, never, status
from samples import latent

Z = latent(seed=1)


def submit(producer, key, z=Z, **fields):
    return producer.submit(key, z.data, **z.fields, output="pixels", **fields)


def expected(z):
    n, _, height, width = z.fields["shape"]
    return fake_pixels(z.data, n, height * 8, width * 8).tobytes()


def check(result, z=Z):
    result.expect("RESULT", state="done", code="ok")
    assert result.body == expected(z)


def report(daemon):
    return json.loads(wire.report(daemon.url))


@pytest.fixture
def gate(stack):
    """An event that opens at the end, so that no fake waits for ever."""
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


# ---- keys ----


def test_the_same_key_twice_is_one_job(start_fake, start_daemon, connect, gate):
    fake = start_fake(held(gate))
    producer = connect(start_daemon(fake.section()))
    first = submit(producer, "k")
    fake.wait_requests(1)
    assert submit(producer, "k") == first
    assert submit(producer, "k", latent(seed=2)) == first
    gate.set()
    check(producer.take("k"))
    assert submit(producer, "k") == first
    producer.thank()
    producer.next(0).expect("EMPTY", pending=0)
    # Acknowledged, it is remembered, and not decoded again.
    again = producer.try_submit("k", Z.data, **Z.fields)
    again.expect("REJECTED", code="collected")
    assert f"job {first}," in again["message"]
    assert len(fake.requests) == 1


def test_a_key_is_free_again_when_it_is_no_longer_remembered(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    daemon = start_daemon({**fake.section(), "queue": {"remember_s": 0}})
    producer = connect(daemon)
    first = submit(producer, "k")
    check(producer.take("k"))
    producer.thank()
    assert submit(producer, "k") != first
    check(producer.take("k"))
    producer.thank()
    assert len(fake.requests) == 2


def test_the_key_of_a_job_that_gave_nothing_may_be_used_again(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(held(gate))
    producer = connect(start_daemon(fake.section()))
    first = submit(producer, "k")
    producer.cancel("k").expect("CANCELLED")
    producer.take("k").expect("RESULT", state="cancelled")
    producer.thank()
    assert submit(producer, "k") != first
    gate.set()
    check(producer.take("k"))


def test_a_repeated_submit_tells_the_jobs_state(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(held(gate), status(400, "no"))
    producer = connect(start_daemon(fake.section(parallel=1)))
    submit(producer, "a")
    submit(producer, "b", latent(seed=2))
    fake.wait_requests(1)

    def state(key):
        reply = producer.try_submit(key, Z.data, **Z.fields)
        return reply.expect("ACCEPTED")["state"]

    assert (state("a"), state("b")) == ("active", "queued")
    gate.set()
    results = [producer.collect()["key"] for _ in range(2)]
    assert results == ["a", "b"]
    assert (state("a"), state("b")) == ("done", "failed")


def test_positions_count_the_jobs_before(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(held(gate))
    producer = connect(start_daemon(fake.section(parallel=1)))
    submit(producer, "active")
    fake.wait_requests(1)
    positions = [
        producer.try_submit(f"k{i}", Z.data, **Z.fields)["position"]
        for i in range(4)
    ]
    assert positions == [0, 1, 2, 3]
    again = producer.try_submit("k2", Z.data, **Z.fields)
    assert again["position"] == 2
    gate.set()
    producer.take_all(5)


# ---- owners ----


def test_identities_do_not_see_each_other(
    short_tmp, start_fake, start_daemon, connect, stack
):
    fake = start_fake()
    tcp = f"tcp://127.0.0.1:{processes.free_port()}"
    daemon = start_daemon({
        **fake.section(),
        "daemon": {"listen": [f"ipc://{short_tmp}/latentd.sock", tcp]},
    })
    producers = [
        connect(daemon, "a"),
        connect(daemon, "b"),
        connect(daemon, "a", secret=b"one"),
        connect(daemon, "a", secret=b"two"),
        stack.enter_context(wire.Producer(tcp, "a")),
    ]
    stranger = connect(daemon, "c")
    latents = [latent(seed=i) for i in range(len(producers))]
    ids = [submit(p, "same", z) for p, z in zip(producers, latents)]
    assert len(set(ids)) == len(ids)
    fake.wait_requests(len(ids))
    # On ipc this test is an administrator; over tcp nobody is.
    for i, producer in enumerate(producers[-1:], len(producers) - 1):
        for other in set(ids) - {ids[i]}:
            producer.ask("CANCEL", {"id": other}).expect(
                "REJECTED", code="not_found"
            )
    for producer, z, job in zip(producers, latents, ids):
        result = producer.take("same")
        check(result, z)
        assert result["id"] == job
        # A tag of somebody else's acknowledges nothing.
        stranger.collect(0, [result["tag"]]).expect("EMPTY", pending=0)
        producer.reconnect()
        check(producer.take("same"), z)
        producer.thank()
    assert report(daemon)["producers"] == []


def test_two_producers_at_once_each_get_their_own(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    daemon = start_daemon(fake.section(parallel=8))
    jobs_n = 60

    def work(producer, seed):
        latents = {
            f"k{i}": latent(seed=seed + i, height=4) for i in range(jobs_n)
        }
        for key, z in latents.items():
            submit(producer, key, z)
        for key, result in producer.take_all(jobs_n).items():
            check(result, latents.pop(key))
        assert latents == {}
        producer.next(0).expect("EMPTY", pending=0)
        done.append(seed)

    done = []
    threads = [
        threading.Thread(target=work, args=(connect(daemon, name), seed))
        for name, seed in (("a", 1000), ("b", 2000))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [1000, 2000]
    assert len(fake.requests) == 2 * jobs_n


def test_a_producer_that_dies_behind_its_submit_keeps_its_job(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    daemon = start_daemon(fake.section(parallel=4))
    keys = [f"k{i}" for i in range(100)]
    ids = {}
    for key in keys:
        with wire.Producer(daemon.url) as dying:
            dying.post(
                "SUBMIT", {"key": key, "task": "decode", **Z.fields}, Z.data
            )
    producer = connect(daemon)
    for key in keys:
        ids[key] = submit(producer, key)
    assert len(set(ids.values())) == len(keys)
    results = producer.take_all(len(keys))
    assert {key: r["id"] for key, r in results.items()} == ids
    # No job went to somebody who will never come.
    assert report(daemon)["producers"] == []
    assert len(fake.requests) == len(keys)


# ---- delivery ----


def test_collect_is_answered_when_a_result_comes(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(held(gate))
    producer = connect(start_daemon(fake.section()))
    submit(producer, "k")
    fake.wait_requests(1)
    waiting = producer.post("COLLECT", {"wait_ms": 25000})
    # One connection may have many requests open.
    producer.collect(0).expect("EMPTY", pending=1)
    gate.set()
    check(producer.answer(waiting))


def test_collect_gives_up_after_its_time(start_fake, start_daemon, connect):
    fake = start_fake(never)
    producer = connect(start_daemon(fake.section()))
    producer.collect(0).expect("EMPTY", pending=0)
    submit(producer, "k")
    # The one that waits longer was asked first and is still waiting.
    late = producer.post("COLLECT", {"wait_ms": 25000})
    soon = producer.post("COLLECT", {"wait_ms": 1})
    producer.answer(soon).expect("EMPTY", pending=1)
    assert late not in producer.connection.early
    producer.cancel("k")
    producer.answer(late).expect("RESULT", state="cancelled")


def test_what_is_not_acknowledged_is_delivered_again(
    start_fake, start_daemon, connect
):
    producer = connect(start_daemon(start_fake().section()))
    submit(producer, "k")
    first = producer.collect()
    check(first)
    tags = {first["tag"]}
    for _ in range(5):
        producer.reconnect()
        again = producer.collect()
        check(again)
        assert again["id"] == first["id"]
        assert again["tag"] not in tags
        tags.add(again["tag"])
    # Tags of earlier deliveries mean nothing any more.
    stale = sorted(tags - {again["tag"]})
    producer.collect(0, stale).expect("EMPTY")
    producer.reconnect()
    last = producer.collect()
    check(last)
    producer.collect(0, [last["tag"]]).expect("EMPTY", pending=0)
    producer.reconnect()
    producer.collect(0).expect("EMPTY", pending=0)


def test_a_waiting_collect_of_a_dead_connection_takes_nothing(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(held(gate))
    producer = connect(start_daemon(fake.section()))
    submit(producer, "k")
    for _ in range(20):
        producer.post("COLLECT", {"wait_ms": 25000})
        producer.reconnect()
    gate.set()
    check(producer.take("k"))
    producer.thank()


def test_a_collect_of_a_dying_connection_takes_nothing(
    start_fake, start_daemon, connect
):
    producer = connect(start_daemon(start_fake().section()))
    submit(producer, "k")
    check(producer.collect())
    for _ in range(100):
        producer.post("COLLECT", {"wait_ms": 0})
        producer.reconnect()
        check(producer.collect())


def test_two_collectors_get_different_results(
    start_fake, start_daemon, connect
):
    daemon = start_daemon(start_fake().section())
    collectors = [connect(daemon, "p"), connect(daemon, "p")]
    keys = {f"k{i}" for i in range(6)}
    for key in keys:
        submit(collectors[0], key)
    got = [collectors[i % 2].collect() for i in range(6)]
    assert {result["key"] for result in got} == keys
    # Only the vanished one's come again.
    collectors[1].close()
    again = {collectors[0].collect()["key"] for _ in range(3)}
    assert again == {result["key"] for result in got[1::2]}
    collectors[0].collect(0).expect("EMPTY", pending=0)


def test_many_acknowledgements_at_once(start_fake, start_daemon, connect):
    daemon = start_daemon(start_fake().section(parallel=8))
    producer = connect(daemon)
    for i in range(40):
        submit(producer, f"k{i}", latent(height=1, width=1, seed=i))
    tags = [producer.collect()["tag"] for _ in range(40)]
    producer.collect(0, tags + tags + [1, 2**64 - 1]).expect("EMPTY")
    assert report(daemon)["jobs"]["kept"] == 0


# ---- bounds ----


def test_busy_by_jobs_until_a_result_is_collected(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    producer = connect(start_daemon(
        {**fake.section(), "queue": {"jobs": 3, "producer_jobs": 3}}))
    for i in range(3):
        submit(producer, f"k{i}")
    for _ in range(2):
        busy = producer.try_submit("more", Z.data, **Z.fields)
        busy.expect("BUSY", reason="jobs")
        assert 0 < busy["retry_after_ms"] <= 3600000
    # Known keys are no new jobs.
    submit(producer, "k1")
    producer.take()
    producer.try_submit("more", Z.data, **Z.fields).expect("BUSY")
    producer.thank()
    submit(producer, "more")
    assert len(producer.take_all(3).keys() | {"k0", "k1", "k2"}) == 4


def test_busy_by_bytes_until_a_job_is_done(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(then=held(gate))
    daemon = start_daemon({**fake.section(), "queue": {
        "bytes": "1M", "producer_bytes": "1G"}})
    producer = connect(daemon)
    large = [latent(height=160, width=160, dtype="float32", seed=i)
             for i in range(3)]
    for i in range(2):
        submit(producer, f"k{i}", large[i])
    busy = producer.try_submit("k2", large[2].data, **large[2].fields)
    busy.expect("BUSY", reason="bytes")
    submit(producer, "small")
    fake.wait_requests(1)
    gate.set()
    check(producer.take("k0"), large[0])
    submit(producer, "k2", large[2])
    results = producer.take_all(3)
    check(results["k2"], large[2])
    assert report(daemon)["queue"]["bytes"] == 0


def test_what_can_never_fit_is_not_called_busy(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    producer = connect(
        start_daemon({**fake.section(), "queue": {"bytes": "1M"}})
    )
    assert producer.hello()["max_body_bytes"] == 1 << 20
    z = latent(height=256, width=256, dtype="float32")
    assert len(z.data) == 1 << 20
    reply = producer.try_submit("k", z.data, **z.fields, output="pixels")
    if reply.type == "ACCEPTED":
        check(producer.take("k"), z)
    else:
        reply.expect("REJECTED", code="too_large")


# ---- who ----


def test_the_report_names_the_peers_uid(start_fake, start_daemon, connect):
    fake = start_fake(never)
    daemon = start_daemon(fake.section())
    producer = connect(daemon, "somebody", secret=b"very secret")
    submit(producer, "k")
    assert report(daemon)["producers"] == [
        {"name": "somebody", "uid": os.getuid(), "open": 1, "queued": 0,
         "active": 1, "kept": 0, "failed": 0, "buried": 0}
    ]
    assert b"very secret" not in wire.report(daemon.url)
    producer.cancel("k")
