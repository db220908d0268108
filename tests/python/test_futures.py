# SPDX-License-Identifier: Apache-2.0
"""Jobs as futures: waiting, cancelling, threads, asyncio, bounds."""

import asyncio
import concurrent.futures
import json
import threading
from concurrent.futures import as_completed

import numpy as np
import pytest

import fakes
import latentd
import samples
import wire
from arrays import array_of
from processes import wait_until

PATIENCE_S = 60


def z_of(seed=0):
    return array_of(samples.latent("sd-v1", seed=seed))


def expected(z):
    return fakes.fake_pixels(z.tobytes(), 1, 64, 64)[0]


def pixels(client, seed=0, **options):
    return client.decode(z_of(seed), "sd-v1", output="pixels", **options)


def test_as_completed_gives_every_job_once(service, connect):
    client = connect(service)
    jobs = [pixels(client, seed) for seed in range(40)]
    assert set(as_completed(jobs, PATIENCE_S)) == set(jobs)
    done, waiting = concurrent.futures.wait(jobs)
    assert done == set(jobs) and not waiting
    assert client.pending() == []


def test_a_callback_gets_its_job(service, connect):
    client = connect(service)
    called = threading.Event()
    found = []

    def on_done(job):
        found.append((job, threading.current_thread().name))
        called.set()

    job = pixels(client)
    job.add_done_callback(on_done)
    assert called.wait(PATIENCE_S)
    assert found == [(job, "latentd-receive")]


def test_a_callback_may_submit_and_close(held, connect):
    client = connect(held)
    closed = threading.Event()
    second = []

    def on_first(job):
        second.append(pixels(client, 1))
        second[0].add_done_callback(on_second)

    def on_second(job):
        client.close()
        closed.set()

    pixels(client).add_done_callback(on_first)
    held.gate.set()
    assert closed.wait(PATIENCE_S)
    assert (second[0].result(0).numpy() == expected(z_of(1))).all()
    client.close()


def test_a_callback_that_would_wait_for_ever_gets_an_error(held, connect):
    """It runs on the thread that receives what it would wait for."""
    client = connect(held, max_jobs=2)
    jobs = [pixels(client, seed) for seed in range(2)]
    said = []

    def on_done(job):
        pending = [one for one in jobs if not one.done()]
        for one in pending:
            for wait in (one.result, one.exception, client.wait,
                         lambda: client.close(wait=True)):
                with pytest.raises(latentd.InvalidError, match="callback"):
                    wait()
            pixels(client, 2)
            with pytest.raises(latentd.Busy):
                pixels(client, 3)
            said.append(one)

    for job in jobs:
        job.add_done_callback(on_done)
    held.gate.set()
    assert client.wait(PATIENCE_S)
    assert len(said) == 1


def test_a_result_that_cannot_be_read_fails_its_job(
        service, connect, monkeypatch):
    client = connect(service)

    def broken(handle):
        raise KeyError("an output of the future")

    with monkeypatch.context() as patch:
        patch.setattr(latentd._core, "Result", broken)
        with pytest.raises(latentd.LatentdError, match="of the future"):
            pixels(client).result(PATIENCE_S)
    pixels(client, 1).result(PATIENCE_S)


def test_progress_says_where_a_job_stands(held, connect):
    client = connect(held)
    job = pixels(client)
    assert job.progress.fraction < 1
    job.wait_accepted(PATIENCE_S)
    assert job.state == "accepted" and not job.done()
    assert job.id > 0
    held.fake.wait_requests(1)
    wait_until(lambda: "fake" in job.why(), "why() names the endpoint")
    assert job.explain()["state"] == "active"
    assert "accepted" in str(job.progress)
    held.gate.set()
    result = job.result(PATIENCE_S)
    assert result.id == job.id and result.key == job.key
    assert job.state == "done" and job.progress.fraction == 1.0
    assert "fake served it" in job.why()


def test_a_result_that_takes_too_long_says_why(held, connect):
    job = pixels(connect(held))
    with pytest.raises(latentd.ResultTimeout, match="it goes on") as caught:
        job.result(0)
    assert isinstance(caught.value, concurrent.futures.TimeoutError)
    held.gate.set()
    assert (job.result(PATIENCE_S).numpy() == expected(z_of())).all()


