#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write messages.json: golden vectors of the producers' protocol.

Run it in this directory and commit what it writes.  It shares nothing with
latentd's C code: headers are packed by python3-msgpack, preambles by struct.

  "messages": an encoder given "type", "fields" and a body of "body_bytes"
      bytes writes "hex" (preamble and header; the body follows it and is not
      part of "hex"), a decoder given both reads exactly "fields".  Fields that
      are not named are absent.  Of kind bytes (protocol.md section 3) the value
      is in hex; numbers from 2^53 on are strings of digits.
  "tolerated": replies that a decoder must accept although no encoder of this
      version writes them; "fields" as above.
  "refused": whole messages ("hex", no body) that a decoder must refuse with
      "code", and with a sentence that has "names" in it.
"""
import json
import struct

import msgpack

TYPES = {"HELLO": 1, "SUBMIT": 2, "COLLECT": 3, "CANCEL": 4, "STATUS": 5,
         "LIST": 6, "WHY": 7, "ADMIN": 8,
         "WELCOME": 129, "ACCEPTED": 130, "BUSY": 131, "REJECTED": 132,
         "RESULT": 133, "EMPTY": 134, "CANCELLED": 135, "REPORT": 136,
         "DONE": 137, "CHALLENGE": 138, "EVENT": 192}
TOP = 2 ** 64 - 1


def preamble(kind, header_bytes, body_bytes=0, version=1):
    return struct.pack("<2sBBIQ", b"LD", version, kind, header_bytes,
                       body_bytes)


def frame(kind, header, body_bytes=0):
    return preamble(TYPES[kind], len(header), body_bytes) + header


def pack(fields):
    return msgpack.packb(fields, use_bin_type=True)


def shown(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and value >= 2 ** 53:
        return str(value)
    if isinstance(value, list):
        return [shown(v) for v in value]
    return value


def row(kind, description, fields, body_bytes=0, header=None):
    out = {"type": kind, "description": description,
           "fields": {k: shown(v) for k, v in fields.items()}}
    if body_bytes:
        out["body_bytes"] = shown(body_bytes)
    header = pack(fields) if header is None else header
    out["hex"] = frame(kind, header, body_bytes).hex()
    return out


def requests():
    yield row("HELLO", "only what is required", {"producer": "p"})
    yield row("HELLO", "all fields, the longest", {
        "producer": "A-Za-z0-9._-" + "n" * 52,
        "secret": bytes(range(192, 256)),
        "software": "comfyui-latentd 0.1 (caf\u00e9)"})
    yield row("HELLO", "with a proof", {
        "producer": "p", "nonce": bytes(range(32)),
        "salt": bytes(range(32, 64)), "proof": bytes(range(224, 256))})
    submit = {"producer": "render-box", "key": "job-1", "task": "decode",
              "model": "sdxl"}
    latent = {"dtype": "float16", "shape": [1, 4, 128, 128]}
    yield row("SUBMIT", "decode of an SDXL latent, all defaults",
              submit | latent, 131072)
    yield row("SUBMIT", "decode of a packed Flux latent, all fields", {
        "producer": "render-box", "secret": b"\x00\xff", "key": "job-2",
        "task": "decode", "model": "flux", "space": "vae",
        "dtype": "bfloat16", "shape": [2, 4096, 64], "height_px": 1024,
        "width_px": 1024, "output": "png", "metadata_bytes": 300},
        2 * 4096 * 64 * 2 + 300)
    yield row("SUBMIT", "encode of an image file: neither dtype nor shape",
              submit | {"task": "encode"}, 4711)
    for output in ("jpg", "mp4", "pixels", "float", "latent"):
        yield row("SUBMIT", f"output {output}",
                  submit | latent | {"output": output}, 131072)
    for dtype in ("float32", "uint8"):
        yield row("SUBMIT", f"encode of a {dtype} tensor",
                  submit | {"task": "encode", "dtype": dtype,
                            "shape": [1, 3, 1048576, 1, 1, 1]}, 1)
    for priority in ("urgent", "high", "low"):
        yield row("SUBMIT", f"priority {priority}",
                  submit | latent | {"priority": priority}, 131072)
    yield row("SUBMIT", "a deadline, and all wishes about it",
              submit | latent | {"deadline_ms": 604800000,
                                 "refuse_late": True,
                                 "cancel_on_disconnect": True}, 131072)
    yield row("COLLECT", "is there a result?", {"producer": "p"})
    yield row("COLLECT", "acknowledgements of every width, longest wait", {
        "producer": "p", "secret": b"s",
        "acks": [0, 1, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1,
                 2 ** 32, TOP],
        "wait_ms": 25000})
    yield row("CANCEL", "by key", {"producer": "p", "key": "job-1"})
    yield row("CANCEL", "by id, with a secret",
              {"producer": "p", "secret": b"\x01", "id": TOP})
    yield row("STATUS", "no fields", {})
    yield from questions()


def questions():
    me = {"producer": "p"}
    yield row("LIST", "everything", me)
    for state in ("queued", "active", "done", "failed", "cancelled"):
        yield row("LIST", f"jobs that are {state}, a page of them", {
            "producer": "p", "secret": b"s", "state": state, "of": "q",
            "after": TOP, "limit": 1000})
    yield row("WHY", "by key", me | {"key": "job-1"})
    yield row("WHY", "by id, with a secret", {
        "producer": "p", "secret": b"s", "id": 7})
    for op in ("pause", "resume"):
        yield row("ADMIN", f"{op} both sides", me | {"op": op})
        for side in ("in", "out"):
            yield row("ADMIN", f"{op} {side}",
                      me | {"op": op, "side": side})
    yield row("ADMIN", "drain", me | {"op": "drain"})
    yield row("ADMIN", "reload", me | {"op": "reload"})
    for op in ("kick", "purge"):
        yield row("ADMIN", f"{op} one job", me | {"op": op, "id": TOP})
        yield row("ADMIN", f"{op} all of a producer", {
            "producer": "p", "secret": b"s", "op": op, "all": 1, "of": "q",
            "after": 1000})


def replies():
    yield row("WELCOME", "no services", {
        "version": "0.1.0", "instance": TOP, "max_body_bytes": 2 ** 30,
        "max_wait_ms": 25000, "services": []})
    yield row("WELCOME", "as many services as array 16 needs", {
        "version": "0.1.0", "instance": 1, "max_body_bytes": 2 ** 20,
        "max_wait_ms": 1000,
        "services": [f"decode/model-{i}" for i in range(16)]})
    yield row("WELCOME", "with the daemon's proof", {
        "version": "0.1.0", "instance": 1, "max_body_bytes": 2 ** 20,
        "max_wait_ms": 1000, "services": [], "proof": bytes(range(32))})
    yield row("CHALLENGE", "a nonce", {
        "instance": TOP, "nonce": bytes(range(64, 96))})
    for state in ("queued", "active", "done", "failed", "cancelled",
                  "expired"):
        yield row("ACCEPTED", f"a job that is {state}", {
            "instance": 2 ** 63, "id": 1, "state": state, "position": 0,
            "durability": "none"})
    yield row("ACCEPTED", "with an estimate, on disk", {
        "instance": 2 ** 63, "id": 1, "state": "queued", "position": 12,
        "estimated_wait_ms": 3400, "durability": "spooled"})
    yield row("BUSY", "because of the deadline, with an estimate", {
        "instance": 7, "reason": "deadline", "retry_after_ms": 900,
        "estimated_wait_ms": 1900})
    for reason in ("jobs", "bytes", "producer_jobs", "producer_bytes",
                   "stopping", "spool", "storage"):
        yield row("BUSY", f"because of {reason}", {
            "instance": 7, "reason": reason, "retry_after_ms": 50})
    for code in ("invalid", "protocol", "version", "model", "shape", "image",
                 "too_large", "not_found", "ended", "collected", "unsupported",
                 "memory",
                 "internal"):
        yield row("REJECTED", code, {
            "code": code, "message": "field \"shape\" is [1], \u2026"})
    yield row("REJECTED", "the longest sentence, and an empty one", {
        "code": "denied", "message": "x" * 512})
    yield row("REJECTED", "an empty sentence", {
        "code": "busy", "message": ""})
    yield from results()
    yield row("EMPTY", "nothing pending", {"instance": 9, "pending": 0})
    yield row("EMPTY", "three pending", {"instance": 9, "pending": 3})
    yield row("EMPTY", "and acknowledgements that hit nothing", {
        "instance": 9, "pending": 3, "unknown_acks": 256})
    yield row("CANCELLED", "was queued", {"id": 3, "state": "queued"})
    yield row("REPORT", "the JSON is in the body", {"instance": 11}, 5000)
    yield row("DONE", "nothing to change", {"instance": 11, "jobs": 0})
    yield row("DONE", "a thousand changed, and more to look at", {
        "instance": 11, "jobs": 1000, "next": TOP})
    yield row("EVENT", "a change of state", {
        "id": 12, "producer": "p", "model": "flux", "task": "encode",
        "state": "active"})
    yield row("EVENT", "with a finished picture", {
        "id": 13, "producer": "p", "model": "sdxl", "task": "decode",
        "state": "done", "output": "jpg", "part_bytes": 150000}, 150000)


def results():
    head = {"instance": 5, "tag": TOP, "id": 77, "key": "k-77"}
    done = head | {"state": "done", "code": "ok"}
    yield row("RESULT", "two PNG files", done | {
        "output": "png", "part_bytes": [70000, 70001], "width_px": 512,
        "height_px": 512, "frames": 1, "endpoint": "home-gpu", "attempts": 2,
        "queued_ms": 12, "decode_ms": 345, "finish_ms": 6}, 140001)
    yield row("RESULT", "a tensor of pixels", done | {
        "output": "pixels", "dtype": "uint8", "shape": [1, 512, 512, 3],
        "part_bytes": [786432], "width_px": 512, "height_px": 512,
        "frames": 1, "endpoint": "a", "attempts": 1}, 786432)
    yield row("RESULT", "failed after five requests", head | {
        "state": "failed", "code": "endpoint",
        "message": "endpoint a: given up", "endpoint": "a", "attempts": 5})
    yield row("RESULT", "failed again after two kicks", head | {
        "state": "failed", "code": "timeout", "kicks": 2})
    for code in ("refused", "unreachable", "timeout", "stopping", "expired",
                 "io"):
        yield row("RESULT", f"failed with {code}",
                  head | {"state": "failed", "code": code})
    yield row("RESULT", "dropped before it was collected", head | {
        "state": "done", "code": "dropped", "message": "too late"})
    yield row("RESULT", "expired, and two stale acknowledgements", head | {
        "state": "expired", "code": "expired",
        "message": "not begun within its deadline of 5 ms",
        "unknown_acks": 2})
    yield row("RESULT", "cancelled before any request", head | {
        "state": "cancelled", "code": "cancelled",
        "message": "cancelled by its producer"})
    yield row("RESULT", "the most files that there can be", done | {
        "output": "png", "part_bytes": [2 ** 19 - i for i in range(2048)],
        "width_px": 16384, "height_px": 16384, "frames": 2048,
        "endpoint": "e" * 64, "attempts": 2 ** 32 - 1, "queued_ms": TOP,
        "decode_ms": TOP, "finish_ms": TOP}, 2 ** 30 - 2047 * 1024)


def pairs(*entries):
    """A map that may hold a key twice, which a dict cannot."""
    return (msgpack.Packer().pack_map_header(len(entries)) +
            b"".join(pack(k) + pack(v) for k, v in entries))


def tolerated():
    empty = {"instance": 9, "pending": 1}
    yield row("EMPTY", "fields that a newer daemon may add", empty,
              header=pack({"shard": {"of": [1, 2.5, None]}} | empty |
                          {"x": b"\xff", "e": msgpack.ExtType(5, b"abc")}))
    yield row("EMPTY", "fields in another order", empty,
              header=pairs(("pending", 1), ("instance", 9)))
    yield row("EMPTY", "numbers and the map in longer forms", empty,
              header=b"\xdf\x00\x00\x00\x02" + pack("instance") +
              b"\xcf" + (9).to_bytes(8, "big") + b"\xda\x00\x07pending" +
              b"\xd3" + (1).to_bytes(8, "big"))


def refusal(description, code, names, whole):
    return {"description": description, "code": code, "names": names,
            "hex": whole.hex()}


def refused():
    hello = frame("HELLO", pack({"producer": "p"}))
    for n in range(16):
        yield refusal(f"only {n} bytes", "protocol", str(n), hello[:n])
    yield refusal("another magic", "protocol", "LD", b"LE" + hello[2:])
    yield refusal("version 2", "version", "2",
                  preamble(1, 0, version=2))
    yield refusal("version 0", "version", "0",
                  preamble(1, 0, version=0))
    for kind in (0, 9, 128, 139, 191, 193, 255):
        yield refusal(f"type {kind}", "protocol", str(kind),
                      preamble(kind, 1) + b"\x80")
    yield refusal("a header beyond the limit", "too_large", "16385",
                  preamble(1, 16385))
    n = len(hello) - 16
    for header, body in ((n + 1, 0), (n - 1, 0), (n, 1), (n, TOP), (0, n - 1),
                         (2 ** 14, TOP - 2 ** 14 + 1 + n)):
        yield refusal(f"lengths {header} and {body} do not add up to {n}",
                      "protocol", str(header),
                      preamble(1, header, body) + hello[16:])
    yield refusal("an empty header", "protocol", "HELLO", preamble(1, 0))
    yield refusal("no map", "protocol", "map", frame("HELLO", b"\x90"))
    yield refusal("a key that is no string", "protocol", "keys",
                  frame("HELLO", b"\x81\x01\x01"))
    yield refusal("bytes behind the map", "protocol", "behind",
                  frame("HELLO", hello[16:] + b"\0"))
    yield refusal("a value cut off", "protocol", "producer",
                  frame("HELLO", b"\x81\xa8producer\xa5p"))
    yield refusal("a byte that msgpack never uses", "protocol", "producer",
                  frame("HELLO", b"\x81\xa8producer\xc1"))
    yield refusal("an array of 2^32-1", "protocol", "acks",
                  frame("COLLECT", b"\x82" + pack("producer") + pack("p") +
                        pack("acks") + b"\xdd\xff\xff\xff\xff\x01"))
    yield refusal("a map of 2^32-1", "protocol", "map",
                  frame("HELLO", b"\xdf\xff\xff\xff\xff\xa1"))
    yield refusal("a field twice", "invalid", "producer",
                  frame("HELLO", pairs(("producer", "p"), ("producer", "p"))))
    yield refusal("a field that no request has", "invalid", "softwarex",
                  frame("HELLO", pack({"producer": "p", "softwarex": "x"})))
    yield refusal("a field of STATUS", "invalid", "producer",
                  frame("STATUS", pack({"producer": "p"})))
    yield refusal("a required field missing", "invalid", "producer",
                  frame("HELLO", pack({"software": "x"})))
    yield refusal("an unknown field nested too deep", "protocol", "EMPTY",
                  frame("EMPTY", pack({"x": [[[[[1]]]]], "instance": 1,
                                       "pending": 1})))
    yield from refused_values()


def refused_values():
    submit = {"producer": "p", "key": "k", "task": "decode", "model": "sdxl"}
    collect = {"producer": "p"}
    for field in ("nonce", "salt", "proof"):
        yield refusal(f"HELLO with a {field} of 33 bytes", "invalid", field,
                      frame("HELLO", pack(collect | {field: bytes(33)})))
    for field, value in (
            ("producer", ""), ("producer", "a b"), ("producer", "n" * 65),
            ("producer", b"p"), ("producer", "caf\u00e9"),
            ("secret", b"s" * 65), ("secret", "s"), ("key", "a/b"),
            ("task", "upscale"), ("task", ""), ("task", 0), ("task", "none"),
            ("space", "latent"), ("dtype", "float64"), ("dtype", "none"),
            ("shape", [1] * 7), ("shape", [1048577]), ("shape", [-1]),
            ("shape", [1.0]), ("shape", ["1"]), ("shape", "1"),
            ("shape", {}), ("height_px", 16385), ("width_px", -1),
            ("width_px", True), ("width_px", None), ("output", "gif"),
            ("output", "none"), ("metadata_bytes", 1048577),
            ("priority", "idle"), ("priority", 1),
            ("deadline_ms", 604800001), ("deadline_ms", -1),
            ("refuse_late", 1), ("refuse_late", "true"),
            ("cancel_on_disconnect", None)):
        yield refusal(f"SUBMIT with {field} {shown(value)!r}", "invalid",
                      field, frame("SUBMIT", pack(submit | {field: value})))
    for field, value in (("acks", [1] * 257), ("acks", 1), ("acks", [None]),
                         ("wait_ms", 25001)):
        text = repr(value) if len(repr(value)) < 20 else "257 numbers"
        yield refusal(f"COLLECT with {field} {text}", "invalid", field,
                      frame("COLLECT", pack(collect | {field: value})))
    for kind, field, value in (
            ("LIST", "state", "new"), ("LIST", "limit", 1001),
            ("LIST", "of", "a b"), ("WHY", "key", ""), ("WHY", "id", -1),
            ("ADMIN", "op", "none"), ("ADMIN", "op", "stop"),
            ("ADMIN", "side", "left"), ("ADMIN", "all", 2)):
        fields = {"op": "kick"} if kind == "ADMIN" else {}
        yield refusal(f"{kind} with {field} {value!r}", "invalid", field,
                      frame(kind, pack(collect | fields | {field: value})))
    yield refusal("ADMIN without an op", "invalid", "op",
                  frame("ADMIN", pack(collect)))
    accepted = {"instance": 1, "id": 1, "state": "queued", "position": 0,
                "durability": "spooled"}
    for durability in ("", "synced", "None"):
        yield refusal(f"ACCEPTED with durability {durability!r}", "invalid",
                      "durability", frame("ACCEPTED", pack(
                          accepted | {"durability": durability})))
    for state in ("new", "", "Queued", "buried"):
        yield refusal(f"ACCEPTED with state {state!r}", "invalid", "state",
                      frame("ACCEPTED", pack(accepted | {"state": state})))
    yield refusal("WELCOME with 65 services", "invalid", "services",
                  frame("WELCOME", pack({
                      "version": "1", "instance": 1, "max_body_bytes": 1,
                      "max_wait_ms": 1, "services": ["s"] * 65})))


def main():
    with open("messages.json", "w", encoding="ascii") as out:
        sections = {"messages": list(requests()) + list(replies()),
                    "tolerated": list(tolerated()),
                    "refused": list(refused())}
        parts = []
        for name, rows in sections.items():
            lines = ",\n".join(json.dumps(r) for r in rows)
            parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
        out.write("{\n" + ",\n".join(parts) + "\n}\n")


main()
