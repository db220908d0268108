# SPDX-License-Identifier: Apache-2.0
"""A producer in Python that shares no code with the project.

It speaks the scalability protocols over a unix or TCP socket by hand and the
messages of proto/protocol.md with python3-msgpack, so that what the C codec
gets wrong on both sides does not cancel out, and so that a test can send what
no library would.

    with Producer(daemon.url) as producer:
        producer.submit("k1", latent.data, **latent.fields)
        result = producer.take("k1")
"""

import hmac
import itertools
import os
import re
import socket
import struct

import msgpack

PATIENCE_S = float(os.environ.get("LATENTD_TEST_PATIENCE_S", "60"))

# Numbers of the scalability protocols, and what each may connect to.
REQ, REP, PUB, SUB, PUSH = 0x30, 0x31, 0x20, 0x21, 0x50

VERSION = 1
PREAMBLE = struct.Struct("<2sBBIQ")
TYPES = {
    "HELLO": 1, "SUBMIT": 2, "COLLECT": 3, "CANCEL": 4, "STATUS": 5,
    "LIST": 6, "WHY": 7, "ADMIN": 8,
    "WELCOME": 129, "ACCEPTED": 130, "BUSY": 131, "REJECTED": 132,
    "RESULT": 133, "EMPTY": 134, "CANCELLED": 135, "REPORT": 136,
    "DONE": 137, "CHALLENGE": 138, "EVENT": 192,
}
NAMES = {number: name for name, number in TYPES.items()}


class Closed(Exception):
    """The other side ended the connection."""


def message(kind, fields=None, body=b"", *, header=None, magic=b"LD",
            version=VERSION, header_bytes=None, body_bytes=None):
    """The bytes of a message; the named arguments let it lie."""
    if header is None:
        header = msgpack.packb(fields or {})
    return PREAMBLE.pack(
        magic,
        version,
        TYPES.get(kind, kind),
        len(header) if header_bytes is None else header_bytes,
        len(body) if body_bytes is None else body_bytes,
    ) + header + body


class Message:
    """A message taken apart; fields by message["name"]."""

    def __init__(self, data):
        magic, version, number, header_bytes, body_bytes = PREAMBLE.unpack(
            data[: PREAMBLE.size]
        )
        assert (magic, version) == (b"LD", VERSION), data[:16]
        assert len(data) == PREAMBLE.size + header_bytes + body_bytes
        self.type = NAMES[number]
        header = data[PREAMBLE.size: PREAMBLE.size + header_bytes]
        self.fields = msgpack.unpackb(header)
        self.body = data[PREAMBLE.size + header_bytes:]

    def __getitem__(self, name):
        return self.fields[name]

    def get(self, name, default=None):
        return self.fields.get(name, default)

    @property
    def parts(self):
        """The files of a RESULT."""
        parts, at = [], 0
        for n in self["part_bytes"]:
            parts.append(self.body[at: at + n])
            at += n
        assert at == len(self.body)
        return parts

    def expect(self, kind, **fields):
        """Assert type and fields; return itself."""
        assert self.type == kind, self
        for name, value in fields.items():
            assert self.get(name) == value, self
        return self

    def __repr__(self):
        return f"{self.type} {self.fields} + {len(self.body)} bytes"


def new_key():
    """A key that nobody used before: acknowledged ones are remembered."""
    return f"key-{next(_keys)}"


_keys = itertools.count(1)


def dial(url, context=None):
    """A connected stream socket to ipc:///PATH, tcp://HOST:PORT or, by an
    ssl.SSLContext, tls+tcp://HOST:PORT."""
    if url.startswith("ipc://"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Python's time-out makes connect() fail when the backlog is full;
        # the kernel's waits for room.
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO,
            struct.pack("ll", int(PATIENCE_S), 0),
        )
        try:
            sock.connect(url[len("ipc://"):])
        except OSError:
            sock.close()
            raise
        sock.settimeout(PATIENCE_S)
        return sock
    host, port = re.fullmatch(
        r"(?:tls\+)?tcp://([\d.]+):(\d+)", url).groups()
    sock = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(sock) if context else sock


def greeting(protocol):
    """The eight bytes that both sides of a connection begin with."""
    return b"\0SP\0" + struct.pack(">HH", protocol, 0)


def mac(secret, label, data):
    """HMAC-SHA256 of what protocol.md §12 says."""
    return hmac.digest(
        secret.encode(), label.ljust(16, b"\0") + data, "sha256")


