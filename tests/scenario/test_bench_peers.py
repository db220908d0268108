# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of peers run and count right; how fast anything is, is not
asserted."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as xml
from contextlib import ExitStack
from pathlib import Path

import pytest

import processes

BENCH = processes.SOURCE_DIR / "bench"
sys.path.insert(0, str(BENCH / "peers"))

import peers  # noqa: E402
import pipeline  # noqa: E402
import plot  # noqa: E402
import scenarios  # noqa: E402
import told  # noqa: E402
import works  # noqa: E402
from servers import Stage, running  # noqa: E402

SMALL = scenarios.Scenario("small", tuple(scenarios.CONTESTANTS), 4, "small")


@pytest.fixture(scope="module")
def prepared():
    with processes.short_directory() as directory:
        yield works.prepare(["small"], processes.bin_dir(), Path(directory))


@pytest.fixture
def stage(prepared):
    with processes.short_directory() as directory:
        with Stage(processes.bin_dir(), Path(directory), prepared["small"], 1,
                   4) as running:
            yield running


@pytest.mark.parametrize("name", scenarios.CONTESTANTS)
def test_every_contestant_does_its_jobs(stage, name):
    if not scenarios.is_here(name):
        pytest.skip(f"what {name} needs is not here")
    runs = peers.measure(stage, SMALL, [name], 2, 0.02, warm_n=8)[name]
    # A trial, and then the same number twice; the endpoint counted as many,
    # or none of those that never get there.
    assert len(runs) == 2 and runs[0]["jobs"] == runs[1]["jobs"] >= 20
    reaches = scenarios.CONTESTANTS[name].reaches_endpoint
    assert (stage.served_n() > 2 * runs[0]["jobs"]) == reaches
    for one in runs:
        assert 0 < one["p50_us"] <= one["p99_us"]
        # None of four can have had less than the service time.
        assert one["p50_us"] >= 1000 or not reaches
        assert one["jobs_per_s"] <= 4000 or not reaches
        assert one["client_cpu_us"] > 0 and one["client_rss_mib"] > 1
        assert ("middle_cpu_us" in one) == bool(
            scenarios.CONTESTANTS[name].middle)


def test_many_producers_share_the_jobs(stage):
    scenario = scenarios.Scenario("many", ("ipc",), 8, "small", producers=4)
    stage.middle("latentd")
    one = peers.run(stage, scenario, scenarios.CONTESTANTS["ipc"],
                    peers.whole(scenario, 21))
    assert one["jobs"] == 24


@pytest.mark.parametrize("name", [
    "guide", "threads", "curl", "ipc", "nng-ipc"])
def test_a_reply_of_another_length_is_no_result(stage, name):
    stage.middle(scenarios.CONTESTANTS[name].middle or "latentd")
    argv = peers.argv_of(stage, SMALL, scenarios.CONTESTANTS[name], 4, 1)
    argv[argv.index(stage.prepared.reply_bytes)] += 1
    done = subprocess.run(list(map(str, argv)), capture_output=True,
                          timeout=processes.PATIENCE_S)
    assert done.returncode == 1 and not done.stdout


def test_an_endpoint_serves_requests_in_the_order_they_came(stage):
    """Of those that come together, too: here it is stopped meanwhile."""
    pid, turns = stage.endpoint.child.pid, select.epoll()
    peers_n = 64
    with ExitStack() as stack:
        stack.callback(turns.close)
        sockets, order = [], {}
        for i in range(peers_n):
            sock = stack.enter_context(socket.create_connection(
                ("127.0.0.1", stage.ports["direct"])))
            # So that it is accepted, and whoever serves it waits.
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert sock.recv(1024).startswith(b"HTTP/1.1 200")
            turns.register(sock, select.EPOLLIN | select.EPOLLONESHOT)
            order[sock.fileno()] = i
            sockets.append(sock)
        # It has done with the last of them, too.
        stage.served_n()
        os.kill(pid, signal.SIGSTOP)
        stack.callback(os.kill, pid, signal.SIGCONT)
        assert os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        for sock in sockets:
            sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        os.kill(pid, signal.SIGCONT)
        came = []
        while len(came) < peers_n:
            # As the kernel got them, however late this looks.
            events = turns.poll(processes.PATIENCE_S)
            assert events
            came += [order[fd] for fd, _ in events]
    assert came == list(range(peers_n))


