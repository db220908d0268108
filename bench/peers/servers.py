# SPDX-License-Identifier: Apache-2.0
"""The programs that a benchmark of peers starts, and what they use.

What they write goes to a file, so that reading it takes nobody's time.  CPU
time, context switches and memory are of a program and all its children.
"""

import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

PATIENCE_N = 3000  # turns of 10 ms
TOOLS = Path(__file__).resolve().parents[2] / "build/tools"

HAPROXY = """
global
    maxconn 4000
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 600s
    http-reuse always
frontend in
    bind 127.0.0.1:{port}
    default_backend out
backend out
    server one 127.0.0.1:{endpoint}
"""

# No bound on requests at the endpoint: beyond max_conns nginx answers 502.  Room
# for a whole JPEG: in the 64 KiB of its defaults a job costs it twice as much.
NGINX = """
{user}
daemon off;
worker_processes auto;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_max_body_size 64m;
    client_body_buffer_size 2m;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream out {{ server 127.0.0.1:{endpoint}; keepalive 256; }}
    server {{
        listen 127.0.0.1:{port};
        keepalive_requests 1000000000;
        location / {{
            proxy_pass http://out;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_max_temp_file_size 0;
            proxy_buffer_size 64k;
            proxy_buffers 16 64k;
            proxy_busy_buffers_size 128k;
        }}
    }}
}}
"""

LATENTD = """
[daemon]
listen = ipc://{directory}/{name}.sock
listen = tcp://127.0.0.1:{tcp}
http = 127.0.0.1:{port}
log_level = {log_level}
user_connections = 1000
drain_s = 0
[endpoint one]
model = {model}
task = decode
url = http://127.0.0.1:{endpoint}/{model}
parallel = {parallel}
{more}
"""
SPOOL = "[spool]\npath = {directory}/{name}.spool\nsize = 2G\n"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def haproxy():
    return shutil.which("haproxy")


def nginx():
    return shutil.which("nginx", path=f"{os.environ['PATH']}:{TOOLS}")


class Server:
    """A program in the background."""

    def __init__(self, argv, log, turn):
        self.log, self.turn = log, turn
        with log.open("wb") as out:
            self.child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT)

    def wait_until(self, condition):
        for _ in range(PATIENCE_N):
            if (found := condition()) is not None:
                return found
            if self.child.poll() is not None:
                break
            self.turn.wait(0.01)
        raise RuntimeError(
            f"{self.child.args[0]} does not come so far:\n"
            f"{self.log.read_text()}")

    def said_port(self):
        """The port that it says it listens on."""
        found = self.wait_until(lambda: re.search(
            r"listening on http://[\d.]+:(\d+)\n", self.log.read_text()))
        return int(found[1])

    def wait_port(self, port):
        def connected():
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return True
            except ConnectionRefusedError:
                return None
        self.wait_until(connected)

    def pids(self):
        """Its own and its children's."""
        own = self.child.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text()
        return [own, *map(int, children.split())]

    def cpu_s(self):
        """CPU seconds so far, to the nanosecond, also of ended threads."""
        # The clock of another process, as clock_getcpuclockid() makes it.
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self.pids())

    def used(self):
        """CPU seconds and context switches so far; bytes of memory now.

        Of threads that have ended no switches are known.
        """
        cpu_s, switches, rss_bytes, anonymous_bytes = self.cpu_s(), 0, 0, 0
        for pid in self.pids():
            proc = Path(f"/proc/{pid}")
            stat = (proc / "stat").read_text().rsplit(")", 1)[1].split()
            rss_bytes += int(stat[21]) * os.sysconf("SC_PAGE_SIZE")
            anonymous_bytes += 1024 * int(re.search(
                r"RssAnon:\s+(\d+) kB", (proc / "status").read_text())[1])
            for task in (proc / "task").iterdir():
                switches += sum(map(int, re.findall(
                    r"ctxt_switches:\t(\d+)", (task / "status").read_text())))
        return {"cpu_s": cpu_s, "switches": switches, "rss_bytes": rss_bytes,
                "anonymous_bytes": anonymous_bytes}

    def stop(self):
        self.child.terminate()
        self.child.wait()


@contextmanager
def running(argv, directory, turn):
    log = directory / f"{Path(argv[0]).name}-{free_port()}.log"
    server = Server(argv, log, turn)
    try:
        yield server
    finally:
        server.stop()


class Stage:
    """An endpoint of a scenario, and what stands before it; a context."""

    def __init__(self, bin_dir, directory, prepared, service_ms, places):
        self.bin, self.directory, self.prepared = bin_dir, directory, prepared
        self.service_ms, self.places = service_ms, places
        self.turn = threading.Event()
        self.middles = {}
        # Of latentd's configuration, {name: text}.
        self.sections = {"spool": SPOOL}
        self.ports = {}

    def __enter__(self):
        self.stack = ExitStack()
        self.endpoint = self.start(
            [self.bin / "bench-canned", str(round(1000 * self.service_ms)),
             str(self.places), *self.prepared.replies])
        self.ports["direct"] = self.endpoint.said_port()
        return self

    def __exit__(self, *error):
        self.stack.close()

    def served_n(self):
        """How many requests the endpoint has answered so far."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(
                f"http://127.0.0.1:{self.ports['direct']}/") as reply:
            return int(reply.read())

    def start(self, argv):
        return self.stack.enter_context(
            running(argv, self.directory, self.turn))

    def write(self, file, template, **keys):
        path = self.directory / file
        path.write_text(template.format(
            directory=self.directory, endpoint=self.ports["direct"], **keys))
        path.chmod(0o600)
        return path

    def middle(self, name):
        """The program of that name, started when it is asked for first."""
        if name not in self.middles:
            start = {"haproxy": self.start_haproxy,
                     "nginx": self.start_nginx,
                     "nng": self.start_nng}.get(name, self.start_latentd)
            self.ports[name] = free_port()
            self.middles[name] = start(name)
            self.middles[name].wait_port(self.ports[name])
        return self.middles[name]

    def daemon(self, name, more):
        """A latentd of its own, with these sections in its configuration."""
        self.sections[name] = more
        return self.middle(name)

    def end(self, name):
        """Stop the program of that name; another may take the name."""
        self.middles.pop(name).stop()

    def start_haproxy(self, name):
        path = self.write("haproxy.cfg", HAPROXY, port=self.ports[name])
        return self.start([haproxy(), "-db", "-q", "-f", path])

    def start_nginx(self, name):
        path = self.write(
            "nginx.conf", NGINX, port=self.ports[name],
            user="user root;" if os.geteuid() == 0 else "")
        return self.start([nginx(), "-e", "stderr", "-p", self.directory,
                           "-c", path])

    def start_nng(self, name):
        """What answers by itself: nothing reaches the endpoint."""
        self.ports[f"{name} tcp"] = self.ports[name]
        return self.start(
            [self.bin / "bench-nng", "serve", str(self.prepared.reply_bytes),
             f"tcp://127.0.0.1:{self.ports[name]}",
             f"ipc://{self.directory}/{name}.sock"])

    def start_latentd(self, name):
        """The daemon in the setting of that name."""
        self.ports[f"{name} tcp"] = free_port()
        path = self.write(
            f"{name}.conf", LATENTD, name=name, port=self.ports[name],
            tcp=self.ports[f"{name} tcp"], model=self.prepared.work.model,
            # A few wait at the endpoint, so that none of its places does.
            parallel=self.places + 4,
            log_level="info" if name == "logged" else "warn",
            more=self.sections.get(name, "").format(
                directory=self.directory, name=name))
        return self.start([self.bin / "latentd", "--config", path])
