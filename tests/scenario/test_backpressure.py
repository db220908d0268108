# SPDX-License-Identifier: Apache-2.0
"""Bounds per producer, results that nobody collects, producers that die."""

import json
import signal
import threading

import pytest

import processes
import wire
from fakes import fake_pixels, good, held, never
from files import write_latent
from order import wait_ended
from samples import latent

Z = latent(seed=1)


@pytest.fixture
def gate(stack):
    """An event that opens at the end, so that no fake waits for ever."""
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


@pytest.fixture
def background(stack):
    """background(daemon, *args): latentctl without waiting for its end."""

    def call(daemon, *args):
        process = processes.Process(
            [processes.program("latentctl"), *args], env=daemon.env())
        stack.callback(process.kill)
        return process

    return call


def try_submit(producer, key, z=Z, **fields):
    return producer.try_submit(
        key, z.data, **z.fields, output="pixels", **fields)


def submit(producer, key, z=Z, **fields):
    return try_submit(producer, key, z, **fields).expect("ACCEPTED")["id"]


def expected(z):
    n, _, height, width = z.fields["shape"]
    return fake_pixels(z.data, n, height * 8, width * 8).tobytes()


def check(result, z=Z):
    result.expect("RESULT", state="done", code="ok")
    assert result.body == expected(z)


def report(daemon):
    return json.loads(wire.report(daemon.url))


# ---- bounds ----