def test_cancel_reaches_the_daemon_and_its_request(held, connect):
    client = connect(held)
    job = pixels(client)
    request = held.fake.wait_requests(1)[0]
    assert job.cancel() and job.cancelled() and job.done()
    with pytest.raises(concurrent.futures.CancelledError):
        job.result(0)
    assert job.state == "cancelled" and "cancelled" in job.why()
    # The fake answers into a connection that the daemon has closed.
    wait_until(lambda: wire_counts(held)["cancelled_total"] == 1,
               "the daemon has cancelled it")
    held.gate.set()
    assert request.path == "/sd-v1"
    assert job.cancel()
    other = pixels(client, 1)
    other.result(PATIENCE_S)
    assert not other.cancel()


def wire_counts(daemon):
    return json.loads(wire.report(daemon.url))["jobs"]


def test_waiting_for_a_cancelled_job_ends(held, connect):
    client = connect(held)
    jobs = [pixels(client, seed) for seed in range(3)]
    for job in jobs:
        job.cancel()
    assert set(as_completed(jobs, PATIENCE_S)) == set(jobs)
    assert client.wait(PATIENCE_S)


def test_a_cancel_by_an_operator_is_an_exception(held, connect):
    job = pixels(connect(held, "me"))
    job.wait_accepted(PATIENCE_S)
    operator = wire.Producer(held.url, "operator")
    operator.ask("CANCEL", {"id": job.id}).expect("CANCELLED")
    operator.close()
    with pytest.raises(latentd.JobCancelled) as caught:
        job.result(PATIENCE_S)
    assert isinstance(caught.value, concurrent.futures.CancelledError)
    assert job.state == "cancelled"


def test_jobs_can_be_awaited(service, connect):
    client = connect(service)

    async def main():
        first = await pixels(client)
        others = await asyncio.gather(*[pixels(client, s) for s in range(5)])
        return first, others

    first, others = asyncio.run(main())
    assert first.numpy().shape == (64, 64, 3)
    assert len({one.bytes() for one in others}) == 5


def test_a_cancelled_task_cancels_its_job(held, connect):
    client = connect(held)
    job = pixels(client)

    async def main():
        waits = asyncio.Event()

        async def wait():
            waits.set()
            await job

        task = asyncio.ensure_future(wait())
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert job.cancelled()


def test_a_failed_job_fails_its_awaiter(start_fake, start_daemon, connect):
    fake = start_fake(then=fakes.status(400, "no such shape"))
    client = connect(start_daemon(fake.section()))

    async def main():
        with pytest.raises(latentd.JobFailed, match="no such shape") as caught:
            await pixels(client)
        assert caught.value.code == "refused"

    asyncio.run(main())


def test_many_threads_share_a_client(service, connect):
    client = connect(service)

    def work(worker):
        return [
            (seed, pixels(client, seed).result(PATIENCE_S).bytes())
            for seed in range(worker, worker + 10)
        ]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = [pair for pairs in pool.map(work, range(8)) for pair in pairs]
    assert len(found) == 80
    assert len(set(found)) == 17


def test_clients_in_threads_and_tasks_do_not_meet(service, connect):
    client, other = connect(service), connect(service)
    jobs = [pixels(c, seed) for seed in range(5) for c in (client, other)]
    values = [job.result(PATIENCE_S).bytes() for job in jobs]
    assert values[0::2] == values[1::2]


def test_a_full_client_raises_or_waits(held, connect):
    client = connect(held, max_jobs=2)
    jobs = [pixels(client, seed) for seed in range(2)]
    with pytest.raises(latentd.Busy, match="2 jobs"):
        pixels(client, 2, block=False)
    with pytest.raises(latentd.Busy):
        pixels(client, 2, timeout=0.01)
    late = []
    thread = threading.Thread(
        target=lambda: late.append(pixels(client, 2)))
    thread.start()
    held.fake.wait_requests(2)
    assert late == []
    held.gate.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    for seed, job in enumerate(jobs + late):
        assert (job.result(PATIENCE_S).numpy() == expected(z_of(seed))).all()


def test_the_bytes_in_flight_are_bounded_too(held, connect):
    client = connect(held, max_bytes=600)
    first = pixels(client)
    with pytest.raises(latentd.Busy, match="of at most"):
        pixels(client, 1, block=False)
    with pytest.raises(latentd.InvalidError, match="at most 600"):
        client.decode(np.zeros((1, 4, 16, 16), np.float16), "sd-v1")
    held.gate.set()
    first.result(PATIENCE_S)


