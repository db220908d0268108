# SPDX-License-Identifier: Apache-2.0
"""A service manager of a test's own: what systemd hears of a daemon.

    with Manager(short_tmp / "notify") as manager:
        daemon = start_daemon(sections, env=manager.env(watchdog_us=400000))
        manager.wait("READY", "1")

Each datagram becomes a dictionary, in the order of their coming.
"""

import os
import socket
import threading

PATIENCE_S = float(os.environ.get("LATENTD_TEST_PATIENCE_S", "60"))


class Manager:
    def __init__(self, address):
        """address: a path, or "@name" for an abstract one."""
        self.address = str(address)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = self.address
        self.sock.bind("\0" + name[1:] if name[0] == "@" else name)
        self.all = []
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            data = self.sock.recv(65536).decode()
            if data == "END":
                return
            pairs = [line.split("=", 1) for line in data.splitlines()]
            with self.changed:
                self.all.append(dict(pairs))
                self.changed.notify_all()

    def env(self, watchdog_us=None, pid=None):
        """What systemd would put into the service's environment."""
        env = {"NOTIFY_SOCKET": self.address}
        if watchdog_us is not None:
            env["WATCHDOG_USEC"] = str(watchdog_us)
        if pid is not None:
            env["WATCHDOG_PID"] = str(pid)
        return env

    def n(self):
        """How many messages came."""
        with self.changed:
            return len(self.all)

    def said(self, key, since=0):
        """All values of a key, in order."""
        with self.changed:
            return [m[key] for m in self.all[since:] if key in m]

    def wait_for(self, condition, what, since=0):
        """Wait until a message fulfils condition(message); return it."""
        def found():
            return next((m for m in self.all[since:] if condition(m)), None)

        with self.changed:
            assert self.changed.wait_for(found, PATIENCE_S), \
                f"waited in vain for {what}: {self.all}"
            return found()

    def wait(self, key, value=None, since=0):
        """Wait for key, with value if there is one; return the message."""
        return self.wait_for(
            lambda m: key in m and value in (None, m[key]),
            f"{key}={value}", since)

    def wait_n(self, key, n, since=0):
        """Wait until key came n times."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: sum(key in m for m in self.all[since:]) >= n,
                PATIENCE_S), f"{key} did not come {n} times: {self.all}"

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"END", self.sock.getsockname())
        self.thread.join()
        self.sock.close()
