# SPDX-License-Identifier: Apache-2.0
"""Failed jobs that are kicked and purged, lists, and who may do what."""

import json
import threading

import pytest

import processes
import wire
from fakes import fake_pixels, good, held, never, status
from samples import direct_pixels, latent

Z = latent(seed=1)


def submit(producer, key="k", z=Z):
    return producer.submit(key, z.data, **z.fields, output="pixels")


def check(result, z=Z, **fields):
    result.expect("RESULT", state="done", code="ok", **fields)
    n, _, height, width = z.fields["shape"]
    pixels = fake_pixels(z.data, n, height * 8, width * 8)
    assert result.body == pixels.tobytes()


def report(daemon):
    return json.loads(wire.report(daemon.url))


def listed(producer, **fields):
    """All pages of LIST."""
    jobs, after = [], 0
    while after is not None:
        page = json.loads(
            producer.ask("LIST", {**fields, "after": after})
            .expect("REPORT").body
        )
        jobs += page["jobs"]
        assert page["next"] is None or page["next"] > after
        after = page["next"]
    return jobs


def bury(producer, key="k", z=Z):
    """A job that fails, delivered and acknowledged; its id."""
    job = submit(producer, key, z)
    producer.take(key).expect("RESULT", state="failed")
    producer.thank()
    return job


@pytest.fixture
def gate(stack):
    """An event that opens at the end, so that no fake waits for ever."""
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


@pytest.fixture
def tcp(short_tmp, stack):
    """tcp(daemon, name="t"): a producer over tcp; with_tcp(sections) first."""

    class Tcp:
        url = f"tcp://127.0.0.1:{processes.free_port()}"

        def sections(self, sections):
            listen = [f"ipc://{short_tmp}/latentd.sock", self.url]
            return {**sections, "daemon": {"listen": listen}}

        def connect(self, name="t", secret=b"s"):
            return stack.enter_context(
                wire.Producer(self.url, name, secret=secret)
            )

    return Tcp()


# ---- failed jobs ----


def test_a_failed_job_is_kicked_when_the_endpoint_is_fixed(
    start_fake, start_daemon, connect, latentctl
):
    fake = start_fake(status(400, "no model loaded"))
    daemon = start_daemon(fake.section())
    producer = connect(daemon)
    job = bury(producer)
    [row] = listed(producer, state="failed")
    assert (row["id"], row["key"], row["buried"]) == (job, "k", True)
    assert "no model loaded" in row["reason"]
    assert report(daemon)["jobs"]["buried"] == 1
    table = latentctl(daemon, "jobs", "--failed", check=0).stdout.decode()
    assert max(map(len, table.splitlines())) <= 80
    assert f"{job} buried" in table and "no model loaded" in table

    done = latentctl(daemon, "kick", job, check=0)
    assert done.stdout == b""
    result = producer.take("k")
    check(result, kicks=1, attempts=2, id=job)
    producer.thank()
    assert report(daemon)["queue"]["jobs"] == 0
    producer.ask("ADMIN", {"op": "kick", "id": job}).expect(
        "REJECTED", code="not_found"
    )


def test_a_job_that_was_given_up_is_kicked_by_its_producer(
    start_fake, start_daemon, connect
):
    fake = start_fake(*[status(500)] * 5)
    # Two at once, so that its tries are not put off for long.
    daemon = start_daemon({**fake.section(), "queue": {"attempts": 5}})
    producer = connect(daemon)
    job = bury(producer)
    producer.ask("ADMIN", {"op": "kick", "id": job}).expect("DONE", jobs=1)
    check(producer.take("k"), kicks=1, attempts=6)
    producer.thank()


def test_a_failure_that_is_not_collected_yet_is_replaced_by_the_result(
    start_fake, start_daemon, connect
):
    fake = start_fake(status(400, "no"))
    daemon = start_daemon(fake.section())
    producer = connect(daemon)
    job = submit(producer)
    leased = producer.collect().expect("RESULT", state="failed")
    producer.ask("ADMIN", {"op": "kick", "id": job}).expect("DONE", jobs=1)
    # Its acknowledgement, which comes too late, costs nothing.
    check(producer.collect(25000, [leased["tag"]]), kicks=1)


def test_a_batch_keeps_the_parts_that_were_done(
    start_fake, start_daemon, connect
):
    fake = start_fake(good, status(400, "no"))
    daemon = start_daemon(fake.section(parallel=1))
    producer = connect(daemon)
    z = latent(batch=3)
    job = producer.submit("k", z.data, **z.fields, output="jpg")
    producer.take("k").expect("RESULT", state="failed")
    producer.thank()
    producer.ask("ADMIN", {"op": "kick", "id": job}).expect("DONE", jobs=1)
    result = producer.take("k").expect("RESULT", state="done")
    assert len(result.parts) == 3
    assert len(fake.requests) == 4
    producer.thank()