def test_all_places_of_an_endpoint_are_busy_to_the_end():
    scenario = scenarios.Scenario("timed", ("ipc",), 8, service_ms=50,
                                  places=4, producers=6)
    assert peers.whole(scenario, 25) == 36
    # Without a service time there is nothing to be idle.
    assert peers.whole(scenarios.Scenario("at once", ("ipc",), 8), 25) == 25


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_nobody_has_always_the_same_turn(n):
    names = [f"c{i}" for i in range(n)]
    orders = [peers.in_turn(names, i) for i in range(2 * n)]
    for i, order in enumerate(orders):
        assert sorted(order) == names and order[0] == names[i % n]
    if n > 2:
        before = {(a, b) for order in orders for a, b in zip(order, order[1:])}
        assert {(b, a) for a, b in before} == before


def test_cpu_time_is_also_that_of_ended_threads(tmp_path):
    burn = ("import threading, time\n"
            "def work():\n"
            "    while time.thread_time() < 0.2:\n"
            "        pass\n"
            "thread = threading.Thread(target=work)\n"
            "thread.start()\n"
            "thread.join()\n"
            "print('done', flush=True)\n"
            "threading.Event().wait()\n")
    with running([sys.executable, "-c", burn], tmp_path,
                 threading.Event()) as server:
        server.wait_until(lambda: server.log.read_text() or None)
        used = server.used()
        assert 0.2 <= used["cpu_s"] <= server.cpu_s()
        assert used["switches"] > 0 and used["rss_bytes"] > 2**20


def a_run(jobs_per_s, **more):
    return {"jobs": 10, "jobs_per_s": jobs_per_s, "p50_us": 100, "p99_us": 200,
            "client_cpu_us": 10, "client_switches": 1, "client_rss_mib": 5,
            "endpoint_cpu_us": 3, "version": "1", **more}


def with_middle(jobs_per_s, cpu_us, **more):
    return a_run(jobs_per_s, middle_cpu_us=cpu_us, middle_switches=2,
                 middle_rss_mib=7, **more)


RESULT = {
    "machine": {"cpu": "one", "cpus": 2, "kernel": "6", "load_before": 0.1},
    "repeats": 3, "quick": False, "absent": ["nginx"], "seconds": 60,
    "versions": {"latentd": "1"},
    "bytes": {k: {"latent": 1, "reply": 2} for k in ("alone", "sixteen")},
    "memory": {"jobs": 10, "payload_bytes": 100 * 2**20,
               "resident_bytes": 123 * 2**20},
    "runs": {
        "alone": {"curl": [a_run(1000) for _ in range(3)],
                  "ipc": [with_middle(500, 10, p50_us=p)
                          for p in (250, 400, 320)]},
        "sixteen": {
            # Ratios of each round: 0.5, 1, 2; of the medians it would be 2/3.
            "haproxy": [with_middle(n, 100) for n in (200, 300, 400)],
            "ipc": [with_middle(n, c) for n, c in
                    ((100, 110), (300, 130), (800, 150))]}}}


def test_targets_are_judged_round_by_round():
    found = {t["what"]: t for t in told.targets(RESULT)}
    rate, cpu, added, memory = (
        next(t for what, t in found.items() if part in what)
        for part in ("jobs/s ÷", "CPU per job ÷", "p50 more", "resident"))
    assert len(found) == 4
    assert rate["value"] == 1 and rate["met"]
    assert cpu["value"] == pytest.approx(1.3) and not cpu["met"]
    assert added["value"] == 220 and added["met"]
    assert memory["value"] == 123 and memory["bound"] == "≤ 122 MiB"
    assert not memory["met"]


def test_the_page_says_what_is_met_and_what_is_absent():
    text = told.text({**RESULT, "targets": told.targets(RESULT)})
    assert "2 of 4 targets met" in text and text.count("**not met**") == 2
    assert "Not here: nginx; targets" in text
    assert "machine was busy" not in text and "nng alone" not in text
    assert "nng alone" in told.text({
        **RESULT, "versions": {"nng": "1"}, "targets": []})
    row = next(line for line in text.splitlines()
               if line.startswith("| liblatentd → ipc → latentd | 300"))
    assert "300 (100–800)" in row


def test_plots_are_drawings_of_every_row():
    for name, drawing in told.plots(RESULT).items():
        root = xml.fromstring(drawing)
        words = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
        if name in ("rate", "latency", "cpu"):
            assert words.count("liblatentd → ipc → latentd") == 2
        assert root.get("width") == str(plot.WIDTH)


def drawn(drawing, kind):
    return [e for e in xml.fromstring(drawing).iter(
        f"{{http://www.w3.org/2000/svg}}{kind}")]


