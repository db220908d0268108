# SPDX-License-Identifier: Apache-2.0
"""The gateway beside HAProxy: ./dev bench gateway

The same requests go to an endpoint that answers from memory (bench-canned)
directly, through HAProxy and through latentd, in turns, in one run: SDXL
latents of 1024 x 1024, replies as a JPEG file and as uint8 pixels, 16 in
flight for jobs per second and CPU per job, one in flight for the time that is
added.  Writes gateway.json and gateway.md into the directory of results.

usage: gateway.py BIN_DIR RESULTS_DIR [--repeats N] [--seconds N]
"""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.request
from contextlib import ExitStack
from pathlib import Path

IN_FLIGHT = 16
SINGLE_N = 1000
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
QUERY = ("partial_postprocess={}&shape=1&shape=4&shape=128&shape=128"
         "&dtype=float16&scaling_factor=0.13025&image_format=jpg"
         "&output_type={}")
KINDS = {
    "jpg": ("image/jpeg", QUERY.format("False", "pil")),
    "uint8": ("tensor/binary", QUERY.format("True", "pt")),
}
THROUGHPUT_MIN, CPU_MAX, ADDED_US_MAX = 0.8, 1.3, 250

HAPROXY = """
global
    maxconn 1000
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

LATENTD = """
[daemon]
listen = ipc://{directory}/latentd.sock
http = 127.0.0.1:0
[endpoint one]
model = sdxl
task = decode
url = http://127.0.0.1:{endpoint}/sdxl
parallel = 16
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """A program in the background, known by its port and its CPU time."""

    def __init__(self, stack, argv, pattern=None, port=None):
        self.child = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        stack.callback(self.stop)
        self.port = port
        self.said = []
        if pattern is not None:
            for line in self.child.stdout:
                self.said.append(line)
                if found := re.search(pattern, line):
                    self.port = int(found[1])
                    break
            else:
                sys.exit(f"{argv[0]} does not start: {''.join(self.said)}")
        if port is not None:
            self.wait_port()
        # What it logs is read, so that it never waits for us.
        threading.Thread(target=self.drain, daemon=True).start()

    def wait_port(self):
        """Until it accepts connections."""
        turn = threading.Event()
        while self.child.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                turn.wait(0.01)
        sys.exit(f"{self.child.args[0]} does not start")

    def drain(self):
        while os.read(self.child.stdout.fileno(), 65536):
            pass

    def cpu_s(self):
        """User and system time of all its threads so far."""
        text = Path(f"/proc/{self.child.pid}/stat").read_text()
        fields = text.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def stop(self):
        self.child.terminate()
        self.child.wait()


class Bench:
    def __init__(self, bin_dir, stack):
        self.bin = Path(bin_dir)
        self.directory = Path(tempfile.mkdtemp(prefix="latentd-bench-"))
        stack.callback(shutil.rmtree, self.directory)
        self.sizes = {}
        self.make_replies()
        canned = Server(
            stack, [self.bin / "bench-canned", "0", "16",
                    f"output_type=pil:{self.directory}/jpg",
                    f"output_type=pt:{self.directory}/uint8"],
            r"http://127.0.0.1:(\d+)")
        self.servers = {"direct": canned}
        port = free_port()
        self.write("haproxy.cfg", HAPROXY, port=port)
        self.servers["haproxy"] = Server(
            stack, ["haproxy", "-db", "-q", "-f",
                    self.directory / "haproxy.cfg"], port=port)
        self.write("latentd.conf", LATENTD, directory=self.directory)
        self.servers["latentd"] = Server(
            stack, [self.bin / "latentd", "--config",
                    self.directory / "latentd.conf"],
            r"http on port (\d+)")

    def write(self, name, template, **keys):
        (self.directory / name).write_text(template.format(
            endpoint=self.servers["direct"].port, **keys))

    def make_replies(self):
        """A latent of soft noise and what latentd-endpoint makes of it."""
        import numpy
        random = numpy.random.default_rng(1)
        coarse = random.normal(size=(1, 4, 32, 32))
        smooth = coarse.repeat(4, 2).repeat(4, 3)
        latent = smooth + 0.05 * random.normal(size=smooth.shape)
        (self.directory / "latent").write_bytes(
            latent.astype("<f2").tobytes())
        with ExitStack() as stack:
            endpoint = Server(
                stack, [self.bin / "latentd-endpoint", "--listen",
                        "127.0.0.1:0"], r"http://127.0.0.1:(\d+)")
            for kind, (accept, query) in KINDS.items():
                request = urllib.request.Request(
                    f"http://127.0.0.1:{endpoint.port}/sdxl?{query}",
                    (self.directory / "latent").read_bytes(),
                    {"Accept": accept, "Content-Type": "tensor/binary"})
                with urllib.request.urlopen(request) as reply:
                    body = reply.read()
                    head = "".join(
                        f"{name}: {reply.headers[name]}\r\n"
                        for name in ("Content-Type", "shape", "dtype")
                        if reply.headers[name])
                (self.directory / kind).write_bytes(
                    f"HTTP/1.1 200 OK\r\n{head}Content-Length: {len(body)}"
                    "\r\n\r\n".encode() + body)
                self.sizes[kind] = len(body)

    def load(self, name, kind, jobs_n, in_flight):
        """One run; its figures, with the CPU time that all spent on a job."""
        accept, query = KINDS[kind]
        before = {n: s.cpu_s() for n, s in self.servers.items()}
        own = os.times()
        done = subprocess.run(
            [self.bin / "bench-http-load", str(self.servers[name].port),
             f"/sdxl?{query}", accept, self.directory / "latent",
             str(self.sizes[kind]), str(jobs_n), str(in_flight)],
            stdout=subprocess.PIPE, text=True, check=True)
        figures = json.loads(done.stdout)
        after = os.times()
        for n, server in self.servers.items():
            if n in (name, "direct"):
                figures[f"{n}_cpu_us"] = \
                    (server.cpu_s() - before[n]) / jobs_n * 1e6
        figures["load_cpu_us"] = (
            after.children_user + after.children_system
            - own.children_user - own.children_system) / jobs_n * 1e6
        return figures


