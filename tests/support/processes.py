# SPDX-License-Identifier: Apache-2.0
"""Start the project's programs for scenario tests, and wait for conditions.

Every program runs with its output read by threads, so that it never blocks on
a full pipe and a test can wait for a line.  Only processes started here are
ever signalled, by their own pid.  Nothing sleeps: waiting is on a line, on a
process's end or on a condition, always with a deadline.

    with Endpoint(service_ms=50, parallel=4) as endpoint:
        with Daemon(directory, endpoint.sections()) as daemon:
            done = run(program("latentctl"), "status", env=daemon.env())
"""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM

SOURCE_DIR = Path(
    os.environ.get("LATENTD_SOURCE_DIR", Path(__file__).resolve().parents[2])
)

# How long anything may take before a test gives up.  Sanitizers on a busy
# machine are slow; a test that passes never waits for this.
PATIENCE_S = float(os.environ.get("LATENTD_TEST_PATIENCE_S", "60"))

MODELS = ("sd-v1", "sdxl", "flux", "hunyuan-video")

SANITIZER_REPORT = re.compile(
    r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer"
    r"|runtime error:|LeakSanitizer has encountered"
)


def bin_dir():
    """Where the programs under test are: $LATENTD_BIN_DIR."""
    return Path(
        os.environ.get("LATENTD_BIN_DIR", SOURCE_DIR / "build/asan/bin")
    )


def program(name, directory=None):
    """The path of a program; AssertionError when it was not built."""
    path = Path(directory or bin_dir()) / name
    assert path.exists(), f"{path} is missing: run ./dev test, or build it"
    return str(path)


def wait_until(condition, what, timeout_s=None):
    """Call condition() until it returns something true, and return that."""
    deadline = time.monotonic() + (timeout_s or PATIENCE_S)
    turn = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain until {what}")
        turn.wait(0.01)


def run(*argv, timeout_s=None, input=None, env=None, cwd=None, check=None):
    """Run a program to its end; stdout and stderr are bytes.

    check: the exit status that is expected; None takes any.  A sanitizer's
    report fails the test whatever the status is.
    """
    done = subprocess.run(
        [str(a) for a in argv],
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=timeout_s or PATIENCE_S,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        check=False,
    )
    stderr = done.stderr.decode(errors="replace")
    assert not SANITIZER_REPORT.search(stderr), stderr
    if check is not None:
        assert done.returncode == check, (
            f"{' '.join(str(a) for a in argv)}: status {done.returncode}, "
            f"expected {check}\n{done.stdout.decode(errors='replace')}"
            f"{stderr}"
        )
    return done


class Process:
    """A program in the background.

    new_session: in a process group of its own, as a terminal would start it,
    so that signal_group() reaches it and what it has started.
    """

    def __init__(self, argv, env=None, cwd=None, new_session=False):
        self.argv = [str(a) for a in argv]
        self._changed = threading.Condition()
        self._text = {"stdout": "", "stderr": ""}
        self.child = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=new_session,
        )
        self.pid = self.child.pid
        self._readers = [
            threading.Thread(target=self._read, args=(name,), daemon=True)
            for name in self._text
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name):
        stream = getattr(self.child, name)
        while True:
            some = os.read(stream.fileno(), 65536)
            with self._changed:
                if not some:
                    self._changed.notify_all()
                    return
                self._text[name] += some.decode(errors="replace")
                self._changed.notify_all()

    def stdout(self):
        with self._changed:
            return self._text["stdout"]

    def stderr(self):
        with self._changed:
            return self._text["stderr"]

    def wait_line(self, pattern, stream="stderr", timeout_s=None):
        """Wait for a line that re.search finds pattern in; return the match."""
        compiled = re.compile(pattern, re.MULTILINE)
        reader = self._readers[list(self._text).index(stream)]
        deadline = time.monotonic() + (timeout_s or PATIENCE_S)
        with self._changed:
            while True:
                ended = not reader.is_alive()
                text = self._text[stream]
                whole = text if ended else text[: text.rfind("\n") + 1]
                found = compiled.search(whole)
                if found:
                    return found
                left = deadline - time.monotonic()
                if ended or left <= 0:
                    raise AssertionError(
                        f"{self.argv[0]} {'ended' if ended else 'runs'} "
                        f"without /{pattern}/ on {stream}:\n"
                        f"{self._text['stdout']}{self._text['stderr']}"
                    )
                self._changed.wait(min(left, 0.2))

    def running(self):
        return self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def signal_group(self, number):
        """What a key on the terminal does; only with new_session."""
        assert os.getpgid(self.pid) == self.pid
        os.killpg(self.pid, number)

    def wait(self, timeout_s=None):
        """Wait for the end; return the status (negative: the signal)."""
        try:
            status = self.child.wait(timeout_s or PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.argv[0]} does not end:\n{self.stderr()}"
            ) from None
        for reader in self._readers:
            reader.join()
        self.child.stdout.close()
        self.child.stderr.close()
        return status

    def stop(self, number=SIGTERM, timeout_s=None):
        """Ask it to end (if it still runs) and return the status."""
        if self.running():
            self.signal(number)
        try:
            return self.wait(timeout_s)
        except AssertionError:
            self.kill()
            raise

    def kill(self):
        """End it at once, as a crash would; no-op when it has ended."""
        if self.running():
            self.child.kill()
        return self.wait()

    def check_clean(self):
        """Fail on a sanitizer's report in what it wrote."""
        text = self.stderr()
        assert not SANITIZER_REPORT.search(text), text

    def rss_bytes(self):
        """Resident memory now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1]) * 1024

    def fd_n(self):
        """Open descriptors now."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.kill()
            return
        expected = self.child.poll() is None
        status = self.stop()
        if expected:
            assert status == 0, (
                f"{self.argv[0]}: status {status} after SIGTERM\n"
                f"{self.stderr()}"
            )
        self.check_clean()