def test_a_kicked_job_that_fails_again_is_buried_again(
    start_fake, start_daemon, connect
):
    daemon = start_daemon(start_fake(then=status(400, "no")).section())
    producer = connect(daemon)
    job = bury(producer)
    for kicks in (1, 2):
        producer.ask("ADMIN", {"op": "kick", "all": 1}).expect("DONE", jobs=1)
        producer.take("k").expect(
            "RESULT", state="failed", kicks=kicks, id=job
        )
        producer.thank()
    assert [row["kicks"] for row in listed(producer)] == [2]
    purge = {"op": "purge", "id": job}
    producer.ask("ADMIN", purge).expect("DONE", jobs=1)
    producer.ask("ADMIN", purge).expect("REJECTED", code="not_found")
    assert report(daemon)["queue"]["bytes"] == 0


def test_kick_and_purge_all_take_those_of_one_producer_or_of_everybody(
    start_fake, start_daemon, connect, latentctl
):
    daemon = start_daemon(start_fake(*[status(400, "no")] * 5).section())
    a, b = connect(daemon, "a"), connect(daemon, "b")
    for i in range(3):
        bury(a, f"k{i}")
    for i in range(2):
        bury(b, f"k{i}")
    done = latentctl(
        daemon, "kick", "--all", "--producer", "b", "--json", check=0)
    assert json.loads(done.stdout) == {"jobs": 2}
    for result in b.take_all(2).values():
        check(result)
    done = latentctl(daemon, "purge", "--all-failed", check=0)
    assert done.stdout == b"3 failed jobs given up\n"
    assert report(daemon)["queue"]["jobs"] == 0
    assert report(daemon)["producers"] == []


def test_a_purged_failure_is_still_delivered_and_then_forgotten(
    start_fake, start_daemon, connect
):
    daemon = start_daemon(start_fake(status(400, "no")).section())
    producer = connect(daemon)
    submit(producer)
    processes.wait_until(
        lambda: report(daemon)["jobs"]["failed_total"], "it has failed")
    producer.ask("ADMIN", {"op": "purge", "all": 1}).expect("DONE", jobs=1)
    assert report(daemon)["queue"]["bytes"] == 0
    producer.take("k").expect("RESULT", state="failed", code="refused")
    producer.thank()
    assert report(daemon)["queue"]["jobs"] == 0


def test_the_key_of_a_buried_job_can_be_used_again(
    start_fake, start_daemon, connect
):
    daemon = start_daemon(start_fake(status(400, "no")).section())
    producer = connect(daemon)
    job = bury(producer)
    assert submit(producer) != job
    daemon.wait_line(f'job={job} .*"its key was submitted again": failed job forgotten')
    check(producer.take("k"))
    producer.thank()


def test_a_failed_job_is_forgotten_when_its_time_is_over(
    start_fake, start_daemon, connect
):
    daemon = start_daemon({
        **start_fake(status(400, "no")).section(), "queue": {"bury_s": 0},
    })
    producer = connect(daemon)
    job = bury(producer)
    daemon.wait_line(f'job={job} .*"nobody kicked it in time": failed job forgotten')
    assert report(daemon)["jobs"]["forgotten_total"] == 1
    assert report(daemon)["queue"]["jobs"] == 0


def test_buried_jobs_count_against_the_bounds(
    start_fake, start_daemon, connect
):
    daemon = start_daemon({
        **start_fake(status(400, "no")).section(), "queue": {"jobs": 1},
    })
    producer = connect(daemon)
    bury(producer)
    other = connect(daemon, "other")
    other.try_submit("k", Z.data, **Z.fields).expect("BUSY")
    producer.ask("ADMIN", {"op": "purge", "all": 1}).expect("DONE", jobs=1)
    submit(other)


def test_liblatentd_gets_the_result_of_a_kicked_job(
    start_fake, start_daemon, latentctl, tmp_path
):
    from files import write_latent
    fake = start_fake(status(400, "no"))
    daemon = start_daemon(processes.endpoint_sections(
        fake.url, ["sd-v1"], ["decode"]))
    path = write_latent(tmp_path / "z.safetensors", Z)
    latentctl(daemon, "submit", path, "--model", "sd-v1", check=0)
    latentctl(daemon, "collect", "--all", "--out", tmp_path / "a", check=1)
    latentctl(daemon, "kick", "--all", check=0)
    latentctl(daemon, "collect", "--all", "--out", tmp_path / "b", check=0)
    [picture] = (tmp_path / "b").iterdir()
    assert picture.suffix == ".png"