@pytest.mark.parametrize("value", [0.5, 0.9, 0.95, 1, 1.05])
def test_no_figure_stands_on_the_mark(value):
    drawing = plot.bars("title", [("heading", [
        plot.Bar("label", value, value, value, "0.000"),
        plot.Bar("label", 1.2, 1.1, 1.3, "1.200")])], "about", mark=1)
    mark_x = next(float(line.get("x1")) for line in drawn(drawing, "line")
                  if line.get("stroke-dasharray"))
    figure = next(t for t in drawn(drawing, "text") if t.text == "0.000")
    begin_x = float(figure.get("x"))
    assert not begin_x <= mark_x <= begin_x + 5 * 6


def test_a_timeline_shows_what_overlaps():
    spans = [plot.Span("own", *times, "#123456")
             for times in ((0, 4), (4, 9), (2, 6), (12, 15.5))]
    drawing = plot.timeline("title", [("heading", spans)], {})
    bars = sorted(
        (float(r.get("x")), float(r.get("y")), float(r.get("width")))
        for r in drawn(drawing, "rect") if r.get("fill") == "#123456")
    # By their begin: the second overlaps the first and the third.
    assert [y > bars[0][1] for _, y, _ in bars] == [False, True, False, False]
    # Nothing of the same height overlaps.
    for (x, _, width), (next_x, _, _) in zip(bars[::2], bars[2::2]):
        assert x + width <= next_x
    said = [t.text for t in drawn(drawing, "text")]
    assert said[-8:] == [f"{2 * i} s" for i in range(8)]


@pytest.mark.parametrize("value, said", [
    (0.06234, "0.06"), (1.5, "1.50"), (15.23, "15.2"), (152.3, "152"),
    (15234, "15,234")])
def test_numbers_have_three_digits(value, said):
    assert told.number(value) == said


def test_the_pipeline_does_every_picture_in_every_way(tmp_path):
    released = Path(os.environ.get(
        "LATENTD_RELEASE_BIN_DIR", processes.SOURCE_DIR / "build/check/bin"))
    options = {"scale": 0.1, "repeats": 1, "pictures": 3}
    row = ("RTX 4090", "sd-v1", 512)
    found = pipeline.measure(released, [row], options)
    assert [times for _, times, _ in found] == list(pipeline.TIMES_DECODE)
    decode_s = pipeline.GUIDE_S[row] * options["scale"]
    for _, times, runs in found:
        assert list(runs) == list(pipeline.MODES)
        for rounds in runs.values():
            for one in rounds[0]:
                assert len(one["generated"]) == len(one["decoded"]) == 3
                for begin, end in one["generated"]:
                    assert end - begin >= times * decode_s
        # Serially nothing overlaps within a producer.
        assert pipeline.wall_s(runs["serial"][0]) >= \
            3 * (1 + times) * decode_s
    table = pipeline.table(found, 4, options)
    assert "| RTX 4090 | sd-v1 | 512² | 0.124 s | 0.031 s |" in table
    # What is kept of it is enough to draw it again.
    kept = json.loads(json.dumps(pipeline.drawn(found)))
    words = list(xml.fromstring(pipeline.drawing(kept, options)).itertext())
    # A row for each producer, way and case.
    assert sum(w.endswith(" decodes") for w in words) == 3 * 3 * 2


def test_a_wrong_name_is_an_error(tmp_path):
    done = processes.run(sys.executable, BENCH / "peers/peers.py",
                         processes.bin_dir(), tmp_path, "no-such", check=2)
    assert b"there is no no-such; there are alone," in done.stderr
    assert json.dumps(list(tmp_path.iterdir())) == "[]"


def test_a_scenario_without_any_of_the_contestants_is_an_error(tmp_path):
    done = processes.run(sys.executable, BENCH / "peers/peers.py",
                         processes.bin_dir(), tmp_path, "alone", "threads",
                         check=2)
    assert b"none of the contestants named is here" in done.stderr


@pytest.mark.parametrize("number, status", [
    (signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_a_run_that_is_interrupted_leaves_nothing(number, status):
    with processes.short_directory() as directory:
        child = subprocess.Popen(
            [sys.executable, BENCH / "peers/peers.py", processes.bin_dir(),
             directory, "--quick", "--repeats", "100000", "alone", "gateway"],
            env={**os.environ, "TMPDIR": str(directory)},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True)
        try:
            # In the middle of it: its daemon and its endpoint run.
            assert "1/100000" in child.stderr.readline()
            assert len(list(Path(directory).iterdir())) == 1
            if number == signal.SIGINT:
                # As a terminal does it, to all.
                os.killpg(child.pid, number)
            else:
                child.send_signal(number)
            said = child.communicate(timeout=processes.PATIENCE_S)[1]
            assert child.returncode == status and "Traceback" not in said
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
        with pytest.raises(ProcessLookupError):
            os.killpg(child.pid, 0)
        assert not list(Path(directory).iterdir())
