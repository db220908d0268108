# SPDX-License-Identifier: Apache-2.0
"""How clients begin and end: no daemon, a lost one, fork, Python's own end."""

import copy
import gc
import os
import pickle
import signal
import sys
import threading
import time
import weakref
from itertools import islice

import pytest

import fakes
import latentd
import processes
import samples
from arrays import array_of
from order import wait_ended

PATIENCE_S = 60


def z_of(seed=0):
    return array_of(samples.latent("sd-v1", seed=seed))


def pixels(client, seed=0, **options):
    return client.decode(z_of(seed), "sd-v1", output="pixels", **options)


def expected(seed=0):
    return fakes.fake_pixels(z_of(seed).tobytes(), 1, 64, 64)[0]


# What scripts begin with: `job()` submits something.
SETUP = """
import sys, numpy as np, latentd
z = np.zeros((1, 4, 8, 8), np.float16)
def job(client, i=0):
    return client.decode(z + np.float16(i), "sd-v1", output="pixels")
"""


def test_a_missing_daemon_is_a_connection_error(short_tmp):
    with pytest.raises(latentd.DaemonUnavailable) as caught:
        latentd.connect(f"ipc://{short_tmp}/none", timeout=0.05)
    assert isinstance(caught.value, ConnectionError)
    assert "is latentd running?" in str(caught.value)


@pytest.mark.parametrize("url, name", [
    ("http://127.0.0.1", None), ("ipc:///tmp/x", "two words"),
    ("ipc:///tmp/x", ""),
])
def test_wrong_options_are_refused(url, name):
    with pytest.raises(latentd.InvalidError):
        latentd.connect(url, name, timeout=0.05)


@pytest.mark.parametrize("options", [
    {"timeout": None}, {"timeout": -1}, {"timeout": float("nan")},
    {"max_jobs": -1}, {"max_bytes": -1},
])
def test_numbers_that_mean_nothing_are_refused(options):
    (name, value), = options.items()
    with pytest.raises(latentd.InvalidError, match=f"{name} is {value}"):
        latentd.connect("ipc:///tmp/x", **options)


def test_sentences_name_arguments_and_not_a_programs_options(short_tmp):
    with pytest.raises(latentd.DaemonUnavailable, match="or url=$"):
        latentd.connect(f"ipc://{short_tmp}/none", timeout=0.05)
    with pytest.raises(latentd.InvalidError, match=" tls_ca= "):
        latentd.connect("tls+tcp://127.0.0.1:1", timeout=0.05)


def test_the_daemon_is_found_by_its_variable(service, monkeypatch):
    monkeypatch.setenv("LATENTD_URL", service.url)
    assert latentd.default_url() == service.url
    with latentd.connect() as client:
        assert client.status()["state"] == "running"
    monkeypatch.delenv("LATENTD_URL")
    assert latentd.default_url() == "ipc:///run/latentd/latentd.sock"


def test_a_with_block_waits_for_its_jobs(service):
    with latentd.connect(service.url) as client:
        jobs = [pixels(client, seed) for seed in range(5)]
    assert all(job.done() for job in jobs)
    assert [job.result(0).numpy().shape for job in jobs] == [(64, 64, 3)] * 5


def test_a_with_block_that_fails_does_not_wait(held):
    with pytest.raises(KeyError):
        with latentd.connect(held.url) as client:
            job = pixels(client)
            raise KeyError("x")
    with pytest.raises(latentd.ClientClosed, match="cancelled the job"):
        job.result(0)


def test_a_closed_client_says_so(service, connect):
    client = connect(service)
    job = pixels(client)
    job.result(PATIENCE_S)
    client.close()
    client.close()
    assert not client.usable()
    with pytest.raises(latentd.ClientClosed, match="connect again"):
        pixels(client)
    with pytest.raises(latentd.ClientClosed):
        client.status()
    assert job.id > 0 and not job.cancel()
    assert "done" in job.why()


