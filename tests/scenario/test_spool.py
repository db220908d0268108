# SPDX-License-Identifier: Apache-2.0
"""The durable spool: what was accepted survives the daemon, however it ends."""

import threading

import pytest

import processes
import wire
from fakes import fake_pixels, good, held, status
from samples import latent
from spooled import Z, accept, check, instance, report, submit


@pytest.fixture
def gate(stack):
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


# ---- restarts ----


def test_jobs_survive_sigkill_in_their_order_with_ids_and_keys(
    start_fake, start_spooled, gate
):
    fake = start_fake(held(gate), then=held(gate))
    daemon = start_spooled(fake.section(parallel=1))
    with wire.Producer(daemon.url) as producer:
        ids = [accept(producer, i) for i in range(6)]
    before = instance(daemon)
    processes.wait_until(lambda: fake.requests, "one is in flight")
    daemon.kill()
    gate.set()
    fake.requests.clear()
    daemon = start_spooled(fake.section(parallel=1))
    assert instance(daemon) == before
    with wire.Producer(daemon.url) as producer:
        # The same key is the same job, and an ended one is told apart.
        assert submit(producer, 3).expect("ACCEPTED")["id"] == ids[3]
        results = producer.take_all(6)
        assert accept(producer, 7) > max(ids)
    for i in range(6):
        check(results[f"k{i}"], i)
        assert results[f"k{i}"]["id"] == ids[i]
    sent = [request.body for request in fake.requests[:6]]
    assert sent == [z.data for z in Z[:6]]


def test_results_are_delivered_again_until_they_are_acknowledged(
    start_fake, start_spooled
):
    fake = start_fake()
    daemon = start_spooled(fake.section(parallel=1))
    with wire.Producer(daemon.url) as producer:
        # One by one: of two at a time either may end first.
        accept(producer, 0)
        check(producer.take(), 0)
        accept(producer, 1)
        check(producer.take(), 1)  # acknowledges the first
        # Behind it, so when this is on disk the other is gone from there.
        accept(producer, 2)
    daemon.kill()
    daemon = start_spooled(fake.section())
    with wire.Producer(daemon.url) as producer:
        results = producer.take_all(2)
        check(results["k1"], 1)
        check(results["k2"], 2)
        assert producer.collect(0)["pending"] == 0
    assert daemon.stop() == 0
    daemon = start_spooled(fake.section())
    with wire.Producer(daemon.url) as producer:
        assert producer.collect(0).expect("EMPTY")["pending"] == 0
    # What was done and on disk was not done again.
    sent = [request.body for request in fake.requests]
    assert sent.count(Z[0].data) == sent.count(Z[1].data) == 1


def test_a_key_that_was_acknowledged_stays_collected(start_fake, start_spooled):
    fake = start_fake()
    daemon = start_spooled(fake.section())
    with wire.Producer(daemon.url) as producer:
        accept(producer, 0)
        producer.take("k0")
        producer.thank()
        # What comes behind it is on disk only after it.
        accept(producer, 1)
    daemon.kill()
    daemon = start_spooled(fake.section())
    with wire.Producer(daemon.url) as producer:
        submit(producer, 0).expect("REJECTED", code="collected")


def test_metadata_and_parameters_survive(start_fake, start_spooled, gate):
    from samples import pixels_of, texts_of

    fake = start_fake(held(gate), then=good)
    daemon = start_spooled(fake.section(parallel=1))
    with wire.Producer(daemon.url, "other", secret=b"s3cret") as producer:
        accept(producer, 0)
        z = latent(seed=5, batch=3)
        producer.submit(
            "batch", z.data, **z.fields, output="png",
            metadata=wire.metadata({"prompt": "a cat"}), priority="high",
        )
    daemon.kill()
    gate.set()
    daemon = start_spooled(fake.section(parallel=1))
    with wire.Producer(daemon.url, "other", secret=b"s3cret") as producer:
        results = producer.take_all(2)
    done = results["batch"].expect("RESULT", output="png")
    at = 0
    for i, size in enumerate(done["part_bytes"]):
        picture = done.body[at:at + size]
        at += size
        assert texts_of(picture)["prompt"] == "a cat"
        want = fake_pixels(z.data, 3, 64, 64)[i]
        assert (pixels_of(picture) == want).all()
    assert at == len(done.body)


