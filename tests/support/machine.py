# SPDX-License-Identifier: Apache-2.0
"""A machine of its own with systemd as PID 1, for the units.

    with Machine(directory, build_dir) as machine:
        machine.run("systemctl", "start", "latentd", check=0)

It is a container of systemd-nspawn over the programs of this system, with the
project installed on top by `cmake --install`, an empty /etc and a network of
its own that has loopback only.  Commands run through an agent in it, which
listens on a socket in a directory that both sides see.
"""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from processes import Process, wait_until

AGENT = """
import json, os, pwd, socketserver, subprocess

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        order = json.loads(self.rfile.readline())
        keys = {}
        if order["user"]:
            entry = pwd.getpwnam(order["user"])
            keys = {
                "user": entry.pw_uid, "group": entry.pw_gid,
                "extra_groups": os.getgrouplist(
                    order["user"], entry.pw_gid),
            }
        done = subprocess.run(
            order["argv"], stdin=subprocess.DEVNULL, capture_output=True,
            env={**os.environ, **order["env"]}, cwd="/shared", **keys)
        self.wfile.write(json.dumps({
            "status": done.returncode,
            "stdout": done.stdout.decode(errors="replace"),
            "stderr": done.stderr.decode(errors="replace"),
        }).encode())

class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

Server("/shared/agent.sock", Handler).serve_forever()
"""

AGENT_UNIT = """
[Unit]
Requires=basic.target
After=basic.target
[Service]
ExecStart=/usr/bin/python3 /shared/agent.py
"""

SYSUSERS = """
u alice - "In the group"
m alice latentd
u mallory - "Not in the group"
"""

# A mount namespace of its own.  In a chroot the root is no mount, which neither
# this nor systemd-nspawn can do without; what is shared with others is left.
ROOT = """
set -e
mount --make-rprivate / 2>/dev/null && exec "$@"
if grep -q ' shared:' /proc/self/mountinfo; then
    echo "a chroot whose mounts are shared" >&2
    exit 1
fi
mount --rbind / /mnt
exec chroot /mnt "$@"
"""

# In it the whole unified hierarchy is visible, whatever this system's layout
# is, and there is a control group of its own.
ENTER = """
set -e
[ -d /sys/kernel ] || mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$0"
echo $$ > "/sys/fs/cgroup/$0/cgroup.procs"
exec "$@"
"""

# Takes back what ENTER has made; the groups below it are empty by then.
LEAVE = """
[ -d /sys/kernel ] || mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
find "/sys/fs/cgroup/$0" -depth -type d -exec rmdir {} +
"""

UNSHARE = ("unshare", "--mount", "--propagation", "unchanged", "sh", "-c",
           ROOT, "sh")

_numbers = itertools.count(1)


class Done:
    """What a command in the machine came to."""

    def __init__(self, answer):
        self.returncode = answer["status"]
        self.stdout = answer["stdout"]
        self.stderr = answer["stderr"]

    def __repr__(self):
        return f"status {self.returncode}\n{self.stdout}{self.stderr}"


