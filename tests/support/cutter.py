# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy on loopback that loses connections, by script.

    with Cutter("tcp://127.0.0.1:8376", [5000, 20, 90000]) as cutter:
        ... client with cutter.url ...

Connection i is reset after that many bytes from the target, the next ones
live.  Both directions are cut at once, whatever is half on its way.
"""

import re
import socket
import struct
import threading


class Cutter:
    def __init__(self, target, after_bytes):
        host, port = re.fullmatch(r"tcp://([\d.]+):(\d+)", target).groups()
        self.target = (host, int(port))
        self.left = list(after_bytes)
        self.cut_n = 0
        self.ended = False
        self.open = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target)
            except OSError:
                near.close()
                continue
            with self.lock:
                if self.ended:
                    self.end(near, far)
                    return
                self.open.add((near, far))
                after = self.left.pop(0) if self.left else None
            for args in ((near, far, None), (far, near, after)):
                threading.Thread(
                    target=self.forward, args=args, daemon=True).start()

    def forward(self, source, sink, after):
        try:
            while True:
                data = source.recv(65536)
                if after is not None:
                    data = data[:after]
                    after -= len(data)
                sink.sendall(data)
                if not data or after == 0:
                    break
        except OSError:
            pass
        pairs = {(source, sink), (sink, source)}
        with self.lock:
            for pair in pairs & self.open:
                self.open.remove(pair)
                self.cut_n += after == 0
                self.end(*pair)

    @staticmethod
    def end(*socks):
        for sock in socks:
            try:
                sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        with self.lock:
            self.ended = True
            for pair in self.open:
                self.end(*pair)
            self.open.clear()