def test_a_busy_daemon_only_delays(service, start_endpoint, start_daemon,
                                   short_tmp, connect):
    client = connect(service)
    jobs = [pixels(client, seed) for seed in range(200)]
    assert len({job.result(PATIENCE_S).id for job in jobs}) == 200


def test_a_job_that_a_busy_daemon_does_not_take_fails(
        start_fake, start_daemon, stack, connect):
    gate = threading.Event()
    stack.callback(gate.set)
    fake = start_fake(then=fakes.held(gate))
    client = connect(start_daemon({"queue": {"jobs": 1}, **fake.section()}))
    first = pixels(client)
    first.wait_accepted(PATIENCE_S)
    with pytest.raises(latentd.Busy):
        pixels(client, 1, accept_timeout=0.01).result(PATIENCE_S)
    gate.set()
    first.result(PATIENCE_S)


def test_a_deadline_ends_a_job(held, connect):
    job = pixels(connect(held), deadline=0.05)
    with pytest.raises(latentd.JobExpired) as caught:
        job.result(PATIENCE_S)
    assert isinstance(caught.value, latentd.JobFailed)


def test_a_key_names_one_job(held, connect):
    client = connect(held)
    job = pixels(client, key="cat-7")
    assert pixels(client, key="cat-7") is job
    assert job.key == "cat-7"
    held.gate.set()
    assert job.result(PATIENCE_S).key == "cat-7"
    assert len(held.fake.requests) == 1


def test_map_keeps_the_order_and_looks_ahead_within_bounds(held, connect):
    client = connect(held)
    read = []

    def source():
        for seed in range(10):
            read.append(seed)
            yield z_of(seed)

    results = client.map(source(), "sd-v1", ahead=3, output="pixels")
    assert read == []
    thread_result = []
    thread = threading.Thread(
        target=lambda: thread_result.append(next(results)))
    thread.start()
    held.fake.wait_requests(3)
    assert read == [0, 1, 2]
    held.gate.set()
    thread.join(PATIENCE_S)
    found = thread_result + list(results)
    assert [(r.numpy() == expected(z_of(seed))).all()
            for seed, r in enumerate(found)] == [True] * 10


def test_map_that_ends_early_cancels_what_is_in_flight(held, connect):
    client = connect(held)
    results = client.map(
        (z_of(seed) for seed in range(100)), "sd-v1", ahead=4,
        output="pixels")
    held.gate.set()
    next(results)
    results.close()
    assert client.wait(PATIENCE_S)


def test_map_raises_what_a_job_failed_with(start_fake, start_daemon, connect):
    wrong = z_of(1).tobytes()

    def judge(exchange):
        refuse = fakes.status(400, "this one is wrong")
        (refuse if exchange.request.body == wrong else fakes.good)(exchange)

    client = connect(start_daemon(start_fake(then=judge).section()))
    results = client.map([z_of(0), z_of(1)], "sd-v1", ahead=2,
                         output="pixels")
    assert (next(results).numpy() == expected(z_of(0))).all()
    with pytest.raises(latentd.JobFailed, match="this one is wrong"):
        next(results)


def test_map_takes_arguments_per_input_and_tells_a_bar(service, connect):
    class Bar:
        made = []

        def __init__(self, total):
            self.total, self.n, self.closed = total, 0, False
            self.made.append(self)

        def update(self, n):
            self.n += n

        def close(self):
            self.closed = True

    client = connect(service)
    found = list(client.map(
        [{"latent": z_of(0), "output": "jpg"}, z_of(1)], "sd-v1", tqdm=Bar))
    assert [one.output for one in found] == ["jpg", "png"]
    (bar,) = Bar.made
    assert (bar.total, bar.n, bar.closed) == (2, 2, True)
    encoded = client.map([samples.picture()], "sd-v1", task="encode")
    assert next(encoded).numpy().shape == (1, 4, 6, 8)
    with pytest.raises(latentd.InvalidError):
        client.map([], "sd-v1", task="recode")
    with pytest.raises(latentd.InvalidError):
        client.map([], "sd-v1", ahead=0)


def test_map_shows_a_bar_of_tqdm(service, connect, capsys):
    pytest.importorskip("tqdm")
    list(connect(service).map([z_of(0)], "sd-v1", tqdm=True))
    assert "1/1" in capsys.readouterr().err
