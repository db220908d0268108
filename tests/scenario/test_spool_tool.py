# SPDX-License-Identifier: Apache-2.0
"""latentctl spool: what is in a spool can be checked and saved without a
daemon, and no damage makes it or the daemon crash."""

import json
import random
import re
import shutil
import threading

import numpy
import pytest

import processes
import wire
from fakes import fake_pixels, good, held, status
from files import read_safetensors
from samples import (
    direct_pixels, file_of, latent, picture, pixels_of, texts_of, values,
)

FLIPS_N = 60
CUTS_N = 20


@pytest.fixture
def gate(stack):
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


@pytest.fixture
def spool(short_tmp):
    return short_tmp / "spool"


@pytest.fixture
def start_spooled(start_daemon, spool):
    def start(sections, path=None, **keys):
        return start_daemon({
            "spool": {"path": path or spool, "size": "64M"}, **sections,
        }, **keys)

    return start


def run_spool(*args, check=None):
    return processes.run(
        processes.program("latentctl"), "spool", *args, check=check)


def expected(z, n=0):
    """The n-th picture of a latent, as fakes.good() makes it."""
    return fake_pixels(z.data, z.fields["shape"][0], 64, 64)[n]


PACKED = latent(height=8, width=12, packed=True, seed=40)
BATCH = latent(batch=3, seed=41)


@pytest.fixture
def filled(start_fake, start_spooled, gate):
    """A spool with a job of each kind, whose daemon was killed."""
    fake = start_fake(good, good, status(400), held(gate), then=held(gate))
    daemon = start_spooled(fake.section(parallel=1))
    with wire.Producer(daemon.url, "studio") as producer:
        def submit(key, z, **fields):
            reply = producer.try_submit(key, z.data, **z.fields, **fields)
            assert reply.expect("ACCEPTED")["durability"] == "spooled"

        def wait_ended(n):
            def look():
                told = json.loads(wire.report(daemon.url))["jobs"]
                return told["kept"] == n
            processes.wait_until(look, f"{n} jobs have ended")

        submit("done-png", BATCH, output="png",
               metadata=wire.metadata({"prompt": "three cats"}))
        wait_ended(1)
        submit("done-pixels", latent(seed=42), output="pixels")
        wait_ended(2)
        submit("..", latent(seed=43), output="png")  # fails
        wait_ended(3)
        submit("waits", latent(seed=44), output="pixels")
        submit("packed", PACKED, output="png", priority="high",
               deadline_ms=3600000,
               metadata=wire.metadata({"parameters": "a dog", "latentd.key":
                                       "not mine", "caf\xe9": "\u2603"}))
        # What comes behind it is on disk only after it.
        submit("last", latent(seed=45), output="jpg")
    daemon.kill()
    return fake


def manifest(out):
    return [json.loads(line)
            for line in (out / "manifest.jsonl").read_text().splitlines()]


# ---- good ones ----


def test_a_spool_in_use_is_refused(start_fake, start_spooled, spool):
    daemon = start_spooled(start_fake().section())
    for action in ("check", "stat", "export"):
        done = run_spool(action, spool, check=5)
        assert b"in use by latentd" in done.stderr
    assert daemon.stop() == 0
    assert b"all whole" in run_spool("check", spool, check=0).stdout


def test_check_and_stat_tell_what_is_there(filled, spool):
    done = run_spool("check", spool, check=0)
    assert b"6 jobs, 4 latents, 2 results" in done.stdout
    assert b"all whole" in done.stdout
    told = json.loads(run_spool("stat", spool, "--json", check=0).stdout)
    assert told["jobs"] == 6
    assert told["states"] == {"queued": 3, "done": 2, "failed": 1}
    assert told["latents"] == 4
    assert told["producers"]["studio"]["jobs"] == 6
    assert told["damages"] == []
    assert 0 < told["used_bytes"] <= told["file_bytes"]
    text = run_spool("stat", spool, check=0).stdout.decode()
    assert "6 jobs" in text
    assert re.search(r"the oldest is \d", text)


