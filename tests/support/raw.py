# SPDX-License-Identifier: Apache-2.0
"""A decode request by plain socket, to see how its reply ends."""

import socket

import processes
from remote import GOOD, GOOD_BODY

PT = GOOD + "&output_type=pt&partial_postprocess=True"
HEALTHY_BYTES = 32 * 32 * 3


class Raw:
    """One request by socket: .head, .body, and how it .ended: "whole",
    "closed", "reset", or "open" when nothing more comes for a while."""

    def __init__(self, endpoint, query=PT, until_bytes=None, path="sdxl",
                 headers=""):
        self.sock = socket.create_connection(
            ("127.0.0.1", endpoint.port), processes.PATIENCE_S)
        self.sock.settimeout(processes.PATIENCE_S)
        self.head, self.body, self.ended = b"", b"", None
        head = (f"POST /{path}?{query} HTTP/1.1\r\nHost: t\r\n"
                f"Accept: tensor/binary\r\nContent-Type: tensor/binary\r\n"
                f"{headers}Content-Length: {len(GOOD_BODY)}\r\n\r\n")
        data = b""
        try:
            self.sock.sendall(head.encode() + GOOD_BODY)
            while self.ended is None:
                some = self.sock.recv(65536)
                data += some
                self.head, mark, self.body = data.partition(b"\r\n\r\n")
                if not some:
                    self.ended = "closed"
                elif mark and len(self.body) == self.length():
                    self.ended = "whole"
                elif (mark and until_bytes is not None
                      and len(self.body) >= until_bytes):
                    self.ended = "open"
        except (ConnectionResetError, BrokenPipeError):
            self.ended = "reset"

    def length(self):
        for line in self.head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() == "content-length":
                return int(value)
        return None

    def status(self):
        return int(self.head.split()[1])

    def close(self):
        self.sock.close()