def test_a_deadline_runs_on_while_the_daemon_is_away(
    start_fake, start_spooled, gate
):
    fake = start_fake(held(gate), then=good)
    daemon = start_spooled(fake.section(parallel=1))
    with wire.Producer(daemon.url) as producer:
        accept(producer, 0)
        accept(producer, 1, deadline_ms=1)
        accept(producer, 2, deadline_ms=600000)
    daemon.kill()
    gate.set()
    daemon = start_spooled(fake.section(parallel=1))
    with wire.Producer(daemon.url) as producer:
        results = producer.take_all(3)
    assert results["k1"]["state"] == "expired"
    check(results["k0"], 0)
    check(results["k2"], 2)


def test_attempts_are_counted_over_a_restart(start_fake, start_spooled, gate):
    fake = start_fake(status(500), held(gate), then=status(500))
    daemon = start_spooled({**fake.section(parallel=1),
                            "queue": {"attempts": 2}})
    with wire.Producer(daemon.url) as producer:
        accept(producer, 0)
        processes.wait_until(lambda: len(fake.requests) == 2, "a second try")
        # The note of the first failure is on disk before this is.
        accept(producer, 1)
    daemon.kill()
    gate.set()
    fake.requests.clear()
    daemon = start_spooled({**fake.section(parallel=1),
                            "queue": {"attempts": 2}})
    with wire.Producer(daemon.url) as producer:
        result = producer.take("k0").expect("RESULT", state="failed")
        assert result["attempts"] == 2


def test_a_buried_job_is_still_there_to_be_kicked(
    start_fake, start_spooled, latentctl
):
    fake = start_fake(status(400), then=good)
    daemon = start_spooled(fake.section())
    with wire.Producer(daemon.url) as producer:
        job = accept(producer, 0)
        producer.take("k0").expect("RESULT", state="failed")
        producer.thank()
        accept(producer, 1)
        producer.take("k1")
        producer.thank()
        accept(producer, 2)
    daemon.kill()
    daemon = start_spooled(fake.section())
    latentctl(daemon, "kick", str(job), check=0)
    with wire.Producer(daemon.url) as producer:
        results = producer.take_all(2)
    check(results["k0"], 0)
    assert results["k0"]["kicks"] == 1


def test_sigterm_finishes_what_is_active_and_keeps_the_rest(
    start_fake, start_spooled, gate
):
    fake = start_fake(held(gate), then=good)
    daemon = start_spooled({**fake.section(parallel=1),
                            "daemon": {"drain_s": 60}})
    with wire.Producer(daemon.url) as producer:
        for i in range(5):
            accept(producer, i)
    processes.wait_until(lambda: fake.requests, "one is in flight")
    daemon.signal(15)
    daemon.wait_line("4 jobs stay in the spool")
    gate.set()
    assert daemon.wait() == 0
    daemon.check_clean()
    assert len(fake.requests) == 1
    daemon = start_spooled(fake.section(parallel=1))
    with wire.Producer(daemon.url) as producer:
        results = producer.take_all(5)
    for i in range(5):
        check(results[f"k{i}"], i)
    assert len(fake.requests) == 5


def test_jobs_without_their_endpoint_wait_until_a_reload_brings_it(
    start_fake, start_spooled, latentctl, gate
):
    fake = start_fake(held(gate), then=good)
    daemon = start_spooled(fake.section())
    with wire.Producer(daemon.url) as producer:
        accept(producer, 0)
    daemon.kill()
    gate.set()
    other = processes.endpoint_sections(fake.url, ["flux"], ["decode"])
    daemon = start_spooled(other)
    daemon.wait_line("1 jobs wait to decode sd-v1, which no endpoint does now")
    with wire.Producer(daemon.url) as producer:
        # It is the same job under its key, and a new one is refused.
        assert accept(producer, 0) == 1
        submit(producer, 1).expect("REJECTED", code="model")
        daemon.configure(fake.section())
        latentctl(daemon, "reload")
        check(producer.take("k0"), 0)