def test_a_client_that_nobody_has_any_more_closes(service):
    before = threading.active_count()
    client = latentd.connect(service.url)
    core = weakref.ref(client._core)
    result = pixels(client).result(PATIENCE_S)
    del client
    gc.collect()
    processes.wait_until(
        lambda: threading.active_count() == before, "its thread has ended")
    gc.collect()
    assert core() is None
    assert result.numpy().shape == (64, 64, 3)


def test_a_client_lives_as_long_as_its_jobs(held):
    job = pixels(latentd.connect(held.url))
    gc.collect()
    held.gate.set()
    assert (job.result(PATIENCE_S).numpy() == expected()).all()


def test_what_cannot_be_pickled_says_what_can(service, connect):
    client = connect(service)
    job = pixels(client)
    result = job.result(PATIENCE_S)
    for value, sentence in ((client, "connect in the other process"),
                            (job, "cannot be pickled; pass its key"),
                            (result, r"pass \.bytes\(\)")):
        with pytest.raises(TypeError, match=sentence):
            pickle.dumps(value)
    assert copy.copy(result) is copy.deepcopy(result) is result


def test_a_restarted_daemon_gets_the_jobs_again(
        start_fake, start_daemon, connect, stack):
    gate = threading.Event()
    stack.callback(gate.set)
    fake = start_fake(then=fakes.held(gate))
    daemon = start_daemon(fake.section())
    client = connect(daemon)
    job = pixels(client)
    fake.wait_requests(1)
    daemon.kill()
    late = pixels(client, 1)
    assert not job.done() and late.state == "waiting"
    assert "waiting" in late.why(0.01)
    with pytest.raises(latentd.ResultTimeout):
        late.result(0.01)
    start_daemon(fake.section())
    gate.set()
    assert (job.result(PATIENCE_S).numpy() == expected()).all()
    assert (late.result(PATIENCE_S).numpy() == expected(1)).all()


def test_a_daemon_that_is_gone_does_not_hold_up_the_end(
        start_fake, start_daemon, connect):
    daemon = start_daemon(start_fake().section())
    client = connect(daemon)
    daemon.kill()
    job = pixels(client)
    client.close()
    with pytest.raises(latentd.ClientClosed):
        job.result(0)


def test_a_named_clients_jobs_outlive_it(held, connect):
    first = connect(held, "me")
    jobs = [pixels(first, seed, key=f"k{seed}") for seed in range(2)]
    for job in jobs:
        job.wait_accepted(PATIENCE_S)
    first.close()
    with pytest.raises(latentd.ClientClosed, match=r"collect\(\)"):
        jobs[0].result(0)
    held.gate.set()
    second = connect(held, "me")
    found = {result.key: result.numpy()
             for result in islice(second.collect(PATIENCE_S), 2)}
    assert set(found) == {"k0", "k1"}
    assert (found["k1"] == expected(1)).all()
    second.close()
    assert list(connect(held, "me").collect(0)) == []
    assert len(held.fake.requests) == 2


def test_a_key_finds_the_job_of_an_earlier_run(held, connect):
    first = connect(held, "me")
    pixels(first, key="cat").wait_accepted(PATIENCE_S)
    first.close()
    second = connect(held, "me")
    job = pixels(second, key="cat")
    held.gate.set()
    assert (job.result(PATIENCE_S).numpy() == expected()).all()
    assert len(held.fake.requests) == 1


def test_a_result_that_was_not_looked_at_is_delivered_again(held, connect):
    held.gate.set()
    first = connect(held, "me")
    jobs = [pixels(first, seed, key=f"k{seed}") for seed in range(3)]
    assert first.wait(PATIENCE_S)
    jobs[0].result(0)
    first.close()
    second = connect(held, "me")
    found = [result.key for result in
             islice(second.collect(PATIENCE_S), 2)]
    assert sorted(found) == ["k1", "k2"]
    del jobs