def test_a_full_producer_is_refused_and_others_are_served(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(held(gate))
    daemon = start_daemon(
        {**fake.section(parallel=1), "queue": {"producer_jobs": 3}})
    full, other = connect(daemon, "full"), connect(daemon, "other")
    for i in range(3):
        submit(full, f"k{i}")
    busy = try_submit(full, "k3").expect("BUSY", reason="producer_jobs")
    assert 0 < busy["retry_after_ms"] <= 60000
    # What it has already is not one more.
    try_submit(full, "k2").expect("ACCEPTED")
    submit(other, "k3", latent(seed=3))
    gate.set()
    check(other.take("k3"), latent(seed=3))
    assert set(full.take_all(3)) == {"k0", "k1", "k2"}
    submit(full, "k3")
    check(full.take("k3"))
    full.thank()
    other.thank()


def test_a_producers_own_bounds_go_before_the_common_ones(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(held(gate))
    daemon = start_daemon({
        **fake.section(parallel=1),
        "queue": {"producer_jobs": 2},
        "producer big": {"jobs": 4},
        "producer small": {"jobs": 1},
    })
    for name, n in (("big", 4), ("small", 1), ("any", 2)):
        producer = connect(daemon, name)
        for i in range(n):
            submit(producer, f"k{i}")
        try_submit(producer, "more").expect("BUSY", reason="producer_jobs")


def test_who_never_collects_stops_itself_and_nobody_else(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    daemon = start_daemon(
        {**fake.section(parallel=2), "queue": {"producer_jobs": 4}})
    greedy = connect(daemon, "greedy")
    for i in range(4):
        submit(greedy, f"k{i}")
    wait_ended(daemon, 4)
    # Done, but not collected: it has no more room than before.
    try_submit(greedy, "k4").expect("BUSY", reason="producer_jobs")
    polite = {connect(daemon, f"polite{i}"): i for i in range(9)}
    for producer, seed in polite.items():
        for turn in range(6):
            z = latent(seed=100 * seed + turn)
            submit(producer, f"k{turn}", z)
            check(producer.take(f"k{turn}"), z)
        producer.thank()
    try_submit(greedy, "k4").expect("BUSY", reason="producer_jobs")
    assert len(fake.requests) == 4 + 9 * 6
    # Collecting makes room again.
    check(greedy.take())
    try_submit(greedy, "k4").expect("BUSY", reason="producer_jobs")
    greedy.thank()
    submit(greedy, "k4")


def test_results_fill_the_bytes_of_who_does_not_collect(
    start_fake, start_daemon, connect
):
    """Its jobs wait where they are once their results would have no room;
    they neither hold up others nor are they lost."""
    z, pixels_bytes, bound = latent(height=64, width=64), 512 * 512 * 3, 4 << 20
    fake = start_fake()
    daemon = start_daemon(
        {**fake.section(parallel=2), "queue": {"producer_bytes": bound}})
    greedy, other = connect(daemon, "greedy"), connect(daemon, "other")
    taken = 0
    while (reply := try_submit(greedy, f"k{taken}", z)).type == "ACCEPTED":
        taken += 1
        assert taken < 1000
    reply.expect("BUSY", reason="producer_bytes")
    for i in range(20):
        submit(other, f"k{i}", latent(seed=i))
        check(other.take(f"k{i}"), latent(seed=i))
    other.thank()
    [own] = [p for p in report(daemon)["producers"] if p["name"] == "greedy"]
    assert own["open"] + own["kept"] == taken
    assert own["kept"] * pixels_bytes <= bound
    for result in greedy.take_all(taken).values():
        check(result, z)
    submit(greedy, "more", z)
    check(greedy.take("more"), z)
    greedy.thank()


def test_latentctl_waits_for_room_or_does_not(
    start_fake, start_daemon, latentctl, background, short_tmp, gate
):
    fake = start_fake(held(gate), then=good)
    daemon = start_daemon(
        {**fake.section(parallel=1), "queue": {"producer_jobs": 1}})
    path = write_latent(short_tmp / "z.safetensors", Z)
    options = ("--model", "sd-v1", "--producer", "p")
    latentctl(daemon, "submit", path, *options, check=0)
    fake.wait_requests(1)
    done = latentctl(
        daemon, "submit", path, *options, "--busy-timeout", "0", check=5)
    assert b"the daemon is busy (producer_jobs)" in done.stderr
    patient = background(daemon, "submit", path, *options)
    # It is asked more than once, and then told yes.
    processes.wait_until(
        lambda: report(daemon)["jobs"]["active"] == 1, "one job is active")
    gate.set()
    wait_ended(daemon, 1)
    latentctl(daemon, "collect", *options[2:], "--out", short_tmp, check=0)
    assert patient.wait() == 0
    latentctl(daemon, "collect", "--all", *options[2:], "--out", short_tmp,
              check=0)
    assert len(fake.requests) == 2
    assert len(list(short_tmp.glob("*.png"))) == 2


# ---- delivery ----


def test_a_producer_that_died_in_the_middle_gets_everything_once(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    daemon = start_daemon(fake.section(parallel=2))
    latents = {f"k{i}": latent(seed=i) for i in range(20)}
    safe = {}
    with wire.Producer(daemon.url) as first:
        for key, z in latents.items():
            submit(first, key, z)
        for _ in range(7):
            result = first.take()
            safe[result["key"]] = result
        # Six are acknowledged; the seventh went down with the process.
        lost = safe.pop(result["key"])["key"]
        first.connection.reset()
    second = connect(daemon)
    rest = second.take_all(14)
    assert lost in rest and not set(rest) & set(safe)
    for key, result in {**safe, **rest}.items():
        check(result, latents[key])
    assert len({**safe, **rest}) == 20
    second.next(0).expect("EMPTY", pending=0)
    assert len(fake.requests) == 20


def test_a_collect_that_is_killed_loses_and_doubles_nothing(
    start_fake, start_daemon, latentctl, background, short_tmp, gate
):
    fake = start_fake(*[good] * 6, held(gate), then=good)
    daemon = start_daemon(fake.section(parallel=1))
    paths = [
        write_latent(short_tmp / f"z{i}.safetensors", latent(seed=i))
        for i in range(12)
    ]
    latentctl(daemon, "submit", *paths, "--model", "sd-v1", check=0)
    out = short_tmp / "out"
    killed = background(daemon, "collect", "--all", "--out", out)
    killed.wait_line(r"\.png", "stdout")
    killed.signal(signal.SIGKILL)
    killed.wait()
    gate.set()
    # What it wrote and had no time to acknowledge comes again.
    latentctl(
        daemon, "collect", "--all", "--force", "--out", out, check=0)
    assert len(list(out.glob("*.png"))) == 12
    assert len(fake.requests) == 12
    whole = report(daemon)
    assert whole["queue"]["jobs"] == whole["queue"]["result_bytes"] == 0


def test_a_key_is_used_up_once_its_result_is_acknowledged(
    start_fake, start_daemon, connect
):
    fake = start_fake()
    daemon = start_daemon(fake.section())
    producer, other = connect(daemon, "p"), connect(daemon, "q")
    job = submit(producer, "k")
    check(producer.take("k"))
    producer.thank()
    reply = try_submit(producer, "k").expect("REJECTED", code="collected")
    assert f"job {job}" in reply["message"]
    # Of this producer only.
    submit(other, "k")
    check(other.take("k"))
    other.thank()
    assert len(fake.requests) == 2


def test_what_nobody_collects_in_time_is_dropped_and_told(
    start_fake, start_daemon, connect, latentctl, short_tmp
):
    fake = start_fake()
    daemon = start_daemon({**fake.section(), "queue": {"keep_s": 2}})
    producer = connect(daemon)
    job = submit(producer, "k")
    daemon.wait_line(r"key=k out_bytes=\d+ .*: result dropped")
    assert report(daemon)["queue"]["result_bytes"] == 0
    result = producer.take("k")
    result.expect("RESULT", id=job, state="done", code="dropped")
    assert result.body == b"" and "2 s" in result["message"]
    producer.thank()
    producer.next(0).expect("EMPTY", pending=0)
    # The same by the library.
    path = write_latent(short_tmp / "z.safetensors", Z)
    latentctl(daemon, "submit", path, "--model", "sd-v1", check=0)
    daemon.wait_line(r"key=z-\w+ out_bytes=\d+ .*: result dropped")
    done = latentctl(daemon, "collect", "--out", short_tmp, check=1)
    assert b"dropped" in done.stderr
    assert not list(short_tmp.glob("*.png"))


# ---- producers that go ----


def decode(background, daemon, path, *options):
    return background(
        daemon, "decode", path, "--model", "sd-v1", "--out", path.parent,
        "--producer", "p", *options)


def test_a_killed_producer_cancels_what_it_wanted_cancelled(
    start_fake, start_daemon, background, short_tmp
):
    fake = start_fake(then=never)
    daemon = start_daemon(fake.section(parallel=1))
    path = write_latent(short_tmp / "z.safetensors", Z)
    process = decode(background, daemon, path, "--cancel-on-disconnect")
    [request] = fake.wait_requests(1)
    process.signal(signal.SIGKILL)
    process.wait()
    assert request.closed.wait(processes.PATIENCE_S)
    [job] = wait_ended(daemon, 1)
    assert job.outcome == "cancelled"


def test_a_killed_producers_job_goes_on_otherwise(
    start_fake, start_daemon, connect, background, short_tmp, gate
):
    fake = start_fake(held(gate))
    daemon = start_daemon(fake.section(parallel=1))
    path = write_latent(short_tmp / "z.safetensors", Z)
    process = decode(background, daemon, path)
    fake.wait_requests(1)
    process.signal(signal.SIGKILL)
    process.wait()
    gate.set()
    [job] = wait_ended(daemon, 1)
    assert job.outcome == "done"
    producer = connect(daemon, "p")
    producer.take(job.key).expect("RESULT", state="done", output="png")
    producer.thank()
    assert len(fake.requests) == 1
