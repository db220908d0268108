# SPDX-License-Identifier: Apache-2.0
"""A daemon that is killed again and again, and applications that must not
notice more than the pause.

    house = House(directory, endpoints, seed, bin_dir)
    house.run(100)

What an application is promised, and what is checked for every producer:

* a key whose SUBMIT was answered with ACCEPTED brings its result, with the
  right pixels;
* a key whose result was acknowledged is not delivered again by the same
  daemon.  After a kill it may be: the acknowledgement may not have been on
  disk.  Then the application, as liblatentd does, takes it for what it has;
* a program over liblatentd gets each of its keys exactly once.
"""

import json
import random
import re
import socket
import struct
import subprocess
import threading
import time

import numpy

import processes
import wire
from processes import PATIENCE_S
from samples import Latent, direct_pixels, latent

KINDS_N = 16
OUTSTANDING_N = 24  # of a producer in Python
LIB_OUTSTANDING_N = 32
ATTEMPTS_N = 1000

# What the endpoints are told to do wrong; each cycle draws one.  Noise under
# right headers cannot be told from pixels, so there is none.
FAULTS = (
    {},
    {"fail_rate": "0.2:500"},
    {"fail_rate": "0.3:503"},
    {"drop_rate": 0.2},
    {"truncate_rate": 0.2},
    {"wrong_size_rate": 0.2},
    {"slow_rate": "0.3:5"},
)
HEALTHY = {"fail_rate": 0, "drop_rate": 0, "truncate_rate": 0,
           "wrong_size_rate": 0, "slow_rate": "0:1"}


def kinds():
    """The latents of the producers in Python: small ones, and one that takes
    several pieces in the spool."""
    found = [latent(seed=seed) for seed in range(KINDS_N - 1)]
    return found + [latent(height=128, width=160, seed=99)]


def lib_kind(n):
    """The latent of job n of kill_client.c."""
    elements = 0x3000 + (n % KINDS_N * 64 + numpy.arange(256) * 37) % 2048
    return Latent(elements.astype("<u2").tobytes(), {
        "model": "sd-v1", "dtype": "float16", "shape": [1, 4, 8, 8]})


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def peer_pid(producer):
    """The process that listens, which tells one daemon from the next."""
    data = producer.connection.sock.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", data)[0]


class Events:
    """Counts what happens, for who waits for the next one."""

    def __init__(self):
        self.changed = threading.Condition()
        self.counts = {"accepted": 0, "result": 0, "acked": 0}

    def note(self, name):
        with self.changed:
            self.counts[name] += 1
            self.changed.notify_all()

    def wait(self, name, n, failure):
        """Wait for n more of them."""
        deadline = time.monotonic() + PATIENCE_S
        with self.changed:
            target = self.counts[name] + n
            while self.counts[name] < target:
                assert failure() is None, failure()
                assert time.monotonic() < deadline, (
                    f"waited in vain for {n} more {name}: {self.counts}")
                self.changed.wait(0.5)


class Application(threading.Thread):
    """A producer of its own name, with a connection that comes and goes."""

    def __init__(self, house, number):
        super().__init__(daemon=True)
        self.house = house
        self.random = random.Random(house.seed * 1000 + number)
        self.name_ = f"app{number}"
        self.next_n = 0
        self.unsure = {}  # key: kind; sent, and no answer read
        self.accepted = {}  # key: kind; to be collected
        self.done = {}  # key: pid of the daemon that took the last ack
        self.redelivered_n = 0
        self.failure = None

    def run(self):
        try:
            while not self.over():
                try:
                    with wire.Producer(self.house.url, self.name_) as producer:
                        self.live(producer, peer_pid(producer))
                except (OSError, wire.Closed):
                    self.house.wait_start()
        except BaseException as error:  # told by House.check()
            self.failure = error

    def over(self):
        return (self.house.ending.is_set() and not self.accepted
                and not self.unsure)

    def live(self, producer, pid):
        """Until the connection is lost, or all is over."""
        for key, kind in list(self.unsure.items()):
            self.submit(producer, key, kind)
        acks = []  # (tag, key) that the next COLLECT tells of
        while not self.over() or acks:
            n = len(self.accepted)
            more = not self.house.ending.is_set() and n < OUTSTANDING_N
            if more and not acks and self.random.random() < 0.6:
                key = f"{self.name_}-{self.next_n}"
                self.next_n += 1
                kind = self.random.randrange(KINDS_N)
                self.unsure[key] = kind
                self.submit(producer, key, kind)
            else:
                acks = self.collect(producer, acks, pid, 0 if more else 100)

    def submit(self, producer, key, kind):
        z = self.house.kinds[kind]
        reply = producer.try_submit(key, z.data, **z.fields, output="pixels")
        if reply.type == "BUSY":
            # Whatever there is room for is taken; this one was never there.
            del self.unsure[key]
            return
        reply.expect("ACCEPTED")
        assert reply["durability"] == "spooled", reply
        del self.unsure[key]
        self.accepted[key] = kind
        self.house.events.note("accepted")

    def collect(self, producer, acks, pid, wait_ms):
        reply = producer.collect(wait_ms, [tag for tag, key in acks])
        for _, key in acks:
            self.done[key] = pid
            self.house.events.note("acked")
        if reply.type == "EMPTY":
            return []
        reply.expect("RESULT", state="done", code="ok")
        key = reply["key"]
        if key in self.done:
            assert self.done[key] != pid, f"{key} was delivered twice"
            self.redelivered_n += 1
        else:
            # It may be one whose ACCEPTED was lost with the connection.
            kind = self.accepted.pop(key, None)
            if kind is None:
                kind = self.unsure.pop(key)
            assert reply.body == self.house.pixels[kind], key
            self.done[key] = None
            self.house.events.note("result")
        return [(reply["tag"], key)]


