# SPDX-License-Identifier: Apache-2.0
"""The resident memory of a daemon that holds a full queue.

10,000 SDXL latents of 131,072 bytes are submitted to a daemon whose endpoint
accepts connections and never answers, so all of them stay.  Prints JSON.

usage: queue_memory.py BIN_DIR
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
import wire  # noqa: E402

JOBS_N = 10_000
LATENT = {"task": "decode", "model": "sdxl", "dtype": "float16",
          "shape": [1, 4, 128, 128], "output": "jpg"}
LATENT_BYTES = 4 * 128 * 128 * 2
MOST_BYTES = 1.05 * JOBS_N * LATENT_BYTES + 32 * 2**20
PATIENCE_S = 300

CONFIG = """
[daemon]
listen = ipc://{directory}/latentd.sock
[queue]
jobs = {jobs}
bytes = {bytes}
producer_jobs = {jobs}
producer_bytes = {bytes}
[endpoint silent]
model = sdxl
task = decode
url = http://127.0.0.1:{port}/
parallel = 2
"""


def resident(pid):
    """VmRSS and VmHWM of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return [int(re.search(rf"^{name}:\s+(\d+) kB", status, re.M)[1]) * 1024
            for name in ("VmRSS", "VmHWM")]


def wait_for_socket(daemon, path, until):
    while not path.exists():
        if daemon.poll() is not None or time.monotonic() > until:
            raise RuntimeError("latentd did not start")
        os.sched_yield()


def fill(url, until):
    with wire.Producer(url) as producer:
        for i in range(JOBS_N):
            # Bytes that no page shares, and that nothing could compress.
            producer.submit(f"k{i}", os.urandom(LATENT_BYTES), **LATENT)
            if time.monotonic() > until:
                raise RuntimeError(f"only {i} jobs within {PATIENCE_S} s")


def measure(bin_dir):
    until = time.monotonic() + PATIENCE_S
    with tempfile.TemporaryDirectory() as directory, \
            socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        config = Path(directory) / "latentd.conf"
        config.write_text(CONFIG.format(
            directory=directory, jobs=JOBS_N, bytes=JOBS_N * LATENT_BYTES * 2,
            port=silent.getsockname()[1]))
        config.chmod(0o600)
        url = f"ipc://{directory}/latentd.sock"
        daemon = subprocess.Popen(
            [bin_dir / "latentd", "--config", config],
            stderr=subprocess.DEVNULL)
        try:
            wait_for_socket(daemon, Path(directory) / "latentd.sock", until)
            empty, _ = resident(daemon.pid)
            fill(url, until)
            held = json.loads(wire.report(url))["queue"]
            full, most = resident(daemon.pid)
        finally:
            daemon.kill()
            daemon.wait()
    return {"jobs": held["jobs"], "payload_bytes": JOBS_N * LATENT_BYTES,
            "empty_bytes": empty, "resident_bytes": full,
            "resident_most_bytes": most, "target_bytes": int(MOST_BYTES),
            "met": held["jobs"] == JOBS_N and full <= MOST_BYTES}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(json.dumps(measure(Path(sys.argv[1])), indent=1))