class Connection:
    """One SP connection.  nng's ipc puts a 1 before each length."""

    def __init__(self, url, protocol=REQ, context=None):
        self.ipc = url.startswith("ipc://")
        self.request_id = 0
        self.early = {}
        self.sock = dial(url, context)
        try:
            self.sock.sendall(greeting(protocol))
            self.greeted = self.read(8)
        except BaseException:
            self.close()
            raise

    def read(self, n):
        """Exactly n bytes; Closed when the other side ends."""
        data = bytearray()
        while len(data) < n:
            try:
                some = self.sock.recv(min(n - len(data), 1 << 20))
            except ConnectionError as error:
                raise Closed(str(error)) from None
            if not some:
                raise Closed(f"{len(data)} of {n} bytes")
            data += some
        return bytes(data)

    def head(self, n):
        """What stands before an SP message of n bytes."""
        return (b"\1" if self.ipc else b"") + struct.pack(">Q", n)

    def write(self, data):
        """Raw bytes onto the socket."""
        try:
            self.sock.sendall(data)
        except ConnectionError as error:
            raise Closed(str(error)) from None

    def send(self, payload):
        """One SP message."""
        self.write(self.head(len(payload)) + payload)

    def receive(self):
        """The next SP message."""
        if self.ipc:
            assert self.read(1) == b"\1"
        return self.read(struct.unpack(">Q", self.read(8))[0])

    def post(self, payload):
        """Send a request and return its id without waiting."""
        self.request_id += 1
        request_id = 0x80000000 | self.request_id
        self.send(struct.pack(">I", request_id) + payload)
        return request_id

    def answer(self, request_id):
        """The reply to one request; replies to others are kept for them."""
        while request_id not in self.early:
            data = self.receive()
            self.early[struct.unpack(">I", data[:4])[0]] = data[4:]
        return Message(self.early.pop(request_id))

    def ask(self, payload):
        return self.answer(self.post(payload))

    def reset(self):
        """End the connection as a crash would (RST where it is TCP)."""
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


class Producer:
    """An identity with one connection, which reconnect() replaces."""

    def __init__(self, url, name="p", secret=None, context=None):
        self.url = url
        self.context = context
        self.identity = {"producer": name}
        if secret is not None:
            self.identity["secret"] = secret
        self.acks = []
        self.ahead = []
        self.connection = Connection(url, context=context)

    def encode(self, kind, fields=None, body=b""):
        return message(kind, {**self.identity, **(fields or {})}, body)

    def ask(self, kind, fields=None, body=b""):
        return self.connection.ask(self.encode(kind, fields, body))

    def post(self, kind, fields=None, body=b""):
        return self.connection.post(self.encode(kind, fields, body))

    def answer(self, request_id):
        return self.connection.answer(request_id)

    def hello(self):
        return self.ask("HELLO").expect("WELCOME")

    def proof(self, secret):
        """A HELLO that answers this connection's CHALLENGE (§12)."""
        asked = self.ask("HELLO").expect("CHALLENGE")
        name = self.identity["producer"].encode()
        salt = os.urandom(32)
        self.proved = (
            struct.pack("<Q", asked["instance"]) + asked["nonce"] + salt
            + name
        )
        return self.encode("HELLO", {
            "nonce": asked["nonce"], "salt": salt,
            "proof": mac(secret, b"latentd producer", self.proved),
        })

    def try_prove(self, secret):
        """Show that the secret is known; whatever the answer is."""
        return self.connection.ask(self.proof(secret))

    def prove(self, secret):
        """The same, and the daemon knows it, too."""
        reply = self.try_prove(secret).expect("WELCOME")
        assert reply["proof"] == mac(secret, b"latentd daemon", self.proved)

    def try_submit(self, key, body, metadata=b"", **fields):
        """SUBMIT; whatever the answer is."""
        whole = {"key": key, "task": "decode", **fields}
        if metadata:
            whole["metadata_bytes"] = len(metadata)
        return self.ask("SUBMIT", whole, body + metadata)

    def submit(self, key, body, metadata=b"", **fields):
        """SUBMIT that must be accepted; returns the job's id."""
        reply = self.try_submit(key, body, metadata, **fields)
        return reply.expect("ACCEPTED")["id"]

    def collect(self, wait_ms=25000, acks=()):
        """COLLECT that acknowledges nothing but acks."""
        return self.ask("COLLECT", {"wait_ms": wait_ms, "acks": list(acks)})

    def next(self, wait_ms=25000):
        """The next result or EMPTY, acknowledging the one before."""
        if self.ahead:
            reply = self.ahead.pop(0)
        else:
            reply = self.collect(wait_ms, self.acks)
        self.acks = [reply["tag"]] if reply.type == "RESULT" else []
        return reply

    def take(self, key=None):
        """The next result, which must be key's; acknowledged by the next."""
        reply = self.next().expect("RESULT")
        assert key is None or reply["key"] == key, reply
        return reply

    def take_all(self, n):
        """n results by key, the last one acknowledged, too."""
        results = {}
        while len(results) < n:
            result = self.take()
            assert result["key"] not in results, result
            results[result["key"]] = result
        self.thank()
        return results

    def thank(self):
        """Acknowledge what was taken last; what comes then is next()'s."""
        if self.acks:
            reply = self.collect(0, self.acks)
            self.acks = []
            if reply.type == "RESULT":
                self.ahead.append(reply)

    def cancel(self, key):
        return self.ask("CANCEL", {"key": key})

    def reconnect(self):
        self.connection.close()
        self.acks = []
        self.ahead = []
        self.connection = Connection(self.url, context=self.context)

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def report(url):
    """The JSON text that STATUS gives."""
    with Connection(url) as connection:
        return connection.ask(message("STATUS")).expect("REPORT").body


def metadata(entries):
    """The metadata at the tail of a SUBMIT body, from {key: text}."""
    return b"".join(
        bytes([len(key.encode("latin-1"))]) + key.encode("latin-1")
        + struct.pack("<I", len(text.encode())) + text.encode()
        for key, text in entries.items()
    )
