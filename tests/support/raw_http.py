# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 by hand, for what no client library would send, and for seeing
exactly what comes back and when the other side closes.

    with Connection(port) as connection:
        connection.send(head("POST", "/sdxl?...", {"Content-Length": 128}))
        connection.send(body)
        assert connection.reply().status == 200
"""

import json
import socket
import struct

import processes


class Closed(Exception):
    """The other side closed before a reply was whole."""


def head(method, target, headers=None, version="HTTP/1.1"):
    """A request's line and headers; Host is added unless it is given."""
    lines = {"Host": "gateway", **(headers or {})}
    text = f"{method} {target} {version}\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in lines.items()
        if value is not None
    )
    return text.encode("latin-1") + b"\r\n"


def whole(method, target, body=b"", headers=None):
    """A request with its body."""
    return head(
        method, target, {"Content-Length": len(body), **(headers or {})}
    ) + body


def chunks(*pieces):
    """A body in the chunked coding, with its end."""
    return b"".join(
        b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b"")
    )


class Reply:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # names in lower case
        self.body = body

    def error(self):
        """The sentence of a JSON error."""
        assert self.headers["content-type"] == "application/json", self
        document = json.loads(self.body)
        assert list(document) == ["error"], self
        assert document["error"], self
        return document["error"]

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:300]!r}"


class Connection:
    """A TCP connection to loopback that reads replies one by one."""

    def __init__(self, port):
        self.sock = socket.create_connection(
            ("127.0.0.1", port), processes.PATIENCE_S
        )
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ahead = b""

    def send(self, data):
        """Closed when the other side takes no more."""
        try:
            self.sock.sendall(data)
        except ConnectionError as error:
            raise Closed(str(error)) from None

    def finish(self):
        """Nothing more will be sent; replies can still be read."""
        self.sock.shutdown(socket.SHUT_WR)

    def more(self):
        try:
            some = self.sock.recv(1 << 18)
        except ConnectionError as error:
            raise Closed(str(error)) from None
        if not some:
            raise Closed(f"after {self.ahead[:300]!r}")
        self.ahead += some

    def reply(self, to_head=False):
        """The next reply, 100 included; to_head: there is no body."""
        while b"\r\n\r\n" not in self.ahead:
            self.more()
        text, self.ahead = self.ahead.split(b"\r\n\r\n", 1)
        line, *fields = text.decode("latin-1").split("\r\n")
        version, status = line.split(" ")[:2]
        assert version == "HTTP/1.1", line
        headers = {}
        for field in fields:
            name, value = field.split(":", 1)
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if to_head or int(status) < 200:
            length = 0
        while len(self.ahead) < length:
            self.more()
        body, self.ahead = self.ahead[:length], self.ahead[length:]
        return Reply(int(status), headers, body)

    def is_closed(self):
        """Wait until the other side closes; False when it says something."""
        if self.ahead:
            return False
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def rest(self):
        """Everything until the other side closes."""
        while True:
            try:
                self.more()
            except Closed:
                return self.ahead

    def reset(self):
        """End as a crash would."""
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


def ask(port, data, **keys):
    """The reply to one request on a connection of its own."""
    with Connection(port) as connection:
        connection.send(data)
        return connection.reply(**keys)
