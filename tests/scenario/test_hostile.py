# SPDX-License-Identifier: Apache-2.0
"""Producers that send what no client library would.

Each wrong message gets REJECTED with the right code and a sentence that names
what is wrong; the daemon stays alive, does not grow, and still decodes.
"""

import json
import os
import struct
import zlib

import msgpack
import numpy
import pytest

import wire
from samples import file_of, latent, picture
from wire import message

Z = latent(seed=1)
IDENTITY = {"producer": "p"}
JOB = {**IDENTITY, "key": "k", "task": "decode", **Z.fields}
ENCODE = {**IDENTITY, "key": "k", "task": "encode", "model": "sd-v1"}
MIB = 1 << 20


@pytest.fixture
def daemon(start_endpoint, start_daemon):
    """A daemon with everything but flux; its log is complete."""
    endpoint = start_endpoint(parallel=4)
    return start_daemon(
        endpoint.sections(["sd-v1", "hunyuan-video"], parallel=4),
        "--log-level", "debug",
        # Freed memory is to count as free.
        env={"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")
             + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=16"},
    )


def still_decodes(daemon):
    with wire.Producer(daemon.url, "honest") as producer:
        key = wire.new_key()
        producer.submit(key, Z.data, **Z.fields, output="pixels")
        result = producer.take(key).expect("RESULT", state="done")
        assert len(result.body) == 64 * 64 * 3
        producer.thank()


def raw_header(*pairs, count=None):
    """A msgpack map of raw keys and values, whatever count says."""
    n = len(pairs) if count is None else count
    return b"\xdf" + struct.pack(">I", n) + b"".join(
        msgpack.packb(key) + value for key, value in pairs
    )


def job(body=Z.data, **changes):
    """A SUBMIT with changed fields; None leaves one out."""
    fields = {**JOB, **changes}
    return message(
        "SUBMIT", {k: v for k, v in fields.items() if v is not None}, body
    )


def encode(body, **changes):
    return message("SUBMIT", {**ENCODE, **changes}, body)


def job_with(field, value):
    """A SUBMIT whose field has raw msgpack bytes as its value."""
    pairs = [(k, msgpack.packb(v)) for k, v in JOB.items() if k != field]
    return message(
        "SUBMIT", header=raw_header(*pairs, (field, value)), body=Z.data
    )


def with_metadata(data, **changes):
    return job(Z.data + data, metadata_bytes=len(data), **changes)


def video(frames):
    shape = [1, 16, frames, 1, 1]
    return job(
        bytes(2 * 16 * frames), model="hunyuan-video", shape=shape,
    )