# ---- who may ----


def test_over_tcp_nobody_is_an_administrator(
    start_fake, start_daemon, connect, tcp
):
    fake = start_fake(status(400, "no"), status(400, "no"), then=never)
    daemon = start_daemon(tcp.sections(fake.section()))
    local, stranger = connect(daemon), tcp.connect()
    theirs = bury(local)
    own = bury(stranger)
    for op in ("pause", "resume", "drain"):
        reply = stranger.ask("ADMIN", {"op": op})
        reply.expect("REJECTED", code="denied")
        assert "root" in reply["message"]
    for fields in ({"op": "kick", "id": theirs}, {"op": "purge", "id": theirs}):
        stranger.ask("ADMIN", fields).expect("REJECTED", code="not_found")
    stranger.ask("WHY", {"id": theirs}).expect("REJECTED", code="not_found")
    assert [row["id"] for row in listed(stranger)] == [own]
    assert [row["id"] for row in listed(local)] == [theirs, own]
    assert report(daemon)["paused"] == {"in": False, "out": False}
    # Its own it may, and only these.
    stranger.ask("ADMIN", {"op": "purge", "all": 1}).expect("DONE", jobs=1)
    assert [row["id"] for row in listed(local)] == [theirs]
    tcp.connect("t", b"guessed")
    # On ipc this test is root, or the daemon's own user.
    job = submit(stranger, "queued")
    local.ask("CANCEL", {"id": job}).expect("CANCELLED", id=job)
    result = stranger.take("queued").expect("RESULT", state="cancelled")
    assert "administrator" in result["message"]
    stranger.thank()


def test_another_secret_sees_and_changes_nothing(
    start_fake, start_daemon, tcp
):
    start_daemon(tcp.sections(start_fake(status(400, "no")).section()))
    owner, guesser = tcp.connect("t", b"s"), tcp.connect("t", b"guess")
    job = bury(owner)
    for kind, fields in (
        ("LIST", {}), ("WHY", {"id": job}), ("WHY", {"key": "k"}),
        ("CANCEL", {"id": job}), ("ADMIN", {"op": "kick", "id": job}),
        ("ADMIN", {"op": "purge", "all": 1}),
    ):
        guesser.ask(kind, fields).expect("REJECTED", code="denied")
    assert len(listed(owner)) == 1


@pytest.mark.parametrize("fields, code, said", [
    ({"op": "kick"}, "invalid", "all"),
    ({"op": "purge", "id": 1, "all": 1}, "invalid", "all"),
    ({"op": "kick", "id": 99}, "not_found", "99"),
    ({"op": "purge", "id": 99}, "not_found", "99"),
    ({"op": "kick", "id": 1}, "invalid", "active"),
    ({"op": "purge", "id": 1}, "invalid", "active"),
    ({"op": "restart"}, "invalid", "restart"),
    ({}, "invalid", "op"),
])
def test_wrong_requests_change_nothing(
    start_fake, start_daemon, connect, fields, code, said
):
    fake = start_fake(then=never)
    daemon = start_daemon(fake.section())
    producer = connect(daemon)
    submit(producer)
    fake.wait_requests(1)
    reply = producer.ask("ADMIN", fields).expect("REJECTED", code=code)
    assert said in reply["message"]
    assert report(daemon)["jobs"]["active"] == 1


# ---- lists ----


def test_a_list_goes_page_by_page_and_filters(
    start_fake, start_daemon, connect, gate
):
    fake = start_fake(then=held(gate))
    daemon = start_daemon(fake.section(parallel=1))
    a, b = connect(daemon, "a"), connect(daemon, "b")
    ids = [
        submit(p, f"k{i}") for i, p in enumerate([a, b, a, b, a, a, b])
    ]
    fake.wait_requests(1)
    assert [row["id"] for row in listed(a)] == ids
    assert [row["id"] for row in listed(a, limit=2)] == ids
    assert [row["id"] for row in listed(a, of="b")] == [ids[1], ids[3], ids[6]]
    assert [row["id"] for row in listed(b, state="active")] == [ids[0]]
    assert listed(a, of="nobody") == []
    row = listed(a, of="b")[0]
    assert row["state"] == "queued" and row["key"] == "k1"
    page = json.loads(a.ask("LIST", {"limit": 3, "after": ids[1]}).body)
    assert [job["id"] for job in page["jobs"]] == ids[2:5]
    # A page begins behind a job that is gone by then, too.
    b.cancel("k3").expect("CANCELLED")
    b.take("k3")
    b.thank()
    assert [row["id"] for row in listed(a, state="queued")] == (
        ids[1:3] + ids[4:])
    page = json.loads(a.ask("LIST", {"after": ids[3]}).body)
    assert [job["id"] for job in page["jobs"]] == ids[4:]