def test_export_writes_latents_and_results_with_all_that_is_known(
    filled, spool, short_tmp
):
    out = short_tmp / "out"
    run_spool("export", spool, "--out", out, check=0)
    lines = {(line["key"], line["part"]): line for line in manifest(out)}
    assert {line["file"] for line in lines.values()} | {"manifest.jsonl"} == {
        path.name for path in out.iterdir()}
    for path in out.iterdir():
        assert path.stat().st_mode & 0o077 == 0
        assert path.name == "manifest.jsonl" or path.name[:4] in (
            "job-", "resu")

    for n in range(3):
        line = lines["done-png", n]
        assert (line["what"], line["state"]) == ("result", "done")
        data = (out / line["file"]).read_bytes()
        assert (pixels_of(data) == expected(BATCH, n)).all()
        assert texts_of(data)["prompt"] == "three cats"
    (pixels,) = read_u8(out / lines["done-pixels", 0]["file"])
    assert (pixels == expected(latent(seed=42))).all()

    failed = lines["..", 0]
    assert (failed["what"], failed["state"]) == ("latent", "failed")
    assert failed["file"] == f"job-{failed['id']}.safetensors"

    line = lines["packed", 0]
    tensors, about = read_safetensors((out / line["file"]).read_bytes())
    want = values(PACKED.data, "float16", PACKED.fields["shape"])
    assert numpy.array_equal(tensors["latent"], want)
    assert about["parameters"] == "a dog"
    assert about["caf\xe9"] == "\u2603"
    got = {key.removeprefix("latentd."): value
           for key, value in about.items() if key.startswith("latentd.")}
    assert got.items() >= {
        "key": "packed", "producer": "studio", "model": "sd-v1",
        "task": "decode", "space": "model", "output": "png",
        "priority": "high", "width_px": "96", "height_px": "64",
        "deadline_ms": "3600000", "state": "queued",
    }.items()
    assert int(got["deadline_at_ms"]) - int(got["submitted_at_ms"]) \
        in range(3599000, 3600001)


def read_u8(path):
    """The uint8 tensor of a .safetensors."""
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8:8 + n])["image"]
    assert entry["dtype"] == "U8"
    return numpy.frombuffer(data[8 + n:], "u1").reshape(entry["shape"])


def test_export_replaces_nothing_unless_told_to(filled, spool, short_tmp):
    out = short_tmp / "out"
    out.mkdir()
    run_spool("export", spool, "--out", out, check=0)
    done = run_spool("export", spool, "--out", out, check=1)
    assert b"--force" in done.stderr
    (out / "manifest.jsonl").unlink()
    for path in out.iterdir():
        path.write_bytes(b"mine")
    done = run_spool("export", spool, "--out", out, check=1)
    assert done.stderr.count(b"exists; --force replaces it") == 8
    assert manifest(out) == []
    assert all(path.read_bytes() == b"mine" for path in out.iterdir()
               if path.name != "manifest.jsonl")
    run_spool("export", spool, "--out", out, "--force", check=0)
    assert len(manifest(out)) == 8


def test_what_was_exported_can_be_submitted_again(
    filled, spool, short_tmp, start_endpoint, start_spooled, latentctl
):
    out = short_tmp / "out"
    run_spool("export", spool, "--out", out, check=0)
    files = {line["key"]: out / line["file"] for line in manifest(out)
             if line["what"] == "latent"}
    endpoint = start_endpoint()
    daemon = start_spooled(endpoint.sections(), path=short_tmp / "other")
    latentctl(daemon, "decode", files["packed"], "--out", short_tmp / "d",
              check=0)
    (made,) = (short_tmp / "d").iterdir()
    assert made.suffix == ".png"
    assert (pixels_of(made.read_bytes())
            == direct_pixels(endpoint.url, PACKED)[0]).all()
    assert texts_of(made.read_bytes())["parameters"] == "a dog"
    latentctl(daemon, "submit", *files.values(), check=0)
    latentctl(daemon, "collect", "--all", "--wait", "30", "--out",
              short_tmp / "c", check=0)
    suffixes = sorted(path.suffix for path in (short_tmp / "c").iterdir())
    assert suffixes == [".jpg", ".npy", ".png", ".png"]
    (path,) = (short_tmp / "c").glob("*.npy")
    want = direct_pixels(endpoint.url, latent(seed=44))
    assert (numpy.load(path) == want).all()
    # A decode is no encode.
    done = latentctl(daemon, "encode", files["waits"], "--out", short_tmp,
                     check=1)
    assert b"it is to be decoded" in done.stderr


def test_an_image_that_was_to_be_encoded_comes_out_as_it_was(
    start_fake, start_spooled, spool, short_tmp, gate
):
    fake = start_fake(then=held(gate))
    sections = processes.endpoint_sections(
        fake.url, ["sd-v1"], ["encode"], parallel=1)
    daemon = start_spooled(sections)
    image = file_of(picture(), "PNG")
    with wire.Producer(daemon.url) as producer:
        producer.submit("k", image, task="encode", model="sd-v1")
    daemon.kill()
    run_spool("export", spool, "--out", short_tmp / "out", check=0)
    (line,) = manifest(short_tmp / "out")
    assert (line["task"], line["model"]) == ("encode", "sd-v1")
    assert (short_tmp / "out" / line["file"]).read_bytes() == image


# ---- damaged ones ----