class Machine:
    """.shared is the directory that is /shared in the machine."""

    def __init__(self, directory, build_dir):
        self.tree = Path(directory) / "tree"
        self.shared = Path(directory) / "shared"
        self.name = f"latentd-test-{os.getpid()}-{next(_numbers)}"
        self.process = None
        self._make_tree(build_dir)

    def _make_tree(self, build_dir):
        self.shared.mkdir()
        self.shared.chmod(0o777)
        for name in ("usr", "etc", "var/lib", "var/log", "root", "run", "tmp",
                     "proc", "sys", "dev", "shared"):
            (self.tree / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                (self.tree / name).symlink_to(f"usr/{name}")
        subprocess.run(
            ["cmake", "--install", str(build_dir)], check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "DESTDIR": str(self.tree / "installed")})
        etc = self.tree / "etc"
        shutil.copytree(
            self.tree / "installed/etc", etc, dirs_exist_ok=True)
        if Path("/etc/alternatives").is_dir():
            shutil.copytree(
                "/etc/alternatives", etc / "alternatives", symlinks=True)
        for name, text in {
            "passwd": "root:x:0:0:root:/root:/bin/sh\n",
            "group": "root:x:0:\n",
            "hosts": "127.0.0.1 localhost\n::1 localhost\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
            "machine-id": "0123456789abcdef0123456789abcdef\n",
            "os-release": "ID=latentd-test\n",
            "ld.so.conf": "/usr/local/lib\n/usr/local/lib/"
            f"{sys.implementation._multiarch}\n",
            "sysusers.d/test.conf": SYSUSERS,
            "systemd/system/agent.service": AGENT_UNIT,
        }.items():
            (etc / name).parent.mkdir(parents=True, exist_ok=True)
            (etc / name).write_text(text)
        (self.shared / "agent.py").write_text(AGENT)

    def _nspawn(self, *args):
        return [
            *UNSHARE, "sh", "-c", ENTER, self.name, "env", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "systemd-nspawn",
            "--quiet", "--register=no", "--keep-unit", "--private-network",
            "--console=pipe", f"--directory={self.tree}",
            # Which a container of its own accord refuses.
            "--system-call-filter=landlock_create_ruleset landlock_add_rule "
            "landlock_restrict_self",
            f"--overlay-ro=/usr:{self.tree}/installed/usr:/usr",
            f"--bind={self.shared}:/shared", *args,
        ]

    def _leave(self):
        subprocess.run(
            [*UNSHARE, "sh", "-c", LEAVE, self.name],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            check=False)

    def obstacle(self):
        """Why no machine can be had here; None: it can."""
        if os.geteuid() != 0:
            return "not root"
        if not shutil.which("systemd-nspawn"):
            return "systemd-nspawn is not installed"
        done = subprocess.run(
            self._nspawn("/bin/true"), stdin=subprocess.DEVNULL,
            capture_output=True, timeout=60, check=False)
        self._leave()
        if done.returncode == 0:
            return None
        return "systemd-nspawn does not run: " \
            + done.stderr.decode(errors="replace").strip()

    def run(self, *argv, user=None, env=None, check=None):
        """Run a command in the machine to its end, as root or a user."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.shared / "agent.sock"))
            sock.sendall(json.dumps({
                "argv": [str(a) for a in argv], "user": user,
                "env": env or {},
            }).encode() + b"\n")
            with sock.makefile("rb") as stream:
                done = Done(json.loads(stream.read()))
        assert check in (None, done.returncode), f"{argv}: {done}"
        return done

    def show(self, unit, name):
        """A property of a unit."""
        return self.run(
            "systemctl", "show", "--value", "-p", name, unit,
            check=0).stdout.strip()

    def journal(self, unit):
        return self.run(
            "journalctl", "--no-pager", "-o", "cat", "-u", unit,
            check=0).stdout

    def wait_journal(self, unit, text):
        wait_until(lambda: text in self.journal(unit), f"{unit} says {text}")

    def write(self, path, text, mode=0o644):
        """A file of the machine's."""
        file = self.tree / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def __enter__(self):
        self.process = Process(self._nspawn(
            "--boot", "--", "--unit=agent.service"))
        wait_until(
            lambda: (self.shared / "agent.sock").exists()
            or not self.process.running(), "the machine is up")
        assert self.process.running(), \
            self.process.stdout() + self.process.stderr()
        self.run("ldconfig", check=0)
        return self

    def __exit__(self, *unused):
        if self.process.running():
            try:
                self.run("systemctl", "--force", "--force", "poweroff")
            except (OSError, ValueError):
                pass  # The agent is gone with the machine.
        try:
            self.process.wait()
        finally:
            self.process.kill()
            self._leave()