def png(width, height, pixels=b"\0" * 100):
    """A PNG that claims a size; every CRC is right."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data \
            + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


PNG = file_of(picture(), "PNG")
JPEG = file_of(picture(), "JPEG")
ENTRY = wire.metadata({"prompt": "x"})

# What is sent, the code, and what the sentence must name.
WRONG = {
    "nothing": (b"", "protocol", "0 bytes"),
    "half a preamble": (message("STATUS")[:9], "protocol", "9 bytes"),
    "magic": (message("STATUS", magic=b"LE"), "protocol", '"LD"'),
    "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "protocol", "preamble"),
    "version": (message("STATUS", version=2), "version", "version 2"),
    "type 0": (message(0), "protocol", "type 0"),
    "type 99": (message(99), "protocol", "type 99"),
    "a reply": (message("WELCOME"), "protocol", "WELCOME is not a request"),
    "an event": (message("EVENT"), "protocol", "EVENT is not a request"),
    "header + 1": (message("STATUS", header_bytes=2), "protocol", "2 bytes"),
    "header - 1": (message("STATUS", header_bytes=0), "protocol", "0 bytes"),
    "header 4 GiB": (
        message("STATUS", header_bytes=2**32 - 1), "too_large", "header"),
    "header 16385": (
        message("HELLO", header=bytes(16385)), "too_large", "16384"),
    "body + 1": (job(Z.data)[:-1], "protocol", "preamble promises"),
    "body - 1": (job(Z.data) + b"x", "protocol", "preamble promises"),
    "body 2^64": (message("STATUS", body_bytes=2**64 - 1), "protocol",
                  "18446744073709551615"),
    "no header": (message("HELLO", header=b""), "protocol", "map"),
    "header nil": (message("HELLO", header=b"\xc0"), "protocol", "map"),
    "header array": (message("HELLO", header=b"\x90"), "protocol", "map"),
    "header 0xc1": (message("HELLO", header=b"\xc1" * 9), "protocol", "map"),
    "map of 2^32": (
        message("HELLO", header=raw_header(count=2**32 - 1)), "protocol",
        "map"),
    "two maps": (message("STATUS", header=b"\x80\x80"), "protocol", "behind"),
    "key 7": (message("HELLO", {7: 7}), "protocol", "keys must be strings"),
    "unknown field": (job(colour="red"), "invalid", '"colour"'),
    "field of STATUS": (message("STATUS", {"x": 1}), "invalid", '"x"'),
    "field twice": (
        message("HELLO", header=raw_header(
            ("producer", b"\xa1p"), ("producer", b"\xa1p"))),
        "invalid", '"producer" appears twice'),
    "no producer": (message("HELLO"), "invalid", '"producer" is missing'),
    "no key": (job(key=None), "invalid", '"key" is missing'),
    "no task": (job(task=None), "invalid", '"task" is missing'),
    "no model": (job(model=None), "invalid", '"model" is missing'),
    "empty name": (job(producer=""), "invalid", '"producer"'),
    "65 bytes name": (job(producer="p" * 65), "invalid", "65 bytes"),
    "name ../x": (job(key="../x"), "invalid", '"key" is "../x"'),
    "name \\n": (job(key="a\nb\x1b[31m"), "invalid", '"key"'),
    "name NUL": (job(key="a\0b"), "invalid", '"key"'),
    "name 9": (job(key=9), "invalid", '"key" must be a string'),
    "name of 4 GiB": (
        job_with("key", b"\xdb\xff\xff\xff\xff"), "protocol", '"key"'),
    "secret text": (job(secret="x"), "invalid", '"secret"'),
    "secret 65": (job(secret=b"x" * 65), "invalid", '"secret" has 65'),
    "task": (job(task="paint"), "invalid", '"task" is "paint"'),
    "model sd3": (job(model="sd3"), "model", "sd-v1, sdxl, flux"),
    "model flux": (
        job(bytes(2048), model="flux", shape=[1, 16, 8, 8]), "model",
        'no endpoint is configured to decode for model "flux"'),
    "space": (job(space="outer"), "invalid", '"space" is "outer"'),
    "output": (job(output="gif"), "invalid", '"output" is "gif"'),
    "output none": (job(output="none"), "invalid", '"output"'),
    "mp4 of an image": (job(output="mp4"), "unsupported", "mp4"),
    "latent of decode": (job(output="latent"), "unsupported", "latent"),
    "png of encode": (encode(PNG, output="png"), "unsupported", "png"),
    "jpg of a video": (
        job(bytes(4096), model="hunyuan-video", shape=[1, 16, 2, 8, 8],
            output="jpg"), "unsupported", "jpg"),
    "dtype int8": (job(dtype="int8"), "invalid", '"dtype" is "int8"'),
    "dtype uint8": (
        job(bytes(256), dtype="uint8"), "invalid", '"dtype" is uint8'),
    "no dtype": (job(dtype=None), "shape", "dtype"),
    "no shape": (job(shape=None), "shape", "shape"),
    "no tensor": (job(shape=None, dtype=None), "shape", "dtype"),
    "shape []": (job(shape=[]), "shape", "dimension"),
    "shape of 7": (job(shape=[1] * 7), "invalid", "7 elements"),
    "dimension 0": (job(shape=[1, 4, 0, 8]), "shape", "0"),
    "dimension -1": (job(shape=[1, 4, -8, 8]), "invalid", '"shape"'),
    "dimension 1.5": (job(shape=[1, 4, 1.5, 8]), "invalid", '"shape"'),
    "dimension 2^20+1": (
        job(shape=[1, 4, MIB + 1, 8]), "invalid", "1048577"),
    "dimension 2^64-1": (
        job(shape=[2**64 - 1] * 4), "invalid", "18446744073709551615"),
    "shape overflows": (job(shape=[MIB] * 6), "too_large", "1073741824"),
    "shape nested": (job(shape=[[1], [4]]), "invalid", '"shape"'),
    "shape text": (job(shape="1,4,8,8"), "invalid", '"shape"'),
    "shape of 2^32": (
        job_with("shape", b"\xdd\xff\xff\xff\xff"), "protocol", '"shape"'),
    "shape nested 100 deep": (
        job_with("shape", b"\x91" * 100), "protocol", '"shape"'),
    "too few bytes": (
        job(Z.data[:-2]), "shape", "needs 512 bytes, but the body has 510"),
    "too many bytes": (job(Z.data * 2), "shape", "512"),
    "no bytes": (job(b""), "shape", "has 0"),
    "3 channels": (
        job(bytes(384), shape=[1, 3, 8, 8]), "shape", "[N,4,h,w]"),
    "2 dimensions": (job(bytes(128), shape=[8, 8]), "shape", "[8,8]"),
    "video of 4-D": (
        job(bytes(2048), model="hunyuan-video", shape=[1, 16, 8, 8]),
        "shape", "[N,16,T,h,w]"),
    "packed without height": (
        job(shape=[1, 16, 16]), "shape", "needs height and width"),
    "packed with a wrong height": (
        job(shape=[1, 16, 16], height_px=64, width_px=128), "shape",
        "height 64 and width 128"),
    "height 16385": (job(height_px=16385), "invalid", "16385"),
    "height -1": (job(height_px=-1), "invalid", '"height_px"'),
    "wide": (
        job(bytes(8 * 2049), shape=[1, 4, 1, 2049]), "too_large", "16392"),
    "batch of 65": (
        job(bytes(65 * 8), shape=[65, 4, 1, 1]), "too_large", "65"),
    "4097 frames": (video(1025), "too_large", "4097"),
    "2049 files": (
        message("SUBMIT", {**JOB, "model": "hunyuan-video", "output": "png",
                           "shape": [1, 16, 513, 1, 1]}, bytes(32 * 513)),
        "too_large", "2049"),
    "metadata beyond the body": (
        job(metadata_bytes=513), "invalid", '"metadata_bytes" is 513'),
    "metadata of 1 MiB + 1": (
        job(metadata_bytes=MIB + 1), "invalid", "1048577"),
    "metadata garbage": (with_metadata(b"\xff" * 64), "invalid", "metadata"),
    "metadata cut": (with_metadata(ENTRY[:-1]), "invalid", "metadata"),
    "metadata value of 4 GiB": (
        with_metadata(b"\x01k\xff\xff\xff\xff"), "invalid", "4294967295"),
    "metadata key empty": (with_metadata(bytes(5)), "invalid", "0 bytes"),
    "metadata key double blank": (
        with_metadata(wire.metadata({"a  b": "x"})), "invalid", '"a  b"'),
    "metadata value NUL": (
        with_metadata(wire.metadata({"k": "a\0b"})), "invalid", "NUL"),
    "metadata value Latin-1": (
        with_metadata(b"\x01k\x01\0\0\0\xe9"), "invalid", "UTF-8"),
    "metadata of 65": (with_metadata(ENTRY * 65), "too_large", "64"),
    "metadata of pixels": (
        with_metadata(ENTRY, output="pixels"), "unsupported", "metadata"),
    "wait 25001": (
        message("COLLECT", {**IDENTITY, "wait_ms": 25001}), "invalid",
        "25001"),
    "257 acks": (
        message("COLLECT", {**IDENTITY, "acks": [1] * 257}), "invalid",
        "257 elements"),
    "acks of 2^32": (
        message("COLLECT", header=raw_header(
            ("producer", b"\xa1p"), ("acks", b"\xdd\xff\xff\xff\xff"))),
        "protocol", '"acks"'),
    "acks of text": (
        message("COLLECT", {**IDENTITY, "acks": ["1"]}), "invalid", '"acks"'),
    "cancel nothing": (message("CANCEL", IDENTITY), "invalid", '"key"'),
    "no image": (encode(b"a picture, honestly"), "image", "PNG"),
    "empty image": (encode(b""), "image", "0 bytes"),
    "half a PNG": (encode(PNG[: len(PNG) // 2]), "image", "PNG"),
    "PNG with a wrong CRC": (
        encode(PNG[:-20] + b"\xff" + PNG[-19:]), "image", "PNG"),
    "PNG and more": (encode(PNG + b"x"), "image", "PNG"),
    "half a JPEG": (encode(JPEG[: len(JPEG) // 2]), "image", "JPEG"),
    "GIF": (encode(file_of(picture(), "GIF")), "image", "PNG"),
    "PNG bomb": (encode(png(65535, 65535)), "too_large", "65535"),
    "PNG of 2^31": (encode(png(2**31 - 1, 2**31 - 1)), "too_large", "2147"),
    "PNG of 2^32": (encode(png(2**32 - 1, 1)), "image", "PNG"),
    "PNG of 0": (encode(png(0, 64)), "image", "PNG"),
    "PNG of 7 pixels": (encode(png(7, 64)), "shape", "7x64"),
    "MP4 to encode": (
        encode(b"\0\0\0\x18ftypmp42" + bytes(100)), "image", "MP4"),
    "tensor of 4 channels": (
        encode(bytes(256), dtype="uint8", shape=[1, 4, 8, 8]), "shape",
        "[1,4,8,8]"),
    "tensor too short": (
        encode(bytes(100), dtype="uint8", shape=[1, 3, 8, 8]), "shape",
        "192 bytes"),
    "shape without dtype": (
        encode(bytes(192), shape=[1, 3, 8, 8]), "shape", "dtype"),
}


def test_every_wrong_message_is_refused_with_a_reason(daemon):
    failed = {}
    with wire.Connection(daemon.url) as connection:
        for name, (data, code, needle) in WRONG.items():
            reply = connection.ask(data)
            said = reply.get("message", "")
            if (reply.type, reply.get("code")) != ("REJECTED", code) \
                    or needle not in said or not said.isprintable():
                failed[name] = f"wanted {code}: {needle}; got {reply}"
    assert not failed, "\n".join(f"{k}: {v}" for k, v in failed.items())
    report = json.loads(wire.report(daemon.url))
    assert report["queue"]["jobs"] == 0 and report["producers"] == []
    still_decodes(daemon)


def test_refusals_do_not_make_the_daemon_grow(daemon):
    wrong = [data for data, *_ in WRONG.values()] + [job(bytes(100_000))] * 9
    rounds = 10000 // len(wrong) + 1

    def refuse_all():
        with wire.Connection(daemon.url) as connection:
            for _ in range(rounds):
                for data in wrong:
                    connection.ask(data).expect("REJECTED")
        return daemon.rss_bytes()

    before = refuse_all()
    grown = refuse_all() - before
    # A leak of 200 bytes for each message would show.
    assert grown < 2 * MIB, f"{grown} bytes for {rounds * len(wrong)}"
    still_decodes(daemon)


def mutate(random, data):
    """Damage a message at one to four places."""
    data = bytearray(data)
    for _ in range(random.integers(1, 5)):
        # Mostly where preamble and header are.
        top = len(data) if random.random() < 0.2 else min(len(data), 160)
        at = int(random.integers(0, max(top, 1)))
        n = int(random.integers(1, 9))
        kind = random.integers(0, 5)
        if kind == 0 and data:
            data[at] ^= 1 << int(random.integers(0, 8))
        elif kind == 1 and data:
            data[at] = random.choice([0, 1, 0x7f, 0x80, 0xc1, 0xdd, 0xff])
        elif kind == 2:
            del data[at: at + n]
        elif kind == 3:
            data[at:at] = random.bytes(n)
        else:
            data[at:at] = data[at: at + n]
    return bytes(data)


def fix_lengths(data, header_bytes):
    """Let the preamble agree again, so that the damage gets further in."""
    body_bytes = len(data) - 16 - header_bytes
    if body_bytes < 0:
        return data
    return data[:4] + struct.pack("<IQ", header_bytes, body_bytes) + data[16:]


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_messages_never_hurt(daemon, seed):
    random = numpy.random.default_rng(seed)
    acks = {**IDENTITY, "acks": list(range(20)), "wait_ms": 0}
    originals = [
        message("HELLO", {**IDENTITY, "secret": b"s" * 20, "software": "x"}),
        job(secret=b"secret", space="vae", output="png"),
        with_metadata(wire.metadata({"prompt": "é" * 20}), output="png"),
        job(shape=[1, 16, 16], height_px=64, width_px=64),
        encode(PNG), encode(JPEG),
        message("COLLECT", acks), message("CANCEL", {**IDENTITY, "key": "k"}),
        message("CANCEL", {**IDENTITY, "id": 1}), message("STATUS"),
    ]
    answers = {}
    with wire.Connection(daemon.url) as connection:
        for _ in range(150):
            sent = []
            for original in originals:
                data = mutate(random, original)
                if random.random() < 0.7 and len(data) > 16:
                    header_bytes = struct.unpack_from("<I", original, 4)[0]
                    data = fix_lengths(
                        data, header_bytes + len(data) - len(original)
                        if len(original) < 300 else header_bytes)
                sent.append(connection.post(data))
            for request_id in sent:
                kind = connection.answer(request_id).type
                answers[kind] = answers.get(kind, 0) + 1
    assert sum(answers.values()) == 1500
    # The damage goes deep enough to be accepted at times.
    assert answers["REJECTED"] > 800 and answers["ACCEPTED"] > 5
    still_decodes(daemon)


# ---- below the messages ----


def closes(connection):
    """Whether the daemon ends the connection."""
    with connection, pytest.raises(wire.Closed):
        connection.read(1)
    return True


def test_a_message_above_the_limit_closes_its_connection_only(
    start_endpoint, start_daemon
):
    daemon = start_daemon({
        **start_endpoint().sections(), "queue": {"bytes": "1M"},
    })
    with wire.Producer(daemon.url, "other") as other:
        limit = other.hello()["max_body_bytes"] + 16400
        for size in (limit + 1, 1 << 30, 1 << 62, 2**64 - 1):
            connection = wire.Connection(daemon.url)
            connection.write(connection.head(size) + b"\x80\0\0\1LD\1\2")
            assert closes(connection)
        with wire.Connection(daemon.url) as connection:
            connection.ask(bytes(limit - 4)).expect("REJECTED")
        other.collect(0).expect("EMPTY")
    still_decodes(daemon)


def test_what_is_no_sp_closes_its_connection_only(daemon):
    for data in (
        b"\2" + struct.pack(">Q", 8), b"GET / HTTP/1.0\r\n\r\n" * 10,
    ):
        connection = wire.Connection(daemon.url)
        connection.write(data)
        assert closes(connection)
    # Too short for a request's id, and ids without an end.
    for data in (b"", b"\x80", b"\x80\0\0", b"\0\0\0\1" * 20):
        with wire.Connection(daemon.url) as connection:
            connection.send(data)
            still_decodes(daemon)


def test_promises_that_are_not_kept_cost_nothing(daemon):
    before = daemon.rss_bytes()
    connections = [wire.Connection(daemon.url) for _ in range(100)]
    for connection in connections:
        connection.write(connection.head(100 * MIB) + b"\x80\0\0\1LD\1\2")
    still_decodes(daemon)
    # A hundred times 100 MiB were promised.
    assert daemon.rss_bytes() - before < 64 * MIB
    for connection in connections:
        connection.close()
    still_decodes(daemon)


@pytest.mark.parametrize("request_", [
    message("STATUS"),
    message("COLLECT", {**IDENTITY, "wait_ms": 25000}),
], ids=["replies not read", "collects that wait"])
def test_a_flood_of_open_requests_harms_nobody_else(daemon, request_):
    greedy = wire.Connection(daemon.url)
    patient = wire.Producer(daemon.url, "patient")
    waiting = patient.post("COLLECT", {"wait_ms": 25000})
    with greedy:
        for _ in range(10000):
            greedy.post(request_)
        daemon.wait_line("a connection .uid .* has [0-9]+ requests open")
        still_decodes(daemon)
    still_decodes(daemon)
    # One with a single request open keeps its connection.
    with patient:
        patient.submit("k", Z.data, **Z.fields, output="pixels")
        result = patient.answer(waiting).expect("RESULT", state="done")
        patient.collect(0, [result["tag"]]).expect("EMPTY")