def measure(bench, repeats, seconds):
    """{kind: {server: [figures of each repeat]}}, the order turned round."""
    results = {kind: {} for kind in KINDS}
    for kind in KINDS:
        rates = {
            name: bench.load(name, kind, 500, IN_FLIGHT)["jobs_per_s"]
            for name in bench.servers
        }
        names = list(bench.servers)
        for i in range(repeats):
            for name in names[i % 3:] + names[:i % 3]:
                jobs_n = max(500, int(rates[name] * seconds))
                many = bench.load(name, kind, jobs_n, IN_FLIGHT)
                one = bench.load(name, kind, SINGLE_N, 1)
                many["single_p50_us"] = one["p50_us"]
                many["single_p99_us"] = one["p99_us"]
                results[kind].setdefault(name, []).append(many)
                print(f"{kind} {name} {i + 1}/{repeats}: "
                      f"{many['jobs_per_s']:.0f} jobs/s, "
                      f"{many[name + '_cpu_us']:.0f} us CPU, "
                      f"{one['p50_us']:.0f} us alone", flush=True)
    return results


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def summary(results):
    told = {}
    for kind, servers in results.items():
        ha, own, direct = (
            servers[n] for n in ("haproxy", "latentd", "direct"))
        ratio = [a["jobs_per_s"] / b["jobs_per_s"] for a, b in zip(own, ha)]
        cpu = [a["latentd_cpu_us"] / b["haproxy_cpu_us"]
               for a, b in zip(own, ha)]
        added = [a["single_p50_us"] - b["single_p50_us"]
                 for a, b in zip(own, direct)]
        ha_added = [a["single_p50_us"] - b["single_p50_us"]
                    for a, b in zip(ha, direct)]
        told[kind] = {
            "throughput_ratio": statistics.median(ratio),
            "cpu_ratio": statistics.median(cpu),
            "added_us": statistics.median(added),
            "haproxy_added_us": statistics.median(ha_added),
            "throughput_met": statistics.median(ratio) >= THROUGHPUT_MIN,
            "cpu_met": statistics.median(cpu) <= CPU_MAX,
            "latency_met": statistics.median(added) <= ADDED_US_MAX,
        }
    return told


def machine():
    model = re.search(
        r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    version = subprocess.run(
        ["haproxy", "-v"], stdout=subprocess.PIPE, text=True, check=True)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "haproxy": re.search(r"version (\S+)", version.stdout)[1],
        "load_before": os.getloadavg()[0],
    }


def table(results, told, facts, sizes, repeats):
    yes = {True: "met", False: "missed"}
    lines = [
        "# The gateway beside HAProxy",
        "",
        f"Written by `./dev bench gateway`: {facts['cpus']} CPUs "
        f"({facts['cpu']}), Linux {facts['kernel']}, HAProxy "
        f"{facts['haproxy']}; medians of {repeats} interleaved repeats. "
        "Load generator, proxy and endpoint share the CPUs. SDXL latents of "
        f"131072 bytes; replies of {sizes['jpg']} (jpg) and "
        f"{sizes['uint8']} bytes (uint8); service time 0.",
        "",
        "| reply | through | jobs/s, 16 in flight | CPU per job, µs | "
        "endpoint's and load's CPU, µs | p50 alone, µs | p99 alone, µs |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for kind, servers in results.items():
        for name, runs in servers.items():
            own = "–" if name == "direct" else \
                f"{median(runs, name + '_cpu_us'):.0f}"
            lines.append(
                f"| {kind} | {name} | {median(runs, 'jobs_per_s'):.0f} | "
                f"{own} | {median(runs, 'direct_cpu_us'):.0f} + "
                f"{median(runs, 'load_cpu_us'):.0f} | "
                f"{median(runs, 'single_p50_us'):.0f} | "
                f"{median(runs, 'single_p99_us'):.0f} |")
    lines += [
        "",
        "| reply | jobs/s against HAProxy (≥ 0.8) | CPU per job against "
        "HAProxy (≤ 1.3) | p50 added, µs (≤ 250) | HAProxy adds, µs |",
        "|---|---|---|---|---:|",
    ]
    for kind, t in told.items():
        lines.append(
            f"| {kind} | {t['throughput_ratio']:.2f} "
            f"{yes[t['throughput_met']]} | {t['cpu_ratio']:.2f} "
            f"{yes[t['cpu_met']]} | {t['added_us']:.0f} "
            f"{yes[t['latency_met']]} | {t['haproxy_added_us']:.0f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin_dir")
    parser.add_argument("results_dir")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    args = parser.parse_args()
    facts = machine()
    with ExitStack() as stack:
        bench = Bench(args.bin_dir, stack)
        results = measure(bench, args.repeats, args.seconds)
        sizes = bench.sizes
    told = summary(results)
    out = Path(args.results_dir)
    out.mkdir(parents=True, exist_ok=True)
    (out / "gateway.json").write_text(json.dumps(
        {"machine": facts, "reply_bytes": sizes, "summary": told,
         "runs": results}, indent=1) + "\n")
    text = table(results, told, facts, sizes, args.repeats)
    (out / "gateway.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