class Endpoint(Process):
    """latentd-endpoint on a free loopback port; .url is http://HOST:PORT.

    control=True lets control() read and change it while it runs.
    """

    def __init__(self, *args, service_ms=0, parallel=None, token=None,
                 port=0, directory=None, env=None, control=False):
        self.token = token
        argv = [
            program("latentd-endpoint", directory),
            "--listen", f"127.0.0.1:{port}",
            "--service-ms", str(service_ms),
        ]
        if parallel is not None:
            argv += ["--parallel", str(parallel)]
        if token is not None:
            argv += ["--token", token]
        if control:
            argv.append("--control")
        super().__init__(argv + list(args), env=env)
        try:
            found = self.wait_line(
                r"listening on (http://127\.0\.0\.1:(\d+))", "stdout"
            )
        except AssertionError:
            self.kill()
            raise
        self.url = found[1]
        self.port = int(found[2])

    def control(self, **changes):
        """Apply changes, if there are any; return what GET /control tells.

        fail_rate=0.1 is fail-rate=0.1; a list gives a name several times.
        AssertionError with the endpoint's sentence when it refuses.
        """
        pairs = [(name.replace("_", "-"), value)
                 for name, value in changes.items()]
        request = urllib.request.Request(
            f"{self.url}/control?{urllib.parse.urlencode(pairs, doseq=True)}",
            method="POST" if changes else "GET",
        )
        if self.token is not None:
            request.add_header("Authorization", f"Bearer {self.token}")
        # Never by a proxy of the environment's.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE_S) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def sections(self, models=MODELS, tasks=("decode", "encode"), **keys):
        """Sections [endpoint NAME] of a configuration, as a dictionary."""
        return endpoint_sections(self.url, models, tasks, **keys)


def endpoint_sections(url, models=MODELS, tasks=("decode", "encode"), **keys):
    """The same for any base URL; keys are added to every section."""
    sections = {}
    for task in tasks:
        for model in models:
            path = model if task == "decode" else f"encode/{model}"
            sections[f"endpoint {model}-{task}"] = {
                "model": model,
                "task": task,
                "url": f"{url}/{path}",
                **keys,
            }
    return sections


def ini_text(sections):
    """A configuration from {section: {key: value}}; a list repeats a key."""
    lines = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        for key, value in keys.items():
            all_values = value if isinstance(value, list) else [value]
            lines += [f"{key} = {one}" for one in all_values]
        lines.append("")
    return "\n".join(lines)


class Daemon(Process):
    """latentd with a configuration and an ipc socket in directory.

    sections: {"endpoint NAME": {...}, "queue": {...}, "daemon": {...}};
    [daemon] listen is filled in.  The directory's path must be short: a
    socket's path has at most 107 bytes.
    """

    def __init__(self, directory, sections, *args, env=None, bin=None):
        directory = Path(directory)
        self.url = f"ipc://{directory}/latentd.sock"
        self.config = directory / "latentd.conf"
        whole = {"daemon": {"listen": self.url}}
        for section, keys in sections.items():
            whole.setdefault(section, {}).update(keys)
        listen = whole["daemon"]["listen"]
        self.url = listen[0] if isinstance(listen, list) else listen
        self.sections = whole
        self.config.write_text(ini_text(whole))
        super().__init__(
            [program("latentd", bin), "--config", self.config, *args],
            env=env,
        )
        try:
            self.wait_line("ready")
        except AssertionError:
            self.kill()
            raise

    def configure(self, changes):
        """Write the configuration anew with sections changed, key by key; a
        section or key that is None is left out."""
        for section, keys in changes.items():
            if keys is None:
                del self.sections[section]
                continue
            merged = {**self.sections.get(section, {}), **keys}
            self.sections[section] = {
                key: value for key, value in merged.items()
                if value is not None
            }
        self.config.write_text(ini_text(self.sections))

    def env(self):
        """Environment for clients: $LATENTD_URL."""
        return {"LATENTD_URL": self.url}


def find_http(daemon):
    """Set a daemon's .port and .http (the URL) to where it serves HTTP."""
    daemon.port = int(daemon.wait_line(r"http on port (\d+)")[1])
    daemon.http = f"http://127.0.0.1:{daemon.port}"
    return daemon


@contextmanager
def short_directory():
    """An empty directory with a path short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="latentd-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def free_port():
    """A TCP port of loopback that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