class Library:
    """kill_client, which pushes and takes over liblatentd."""

    def __init__(self, house):
        self.house = house
        self.child = subprocess.Popen(
            [processes.program("kill_client"), house.url, "lib",
             str(LIB_OUTSTANDING_N)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines = []
        self.errors = b""
        self.readers = [threading.Thread(target=read, daemon=True)
                        for read in (self.read_out, self.read_errors)]
        for reader in self.readers:
            reader.start()

    def read_out(self):
        for line in self.child.stdout:
            self.lines.append(line.decode().split())
            self.house.events.note("result")

    def read_errors(self):
        self.errors = self.child.stderr.read()

    def failure(self):
        if self.child.poll() in (None, 0):
            return None
        return f"kill_client: {self.child.returncode} {self.errors.decode()}"

    def finish(self):
        """End its input, wait, and check what it got."""
        self.child.stdin.close()
        try:
            status = self.child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.lacks()) from None
        for reader in self.readers:
            reader.join()
        assert status == 0, self.failure()
        assert not processes.SANITIZER_REPORT.search(self.errors.decode())
        assert self.lines[-1][0] == "end"
        pushed_n = int(self.lines.pop()[1])
        keys = [line[0] for line in self.lines]
        assert len(set(keys)) == len(keys), "a key came twice"
        assert set(keys) == {f"lib-{n}" for n in range(pushed_n)}
        for key, outcome, hashed in self.lines:
            assert outcome == "ok", key
            n = int(key.removeprefix("lib-"))
            assert hashed == self.house.lib_hashes[n % KINDS_N], key
        return pushed_n

    def lacks(self):
        """Why it does not end: the keys that it waits for, and what the
        daemon has of it."""
        got = {line[0] for line in self.lines}
        most = max(int(key.removeprefix("lib-")) for key in got)
        gone = [n for n in range(most + 1) if f"lib-{n}" not in got]
        with wire.Producer(self.house.url, "lib") as producer:
            listed = producer.ask("LIST", {"producer": "lib"})
        return (f"kill_client waits; before lib-{most} it lacks {gone};"
                f" the daemon: {listed.body.decode()[:2000]}"
                f" {wire.report(self.house.url).decode()[:3000]}"
                f" {self.house.logs[-1500:]}"
                f" {self.house.daemon.stderr()[-1500:]}")

    def kill(self):
        self.child.kill()
        self.child.wait()


class House:
    """The daemon, its endpoints and its applications."""

    def __init__(self, directory, endpoints, seed, bin=None, env=None,
                 applications_n=3):
        self.directory = directory
        self.endpoints = endpoints
        self.seed = seed
        self.bin = bin
        self.env = env
        self.random = random.Random(seed)
        self.events = Events()
        self.ending = threading.Event()
        self.life = 0
        self.started = threading.Condition()
        self.moments = {}
        self.logs = ""
        self.data = directory / "spool" / "data.mdb"
        self.kinds = kinds()
        healthy = endpoints[0].url
        self.pixels = [direct_pixels(healthy, z).tobytes() for z in self.kinds]
        self.lib_hashes = [
            fnv(direct_pixels(healthy, lib_kind(n)).tobytes())
            for n in range(KINDS_N)]
        self.daemon = None
        self.start()
        self.url = self.daemon.url
        self.applications = [Application(self, n)
                             for n in range(applications_n)]
        self.library = Library(self)
        for application in self.applications:
            application.start()

    def sections(self):
        found = {
            "daemon": {"drain_s": 0},
            "queue": {"attempts": ATTEMPTS_N, "hedge_percent": 5},
            "spool": {"path": self.directory / "spool", "size": "256M",
                      "durability": "spooled"},
        }
        for i, endpoint in enumerate(self.endpoints):
            found[f"endpoint e{i}"] = {
                "model": "sd-v1", "task": "decode",
                "url": f"{endpoint.url}/sd-v1", "parallel": 4, "stall_s": 2,
            }
        return found

    # ---- lives ----

    def start(self, wait=True):
        """Start a daemon; without waiting, it may be killed in its start."""
        kind = processes.Daemon if wait else HastyDaemon
        self.daemon = kind(self.directory, self.sections(), bin=self.bin,
                           env=self.env)
        with self.started:
            self.life += 1
            self.started.notify_all()

    def wait_start(self):
        """For applications: until a daemon starts, or it is time to try."""
        with self.started:
            self.started.wait(0.02)

    def kill(self):
        self.daemon.kill()
        self.daemon.check_clean()
        self.logs = self.daemon.stderr()
        assert "set aside" not in self.logs, self.logs
        assert "cannot be read" not in self.logs, self.logs

    # ---- moments ----

    def writes(self, n):
        """n changes of the file, as far as they can be seen."""
        seen, last = 0, None
        deadline = time.monotonic() + PATIENCE_S
        while seen < n:
            now = self.data.stat().st_mtime_ns
            seen += now != last
            last = now
            self.check()
            assert time.monotonic() < deadline, "nothing is written"

    def moment(self):
        """Come to a moment that chance has chosen."""
        name = self.random.choice(
            ("accepted", "result", "acked", "writes", "start", "ready"))
        self.moments[name] = self.moments.get(name, 0) + 1
        n = self.random.randint(1, 60)
        if name == "writes":
            self.writes(n)
        elif name == "start":
            self.again(wait=False)
        elif name != "ready":
            self.events.wait(name, n, self.failure)
        self.spin(self.random.random() * 0.004)

    @staticmethod
    def spin(seconds):
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass

    def again(self, wait=True):
        self.kill()
        self.start(wait)

    def misbehave(self):
        for endpoint in self.endpoints:
            endpoint.control(**HEALTHY)
            endpoint.control(seed=self.random.randrange(1 << 30),
                             **self.random.choice(FAULTS))

    # ---- the whole ----

    def failure(self):
        for application in self.applications:
            if application.failure is not None:
                return application.failure
        return self.library.failure()

    def check(self):
        failure = self.failure()
        if isinstance(failure, BaseException):
            raise failure
        assert failure is None, failure

    def run(self, cycles_n):
        for cycle in range(cycles_n):
            if cycle % 5 == 0:
                self.misbehave()
            self.moment()
            self.check()
            self.again()
        for endpoint in self.endpoints:
            endpoint.control(**HEALTHY)
        return self.finish()

    def finish(self):
        """Let all end; how many jobs there were."""
        self.ending.set()
        deadline = time.monotonic() + PATIENCE_S
        for application in self.applications:
            application.join(max(0, deadline - time.monotonic()))
            self.check()
            assert not application.is_alive(), (
                f"{application.name_} lacks {len(application.accepted)} of"
                f" {application.next_n}: {sorted(application.accepted)[:5]}")
        pushed_n = self.library.finish()
        for application in self.applications:
            self.thank(application.name_, set(application.done))
        self.thank("lib", {line[0] for line in self.library.lines})
        told = json.loads(wire.report(self.url))["jobs"]
        assert told["queued"] == told["active"] == told["kept"] == 0, told
        assert told["failed"] == told["failed_total"] == 0, told
        return pushed_n + sum(len(a.done) for a in self.applications)

    def thank(self, name, done):
        """Take what is delivered again after a kill: only what was there."""
        with wire.Producer(self.url, name) as producer:
            while (reply := producer.next(100)).get("pending") != 0:
                if reply.type != "EMPTY":
                    assert reply.expect("RESULT", state="done")["key"] in done

    def close(self):
        self.ending.set()
        self.library.kill()
        self.daemon.kill()

    def tell(self):
        """What there was, for the log of a test."""
        redelivered_n = sum(a.redelivered_n for a in self.applications)
        return (f"seed {self.seed}, {self.life} daemons, moments"
                f" {self.moments}, {redelivered_n} redelivered, at the end"
                f" {len(self.library.lines)} of liblatentd")


class HastyDaemon(processes.Daemon):
    """One that is not waited for."""

    def wait_line(self, pattern, stream="stderr", timeout_s=None):
        if pattern == "ready":
            return re.match("", "")
        return super().wait_line(pattern, stream, timeout_s)