def test_jobs_of_a_spool_are_done_when_new_ones_are_not_spooled(
    start_fake, start_spooled, gate
):
    fake = start_fake(held(gate), then=good)
    daemon = start_spooled(fake.section())
    with wire.Producer(daemon.url) as producer:
        accept(producer, 0)
    before = instance(daemon)
    daemon.kill()
    gate.set()
    daemon = start_spooled(fake.section(), {"durability": "none"})
    # Its other jobs end with it, so its clients must see it change.
    assert instance(daemon) != before
    with wire.Producer(daemon.url) as producer:
        check(producer.take("k0"), 0)
        reply = submit(producer, 1).expect("ACCEPTED")
        assert reply["durability"] == "none"
        check(producer.take("k1"), 1)


# ---- bounds ----


def test_a_full_spool_is_backpressure_and_opens_again(
    start_fake, start_spooled, gate
):
    z = latent(height=512, width=512)  # 2 MiB
    fake = start_fake(then=held(gate))
    daemon = start_spooled({**fake.section(parallel=1),
                            "queue": {"producer_bytes": "1G"}})
    with wire.Producer(daemon.url) as producer:
        def offer(key):
            return producer.try_submit(key, z.data, **z.fields, output="jpg")

        keys = []
        while (reply := offer(f"k{len(keys)}")).type == "ACCEPTED":
            keys.append(f"k{len(keys)}")
        assert reply.expect("BUSY")["reason"] == "spool"
        assert len(keys) >= 15
        # A cancelled job gives its room back.
        producer.cancel(keys[-1]).expect("CANCELLED")
        processes.wait_until(
            lambda: offer("more").type == "ACCEPTED", "there is room again"
        )
        for key in keys[:-1] + ["more"]:
            producer.cancel(key).expect("CANCELLED")
        assert set(producer.take_all(len(keys) + 1)) == {*keys, "more"}
        # All of it can be used again.
        for i in range(len(keys)):
            offer(f"n{i}").expect("ACCEPTED")


def test_what_the_spool_never_has_room_for_is_said_to_be_too_large(
    start_fake, start_spooled
):
    daemon = start_spooled(start_fake().section())
    with wire.Producer(daemon.url) as producer:
        most = producer.hello()["max_body_bytes"]
    # 7/8 of the spool are for jobs and results, 3/4 of that for jobs.
    room = (64 << 20) * 7 // 8 * 3 // 4
    assert room * 0.99 < most < room


def test_two_daemons_on_one_spool_are_refused(
    start_fake, start_spooled, short_tmp
):
    fake = start_fake()
    start_spooled(fake.section())
    config = short_tmp / "second.conf"
    config.write_text(processes.ini_text({
        "daemon": {"listen": f"ipc://{short_tmp}/second.sock"},
        "spool": {"path": short_tmp / "spool"},
        **fake.section(),
    }))
    done = processes.run(
        processes.program("latentd"), "--config", config, check=1
    )
    assert b"in use by another process" in done.stderr


def test_a_spool_that_cannot_be_made_is_said_at_the_start(
    start_fake, short_tmp
):
    config = short_tmp / "latentd.conf"
    config.write_text(processes.ini_text({
        "daemon": {"listen": f"ipc://{short_tmp}/latentd.sock"},
        "spool": {"path": "/proc/no/such/place"},
        **start_fake().section(),
    }))
    done = processes.run(
        processes.program("latentd"), "--config", config, check=1
    )
    assert b"cannot make the directory of the spool in /proc/no/such/place" \
        in done.stderr
