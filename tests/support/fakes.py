# SPDX-License-Identifier: Apache-2.0
"""Endpoints that lie, on loopback, by script.

    with FakeEndpoint(status(503), truncated, then=good) as fake:
        ... daemon with url = fake.url ...
        assert len(fake.requests) == 3

Each request takes the next step; when there is none left, `then` answers all
further ones.  A step is a function of the Exchange.  good() answers with
pixels that depend on the latent's bytes alone (fake_pixels), so that a test
knows what must come out without asking anybody.
"""

import io
import socket
import struct
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy
from PIL import Image


def fake_pixels(data, n, height_px, width_px):
    """What good() makes of a latent: uint8 [n,H,W,3]."""
    random = numpy.random.default_rng(zlib.crc32(data))
    return random.integers(
        0, 256, (n, height_px, width_px, 3), dtype=numpy.uint8
    )


class Request:
    """What came, and what became of the connection."""

    def __init__(self, handler, body):
        parts = urlsplit(handler.path)
        self.method = handler.command
        self.path = parts.path
        self.query = parse_qs(parts.query)
        self.headers = handler.headers
        self.body = body
        self.closed = threading.Event()  # by the client, while it waited
        self.at_s = time.monotonic()

    @property
    def shape(self):
        return [int(n) for n in self.query["shape"]]


class Exchange:
    """One request and the means to answer it wrongly."""

    def __init__(self, handler, request):
        self.handler = handler
        self.request = request

    def reply(self, body, kind, code=200, headers=(), length=None):
        handler = self.handler
        handler.send_response(code)
        if kind is not None:
            handler.send_header("Content-Type", kind)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header(
            "Content-Length", str(len(body) if length is None else length)
        )
        handler.end_headers()
        handler.wfile.write(body)

    def end(self):
        """Close the connection behind the reply."""
        self.handler.close_connection = True

    def tensor(self, change=None):
        """(bytes, shape, dtype) of the right reply; change(pixels) alters."""
        n, _, *frames, height, width = self.request.shape
        if frames:
            assert n == 1
            n = (frames[0] - 1) * 4 + 1
        pixels = fake_pixels(self.request.body, n, height * 8, width * 8)
        pixels = change(pixels) if change else pixels
        return pixels.tobytes(), str(list(pixels.shape)), "uint8"

    def is_file(self):
        return self.request.query["output_type"] == ["pil"]

    def file(self, change=None):
        """The right JPEG."""
        n, _, height, width = self.request.shape
        assert n == 1
        pixels = fake_pixels(self.request.body, 1, height * 8, width * 8)[0]
        out = io.BytesIO()
        Image.fromarray(change(pixels) if change else pixels).save(out, "JPEG")
        return out.getvalue()

    def whole(self, change=None, **keys):
        """The right reply, or one whose pixels went through change()."""
        if self.is_file():
            self.reply(
                self.file(change and (lambda p: change(p[None])[0])),
                "image/jpeg",
                **keys,
            )
            return
        data, shape, dtype = self.tensor(change)
        self.reply(
            data,
            "tensor/binary",
            headers=[("shape", shape), ("dtype", dtype)],
            **keys,
        )


# ---- steps: true ----


def good(exchange):
    exchange.whole()


def held(gate):
    """Answer well once gate (a threading.Event) is set."""

    def step(exchange):
        gate.wait()
        good(exchange)

    return step


def slow(seconds):
    """Answer well, with that service time."""

    def step(exchange):
        threading.Event().wait(seconds)
        good(exchange)

    return step


# ---- steps: lies in the body ----


def wrong_type(exchange):
    exchange.reply(b"<html>It works!</html>", "text/html")


def no_type(exchange):
    exchange.reply(exchange.tensor()[0], None)