def test_what_nobody_else_can_get_is_forgotten_when_it_is_here(
        service, connect):
    client = connect(service)
    results = [pixels(client, seed).result(PATIENCE_S) for seed in range(3)]
    processes.wait_until(
        lambda: client.status()["jobs"]["kept"] == 0,
        "all are acknowledged before anybody looked")
    assert len({result.bytes() for result in results}) == 3


def test_what_was_looked_at_is_forgotten_while_it_is_used(held, connect):
    client = connect(held, "me")
    held.gate.set()
    arrays = [pixels(client, seed).result(PATIENCE_S).numpy()
              for seed in range(3)]
    # Acknowledgements ride on the next request for a result.
    pixels(client, 3).result(PATIENCE_S)
    processes.wait_until(
        lambda: client.status()["jobs"]["kept"] <= 1,
        "the first three are acknowledged")
    assert (arrays[0] == expected()).all()


def test_waiting_to_be_accepted_ends_in_time_and_with_the_client(
        start_fake, start_daemon, connect):
    daemon = start_daemon(start_fake().section())
    client = connect(daemon)
    daemon.kill()
    job = pixels(client)
    with pytest.raises(latentd.ResultTimeout, match="accepted"):
        job.wait_accepted(0.01)
    failed = []

    def wait():
        try:
            job.wait_accepted()
        except latentd.LatentdError as error:
            failed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    client.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive() and len(failed) == 1


def test_only_names_of_ones_own_are_collected(service, connect):
    with pytest.raises(latentd.InvalidError, match="name"):
        next(connect(service).collect())


def test_a_name_that_another_secret_holds_is_denied(
        start_endpoint, start_daemon):
    url = f"tcp://127.0.0.1:{processes.free_port()}"
    daemon = start_daemon({
        "daemon": {"listen": url}, **start_endpoint().sections()})
    with latentd.connect(daemon.url, "me", secret=b"one") as client:
        job = pixels(client)
        job.wait_accepted(PATIENCE_S)
        with latentd.connect(daemon.url, "me", secret=b"two") as other:
            with pytest.raises(latentd.Denied, match="secret") as caught:
                next(other.collect(PATIENCE_S))
            assert isinstance(caught.value, PermissionError)
            # Its own jobs are its own.
            pixels(other).result(PATIENCE_S)
        job.result(PATIENCE_S)


def test_python_ends_with_jobs_of_a_named_client_and_says_how_to_get_them(
        held, script, connect):
    done = script(SETUP + """
client = latentd.connect(name="me")
jobs = [job(client, i) for i in range(3)]
for one in jobs:
    one.wait_accepted()
""", held, check=0)
    text = done.stderr.decode()
    assert "UnfinishedJobsWarning" in text
    assert "ends with 3 latentd jobs in flight" in text
    assert "latentctl collect --producer me" in text
    held.gate.set()
    client = connect(held, "me")
    assert len(list(islice(client.collect(PATIENCE_S), 3))) == 3


def test_python_ends_with_jobs_that_nobody_can_collect_and_cancels_them(
        held, script):
    done = script(SETUP + """
client = latentd.connect()
job(client).wait_accepted()
""", held, check=0)
    assert "1 latentd job in flight, cancelled" in done.stderr.decode()
    assert [e.outcome for e in wait_ended(held, 1)] == ["cancelled"]


@pytest.mark.parametrize("end", ["", "client.close()", "del client",
                                 "sys.exit(0)", "raise SystemExit"])
def test_python_ends_quietly_when_nothing_is_in_flight(service, script, end):
    done = script(SETUP + f"""
client = latentd.connect()
result = job(client).result(60)
array = result.numpy()
{end}
""", service, check=0)
    assert done.stderr == b""


def test_python_ends_although_the_daemon_is_gone(service, script):
    done = script(SETUP + f"""
import os, signal
client = latentd.connect()
os.kill({service.pid}, signal.SIGKILL)
job(client)
""", service, check=0)
    service.wait()
    assert "1 latentd job in flight" in done.stderr.decode()


def test_an_exception_in_a_script_shows_as_usual(held, script):
    done = script(SETUP + """
with latentd.connect() as client:
    job(client)
    raise KeyError("mine")
""", held, check=1)
    assert done.stderr.decode().rstrip().endswith("KeyError: 'mine'")