def test_latentctl_jobs(start_fake, start_daemon, connect, latentctl, gate):
    fake = start_fake(then=held(gate))
    daemon = start_daemon(fake.section(parallel=1))
    assert latentctl(daemon, "jobs", "--json", check=0).stdout == b"[]\n"
    assert b"no such jobs" in latentctl(daemon, "jobs", check=0).stderr
    long = connect(daemon, "p" * 64)
    submit(long, "k" * 64)
    submit(connect(daemon, "b"))
    fake.wait_requests(1)
    rows = json.loads(latentctl(daemon, "jobs", "--json", check=0).stdout)
    assert [row["state"] for row in rows] == ["active", "queued"]
    rows = json.loads(latentctl(
        daemon, "jobs", "--json", "--producer", "b", check=0).stdout)
    assert [row["producer"] for row in rows] == ["b"]
    text = latentctl(daemon, "jobs", "--state", "queued", check=0)
    assert len(text.stdout.splitlines()) == 2
    text = latentctl(daemon, "jobs", check=0).stdout.decode()
    assert max(map(len, text.splitlines())) <= 80
    wrong = latentctl(daemon, "jobs", "--state", "lost", check=2)
    assert b"queued, active" in wrong.stderr


def test_latentctl_cancel_takes_keys_and_ids(
    start_fake, start_daemon, connect, latentctl
):
    daemon = start_daemon(start_fake(then=never).section(parallel=1))
    producer = connect(daemon, "latentctl")
    # The job with the key "2" has the id 1, and the other way round.
    assert [submit(producer, key) for key in ("2", "a", "b")] == [1, 2, 3]
    done = latentctl(daemon, "cancel", "b", "2", "2", "1", "7", "--json",
                     check=1)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(x["job"], x["done"], x.get("code")) for x in lines] == [
        ("b", True, None),
        # A key goes before an id, also when it has ended.
        ("2", True, None),
        ("2", False, "ended"),
        ("1", False, "ended"),
        ("7", False, "not_found"),
    ]
    producer.take_all(2)
    # Now it is an id.
    latentctl(daemon, "cancel", "2", check=0)
    producer.take("a").expect("RESULT", state="cancelled")
    producer.thank()
    again = latentctl(daemon, "cancel", "b", check=1)
    assert b"no job with key" in again.stderr


@pytest.mark.parametrize("argv, said", [
    (["kick"], "--all"), (["kick", "k"], "no id"),
    (["kick", "1", "--all"], "--all"), (["purge", "0"], "no id"),
    (["purge"], "--all-failed"), (["why"], "id or key"),
    (["pause"], "in, out or both"), (["pause", "left"], "in, out or both"),
    (["drain", "x"], "no argument"), (["jobs", "x"], "no argument"),
    (["top", "--failed"], "no option"), (["watch", "x"], "no argument"),
])
def test_wrong_usage_says_what_is_right(
    start_fake, start_daemon, latentctl, argv, said
):
    done = latentctl(None, *argv, check=2)
    assert said in done.stderr.decode() and done.stdout == b""


@pytest.mark.parametrize("command", [
    "jobs", "why", "cancel", "kick", "purge", "pause", "resume", "drain",
    "top", "watch"])
def test_help_fits_a_terminal(latentctl, command):
    text = latentctl(None, command, "--help", check=0).stdout.decode()
    assert text.startswith(f"usage: latentctl {command}")
    assert "--json" in text
    assert max(map(len, text.splitlines())) < 80


def test_a_dead_endpoint_costs_no_latent(start_daemon, connect, stack):
    """The whole story: nobody answers, the job waits, the endpoint comes."""
    port = processes.free_port()
    daemon = start_daemon({
        "endpoint dead": {"model": "sd-v1", "task": "decode",
                          "url": f"http://127.0.0.1:{port}/sd-v1"},
        "queue": {"attempts": 1},
    })
    producer = connect(daemon)
    job = submit(producer)
    daemon.wait_line("endpoint=dead is out now")
    why = json.loads(producer.ask("WHY", {"id": job}).body)
    assert (why["state"], why["buried"]) == ("queued", False)
    assert {a["code"] for a in why["attempts"]} == {"unreachable"}
    assert why["latent_bytes"] == len(Z.data)
    assert "dead is out" in why["why"]
    endpoint = stack.enter_context(processes.Endpoint(port=port))
    result = producer.take("k").expect("RESULT", state="done", id=job)
    producer.thank()
    assert result.body == direct_pixels(endpoint.url, Z).tobytes()