def truncated(exchange):
    """Half of it under the full Content-Length, then the end."""
    data, shape, dtype = exchange.tensor()
    exchange.reply(
        data[: len(data) // 2],
        "tensor/binary",
        headers=[("shape", shape), ("dtype", dtype)],
        length=len(data),
    )
    exchange.end()


def short(exchange):
    """Half of it with a Content-Length that says so."""
    data, shape, dtype = exchange.tensor()
    exchange.reply(
        data[: len(data) // 2],
        "tensor/binary",
        headers=[("shape", shape), ("dtype", dtype)],
    )


def too_long(exchange):
    data, shape, dtype = exchange.tensor()
    exchange.reply(
        data + b"x" * 100000,
        "tensor/binary",
        headers=[("shape", shape), ("dtype", dtype)],
    )


def endless(exchange):
    """Chunks until the client has enough; request.closed says it had."""
    handler = exchange.handler
    handler.send_response(200)
    handler.send_header("Content-Type", "tensor/binary")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
    except OSError:
        exchange.request.closed.set()
    exchange.end()


def wrong_size(exchange):
    """Everything consistent, but pictures of another size."""
    exchange.whole(lambda pixels: pixels[:, :-8])


def wrong_shape(exchange):
    data, _, dtype = exchange.tensor()
    exchange.reply(
        data,
        "tensor/binary",
        headers=[("shape", "[1,2,3,4]"), ("dtype", dtype)],
    )


def hostile_shape(exchange):
    data, _, dtype = exchange.tensor()
    exchange.reply(
        data,
        "tensor/binary",
        headers=[
            ("shape", "[" * 5000 + "18446744073709551617"),
            ("dtype", dtype),
        ],
    )


def wrong_dtype(exchange):
    data, shape, _ = exchange.tensor()
    exchange.reply(
        data,
        "tensor/binary",
        headers=[("shape", shape), ("dtype", "float16")],
    )


def no_shape(exchange):
    exchange.reply(exchange.tensor()[0], "tensor/binary")


def empty(exchange):
    exchange.reply(b"", "tensor/binary")


def garbage_file(exchange):
    exchange.reply(b"\xff\xd8\xff" + b"nonsense" * 100, "image/jpeg")


def cut_file(exchange):
    """A JPEG without its end."""
    exchange.reply(exchange.file()[:-2], "image/jpeg")


def other_file(exchange):
    """A PNG under the name of a JPEG."""
    out = io.BytesIO()
    _, _, height, width = exchange.request.shape
    Image.new("RGB", (width * 8, height * 8)).save(out, "PNG")
    exchange.reply(out.getvalue(), "image/jpeg")


# ---- steps: statuses ----


def status(code, error=None, headers=(), kind="application/json"):
    """An error reply; error may be bytes (sent as they are) or text."""

    def step(exchange):
        body = error
        if isinstance(error, str):
            body = ('{"error": "%s"}' % error).encode()
        exchange.reply(body or b"", kind, code, headers)

    return step


def redirect(url):
    return status(307, "elsewhere", [("Location", url)])


def echo_token(code):
    """An error that repeats the Authorization header, as debuggers do."""

    def step(exchange):
        token = exchange.request.headers["Authorization"]
        status(code, f"you sent {token}, which is wrong", [
            ("shape", token), ("dtype", token),
        ])(exchange)

    return step


# ---- steps: below HTTP ----


def garbage(exchange):
    """Bytes that are no HTTP."""
    exchange.handler.wfile.write(bytes(range(256)) * 8 + b"\r\n\r\n")
    exchange.end()


def reset(exchange):
    exchange.handler.connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    exchange.end()


def hang_up(exchange):
    """Close without a word."""
    exchange.end()


def stalled(exchange):
    """Half of it, and then nothing; request.closed as in never()."""
    data, shape, dtype = exchange.tensor()
    exchange.reply(
        data[: len(data) // 2],
        "tensor/binary",
        headers=[("shape", shape), ("dtype", dtype)],
        length=len(data),
    )
    never(exchange)


def never(exchange):
    """No answer; request.closed is set when the client gives up."""
    try:
        exchange.handler.connection.recv(1)
    except OSError:
        pass
    exchange.request.closed.set()
    exchange.end()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are written apart; nobody shall wait for an ACK between.
    disable_nagle_algorithm = True

    def do_POST(self):
        length = int(self.headers.get("Content-Length", "0"))
        request = Request(self, self.rfile.read(length))
        step = self.server.fake.take(request)
        try:
            step(Exchange(self, request))
        except OSError:
            self.close_connection = True

    def log_message(self, *unused):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, fake):
        super().__init__(("127.0.0.1", 0), Handler)
        self.fake = fake
        self.open = set()

    def get_request(self):
        sock, peer = super().get_request()
        self.open.add(sock)
        return sock, peer

    def shutdown_request(self, sock):
        self.open.discard(sock)
        # close() alone, so that a reset stays one.
        sock.close()

    def handle_error(self, request, client_address):
        pass


class FakeEndpoint:
    """See the top.  .requests lists what came, in order of arrival."""

    def __init__(self, *steps, then=good):
        self.steps = list(steps)
        self.then = then
        self.requests = []
        self.changed = threading.Condition()
        self.server = Server(self)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(
            target=self.server.serve_forever, args=(0.05,), daemon=True
        )
        self.thread.start()

    def take(self, request):
        """Note a request and give the step that answers it."""
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
            return self.steps.pop(0) if self.steps else self.then

    def wait_requests(self, n, timeout_s=60):
        """Wait until n requests came, and return them."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: len(self.requests) >= n, timeout_s
            ), f"{len(self.requests)} of {n} requests came"
            return self.requests[:]

    def section(self, name="fake", model="sd-v1", **keys):
        """The section of a configuration for it."""
        return {f"endpoint {name}": {
            "model": model, "task": "decode", "url": f"{self.url}/{model}",
            **keys,  # task, too
        }}

    def close(self):
        self.server.shutdown()
        self.thread.join()
        for sock in list(self.server.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def dead_url():
    """A URL on loopback where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"