FORK = SETUP + """
import os
client = latentd.connect()
done = job(client).result(60)
pending = job(client, 1)
pid = os.fork()
if pid == 0:
    status = 1
    try:
        said = []
        for use in (lambda: job(client), lambda: client.status(),
                    lambda: pending.result(0), lambda: latentd.connect()):
            try:
                use()
            except latentd.ClientClosed as error:
                said.append("fork" in str(error))
        assert said == [True] * 4, said
        assert done.numpy().shape == (64, 64, 3)
        client.close()
        assert not pending.cancel()
        status = 0
    finally:
        os._exit(status)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print(pending.result(60).numpy().shape)
"""


def test_a_forked_child_gets_an_error_and_the_parent_goes_on(service, script):
    done = script(FORK, service, check=0)
    assert done.stdout == b"(64, 64, 3)\n"
    assert done.stderr == b""


def test_a_forked_child_ends_without_touching_the_parents_jobs(
        held, script):
    done = script(SETUP + """
import os
client = latentd.connect(name="me")
one = job(client)
one.wait_accepted()
pid = os.fork()
if pid == 0:
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print(one.state)
""", held, check=0)
    assert done.stdout == b"accepted\n"
    assert done.stderr.decode().count("UnfinishedJobsWarning:") == 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_may_connect_when_the_parent_did_not(
        service, script, tmp_path, method):
    (tmp_path / "work.py").write_text(SETUP + """
def work(i):
    with latentd.connect() as client:
        return job(client, i).result(60).bytes()[:3]
""")
    done = script(f"""
import multiprocessing, sys
sys.path.insert(0, {str(tmp_path)!r})
import work
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with context.Pool(2) as pool:
        print(len(pool.map(work.work, range(4))))
""", service, check=0)
    assert done.stdout == b"4\n"


def test_ctrl_c_ends_a_wait(held, stack):
    process = stack.enter_context(processes.Process(
        [sys.executable, "-c", SETUP + """
client = latentd.connect(max_jobs=1)
one = job(client)
one.wait_accepted()
for wait in (one.result, client.wait, lambda: job(client, 1)):
    try:
        print("waiting", flush=True)
        wait()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""], env={"PYTHONPATH": os.environ.get("PYTHONPATH", "") + ":" +
           str(processes.SOURCE_DIR / "client/python"),
           "LATENTD_URL": held.url}))
    for n in range(3):
        process.wait_line("waiting\n" + "interrupted\nwaiting\n" * n,
                          "stdout")
        process.signal(signal.SIGINT)
        process.wait_line("(waiting\ninterrupted\n){%d}" % (n + 1),
                          "stdout")
    assert process.wait() == 0


def test_wrong_libraries_are_named(script, tmp_path):
    (tmp_path / "no.so").write_bytes(b"not a library")
    for path, word in ((tmp_path / "none.so", "none.so"),
                       (tmp_path / "no.so", "no.so"),
                       ("libc.so.6", "latentd_err_name")):
        done = script("import latentd\nlatentd.connect()",
                      env={"LATENTD_LIBRARY": str(path)}, check=1)
        text = done.stderr.decode()
        assert "LibraryMissing: cannot load liblatentd.so.0" in text
        assert word in text and "LATENTD_LIBRARY" in text


def test_no_thread_runs_while_nothing_happens(held, connect):
    """The receiving thread sleeps: no time passes on its clock."""
    client = connect(held)
    job = pixels(client)
    held.fake.wait_requests(1)
    thread = client._core._thread

    def cpu_s():
        return time.clock_gettime(
            time.pthread_getcpuclockid(thread.ident))

    before = cpu_s()
    # Enough turns of the test's own for a poll loop to show.
    for _ in range(20):
        assert not job.done()
        threading.Event().wait(0.01)
    assert cpu_s() - before < 0.01
    held.gate.set()
    job.result(PATIENCE_S)
