# SPDX-License-Identifier: Apache-2.0
"""What people write in Python today, as a load generator of ./dev bench peers.

guide: the queue of the Hugging Face guide, a thread that takes latents from it
and calls requests.post() for each, as diffusers' remote_decode() does; threads:
as many as requests in flight, a requests.Session each; aiohttp: as many tasks,
one ClientSession.  Those that keep connections open them by a GET before the
time begins.  What comes back is not decoded.

usage: patterns.py guide|threads|aiohttp URL ACCEPT BODY_FILE REPLY_BYTES JOBS
                   IN_FLIGHT
"""

import asyncio
import json
import os
import queue
import re
import resource
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Load:
    url: str
    accept: str
    body: bytes
    reply_bytes: int
    jobs_n: int
    in_flight: int
    took_s: list = field(default_factory=list)
    before: resource.struct_rusage = None
    start_s: float = 0

    def begin(self):
        """The first job is sent after this."""
        self.before = resource.getrusage(resource.RUSAGE_SELF)
        self.start_s = time.perf_counter()

    @property
    def headers(self):
        return {"Accept": self.accept, "Content-Type": "tensor/binary"}

    def done(self, start_s, status, content):
        if status != 200 or len(content) != self.reply_bytes:
            # From whichever thread: nothing else is to be waited for.
            print(f"status {status}, {len(content)} bytes", file=sys.stderr)
            os._exit(1)
        self.took_s.append(time.perf_counter() - start_s)

    def post(self, post):
        start_s = time.perf_counter()
        reply = post(self.url, data=self.body, headers=self.headers)
        self.done(start_s, reply.status_code, reply.content)


def guide(load):
    import requests

    waiting, room = queue.Queue(), threading.Semaphore(load.in_flight)

    def work():
        while (start_s := waiting.get()) is not None:
            reply = requests.post(
                load.url, data=load.body, headers=load.headers)
            load.done(start_s, reply.status_code, reply.content)
            room.release()

    thread = threading.Thread(target=work)
    thread.start()
    load.begin()
    for _ in range(load.jobs_n):
        room.acquire()
        waiting.put(time.perf_counter())
    waiting.put(None)
    thread.join()
    return f"requests {requests.__version__}"


def threads(load):
    import requests

    # Each next() of one iterator is atomic.
    left = iter(range(load.jobs_n))
    ready = threading.Barrier(load.in_flight, load.begin)

    def work():
        with requests.Session() as session:
            session.get(load.url)
            ready.wait()
            for _ in left:
                load.post(session.post)

    pool = [threading.Thread(target=work) for _ in range(load.in_flight)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    return f"requests {requests.__version__}"


def with_aiohttp(load):
    import aiohttp

    left = iter(range(load.jobs_n))

    async def connect(session):
        async with session.get(load.url) as reply:
            await reply.read()

    async def work(session):
        for _ in left:
            start_s = time.perf_counter()
            async with session.post(load.url, data=load.body,
                                    headers=load.headers) as reply:
                load.done(start_s, reply.status, await reply.read())

    async def run():
        async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(
                *(connect(session) for _ in range(load.in_flight)))
            load.begin()
            await asyncio.gather(
                *(work(session) for _ in range(load.in_flight)))

    asyncio.run(run())
    return f"aiohttp {aiohttp.__version__}"


def most_mib():
    """Not getrusage()'s: that begins with what the parent had."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


PATTERNS = {"guide": guide, "threads": threads, "aiohttp": with_aiohttp}
MODULES = {"guide": "requests", "threads": "requests", "aiohttp": "aiohttp"}


def main():
    if len(sys.argv) != 8 or sys.argv[1] not in PATTERNS:
        sys.exit(__doc__)
    name, url, accept, body, reply_bytes, jobs_n, in_flight = sys.argv[1:]
    # Importing is not measured.
    __import__(MODULES[name])
    load = Load(url, accept, Path(body).read_bytes(), int(reply_bytes),
                int(jobs_n), int(in_flight))
    version = PATTERNS[name](load)
    wall_s = time.perf_counter() - load.start_s
    before, after = load.before, resource.getrusage(resource.RUSAGE_SELF)
    took_us = sorted(1e6 * took_s for took_s in load.took_s)
    n = load.jobs_n
    assert len(took_us) == n, f"{len(took_us)} of {n} jobs"
    print(json.dumps({
        "jobs": n, "jobs_per_s": n / wall_s, "p50_us": took_us[n // 2],
        "p99_us": took_us[n * 99 // 100],
        "client_cpu_us": 1e6 * (
            after.ru_utime + after.ru_stime
            - before.ru_utime - before.ru_stime) / n,
        "client_switches": (after.ru_nvcsw + after.ru_nivcsw
                            - before.ru_nvcsw - before.ru_nivcsw) / n,
        "client_rss_mib": most_mib(), "version": version}))


if __name__ == "__main__":
    main()