def flip(path, needle):
    """Change a bit wherever the bytes are: pages leave old copies behind."""
    data = path.read_bytes()
    assert needle in data
    path.write_bytes(
        data.replace(needle, bytes([needle[0] ^ 1]) + needle[1:]))


def test_a_damaged_latent_is_named_and_the_rest_comes_out(
    filled, spool, short_tmp
):
    flip(spool / "data.mdb", latent(seed=44).data)
    done = run_spool("check", spool, check=1)
    assert b"damaged: job 4: its latent of 512 bytes is damaged" in done.stdout
    done = run_spool("export", spool, "--out", short_tmp / "out", check=1)
    keys = [line["key"] for line in manifest(short_tmp / "out")]
    assert len(keys) == 7 and "waits" not in keys


def test_a_file_that_is_none_is_refused_and_the_sentence_says_what_to_do(
    filled, spool, short_tmp, start_fake
):
    data = spool / "data.mdb"
    data.write_bytes(b"no database" * 4096)
    config = short_tmp / "other.conf"
    config.write_text(processes.ini_text({
        "daemon": {"listen": f"ipc://{short_tmp}/other.sock"},
        "spool": {"path": spool}, **start_fake().section()}))
    done = processes.run(
        processes.program("latentd"), "--config", config, check=1)
    assert b"is damaged" in done.stderr
    done = run_spool("check", spool, check=1)
    assert b"nothing can be read" in done.stderr
    data.unlink()
    done = processes.run(
        processes.program("latentd"), "--config", config, check=1)
    assert b"data.mdb is missing" in done.stderr
    run_spool("export", spool, "--out", short_tmp / "out", check=1)


def try_start(config):
    """Whether latentd starts on what is there; it must say so, or why not."""
    daemon = processes.Process(
        [processes.program("latentd"), "--config", config])
    found = daemon.wait_line(r"ready|cannot start: .*")
    if found[0] == "ready":
        with wire.Producer(f"ipc://{config.parent}/other.sock",
                           "studio") as producer:
            while (reply := producer.next(0)).type == "RESULT":
                pass
            assert reply.type == "EMPTY"
    status = daemon.stop()
    daemon.check_clean()
    assert status == (0 if found[0] == "ready" else 1), daemon.stderr()
    return found[0] == "ready"


@pytest.mark.parametrize("kind", ["flipped", "cut"])
def test_no_damage_makes_the_daemon_or_the_tool_crash_or_hang(
    filled, spool, short_tmp, start_fake, kind
):
    whole = (spool / "data.mdb").read_bytes()
    config = short_tmp / "other.conf"
    config.write_text(processes.ini_text({
        "daemon": {"listen": f"ipc://{short_tmp}/other.sock", "drain_s": 0},
        "spool": {"path": spool, "size": "64M"}, **start_fake().section()}))
    dice = random.Random(20261123)
    pages = [page for page in range(2, len(whole) // 4096)
             if whole[page * 4096] == page & 255
             and whole[page * 4096 + 10] in (1, 2)]
    started_n = 0
    for i in range(FLIPS_N if kind == "flipped" else CUTS_N):
        shutil.rmtree(short_tmp / "out", ignore_errors=True)
        data = bytearray(whole)
        if kind == "cut":
            del data[dice.randrange(len(data)):]
        elif i % 3 == 0:
            data[4096 * dice.randrange(2) + dice.randrange(152)] ^= \
                1 << dice.randrange(8)
        else:
            data[4096 * dice.choice(pages) + dice.randrange(4096)] ^= \
                1 << dice.randrange(8)
        (spool / "data.mdb").write_bytes(data)
        done = run_spool("check", spool)
        assert done.returncode in (0, 1)
        assert done.returncode == 0 or b"damage" in done.stdout + done.stderr
        done = run_spool("export", spool, "--out", short_tmp / "out")
        assert done.returncode in (0, 1)
        started = try_start(config)
        assert not (started and kind == "cut")
        started_n += started
    assert started_n < FLIPS_N
    assert kind == "cut" or started_n > 0


# ---- usage ----


@pytest.mark.parametrize("arguments, sentence", [
    ([], b"check, stat or export"),
    (["mend"], b"check, stat or export"),
    (["check", "a", "b"], b'not also "b"'),
    (["check", "a", "--out", "b"], b"--out and --force are for export"),
    (["stat", "a", "--url", "ipc:///x"], b"no option --url"),
])
def test_wrong_usage_is_told(arguments, sentence):
    assert sentence in run_spool(*arguments, check=2).stderr


def test_a_directory_without_a_spool_is_told(short_tmp):
    done = run_spool("stat", short_tmp, check=1)
    assert b"cannot open the spool in" in done.stderr
    assert b"No such file" in done.stderr
