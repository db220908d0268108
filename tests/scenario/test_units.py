# SPDX-License-Identifier: Apache-2.0
"""The units as systemd sees them: judged, and booted in a container, where
that is possible.  test_service.py tries the same daemon with a manager of its
own everywhere."""

import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

import processes
from files import write_latent
from machine import Machine
from processes import wait_until
from samples import latent

UNITS = ("latentd.service", "latentd-endpoint.service")
DROP_IN = "/etc/systemd/system/{}.service.d/test.conf"


@pytest.fixture(scope="module")
def build_dir():
    directory = os.environ.get("LATENTD_RELEASE_BIN_DIR")
    if not directory:
        pytest.skip("no build without sanitizers")
    return Path(directory).parent


# ---- judged ----


@pytest.fixture(params=UNITS)
def unit(build_dir, request):
    return build_dir / "systemd" / request.param


def analyze(*args):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    return processes.run("systemd-analyze", *args)


def test_the_exposure_is_at_most_1_5(unit):
    done = analyze("security", "--offline=true", "--threshold=15", unit)
    text = done.stdout.decode()
    assert done.returncode == 0, text
    assert re.search(r"Overall exposure level for \S+: [01]\.\d OK|SAFE", text)


def test_the_unit_is_verified_without_a_word(unit, build_dir, short_tmp):
    # Its programs are not installed here, nor are its pages.
    text, n = re.subn(
        r"^(Exec\w+)=\S*/s?bin/(latent\S+)", rf"\1={build_dir}/bin/\2",
        unit.read_text(), flags=re.M)
    assert n > 0
    copy = short_tmp / unit.name
    copy.write_text(text)
    done = analyze("verify", "--man=no", "--recursive-errors=no", copy)
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_users_and_directories_are_made(build_dir, short_tmp):
    tree = short_tmp / "tree"
    (tree / "etc").mkdir(parents=True)
    subprocess.run(
        ["cmake", "--install", str(build_dir)], check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "DESTDIR": str(tree)})
    [sysusers] = tree.glob("usr/**/lib/sysusers.d/latentd.conf")
    [tmpfiles] = tree.glob("usr/**/lib/tmpfiles.d/latentd.conf")
    processes.run(
        "systemd-sysusers", f"--root={tree}", sysusers, check=0)
    assert re.search(
        r"^latentd:x:\d+:\d+:latentd:/var/lib/latentd:/usr/sbin/nologin$",
        (tree / "etc/passwd").read_text(), re.M)
    assert re.search(r"^latentd:x:\d+:$", (tree / "etc/group").read_text(),
                     re.M)
    if os.geteuid() != 0:
        pytest.skip("only root makes directories for root")
    (tree / "etc/passwd").open("a").write("root:x:0:0::/root:/bin/sh\n")
    (tree / "etc/group").open("a").write("root:x:0:\n")
    processes.run(
        "systemd-tmpfiles", f"--root={tree}", "--create", tmpfiles, check=0)
    assert (tree / "etc/latentd/tokens").stat().st_mode & 0o7777 == 0o700


def test_an_installation_leaves_the_operators_configuration(
    build_dir, short_tmp
):
    env = {**os.environ, "DESTDIR": str(short_tmp)}
    install = ["cmake", "--install", str(build_dir)]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL, env=env)
    config = short_tmp / "etc/latentd/latentd.conf"
    sample = processes.SOURCE_DIR / "systemd/latentd.conf.sample"
    assert config.read_text() == sample.read_text()
    config.write_text("mine\n")
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL, env=env)
    assert config.read_text() == "mine\n"


# ---- booted ----


@pytest.fixture(scope="module")
def machine(build_dir):
    with processes.short_directory() as directory:
        machine = Machine(directory, build_dir)
        why = machine.obstacle()
        if why:
            pytest.skip(f"no machine with systemd here: {why}")
        # Sooner than the unit's 30 s.
        machine.write(
            DROP_IN.format("latentd"), "[Service]\nWatchdogSec=2\n")
        machine.write("/etc/latentd/tokens/hosted", "first\n", 0o600)
        with machine:
            yield machine


@pytest.fixture
def service(machine):
    """The machine, with both services running."""
    done = machine.run("systemctl", "start", *UNITS)
    assert done.returncode == 0, [machine.journal(unit) for unit in UNITS]
    yield machine
    machine.run("systemctl", "reset-failed", *UNITS)


def make_latents(machine, name, n):
    directory = machine.shared / name
    directory.mkdir()
    for i in range(n):
        write_latent(directory / f"{i}.safetensors", latent(seed=i))
    directory.chmod(0o755)
    return sorted(f"/shared/{name}/{file.name}"
                  for file in directory.iterdir())


def decode(machine, name, user="alice", n=1, model="sdxl"):
    """Decode n latents as a user; what latentctl came to."""
    latents = make_latents(machine, name, n)
    out = f"/shared/{name}-out"
    done = machine.run(
        "latentctl", "decode", *latents, "--model", model, "--out", out,
        user=user)
    return done, machine.shared / f"{name}-out"


def check_pictures(done, out, n=1):
    assert done.returncode == 0, done
    pictures = list(out.glob("*.png"))
    assert len(pictures) == n
    assert all(p.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for p in pictures)


def landlock(machine):
    """What latentd says of Landlock where no unit confines it."""
    done = machine.run(
        "latentd", "--config", "/etc/latentd/latentd.conf", "--check",
        check=0)
    return re.search("^# here: (.*), seccomp$", done.stdout, re.M)[1]


def main_pid(machine):
    return machine.show("latentd", "MainPID")


def test_it_starts_as_installed_and_says_how_it_is(service):
    assert service.show("latentd", "ActiveState") == "active"
    assert service.show("latentd", "StatusText") \
        == "0 jobs queued, 0 active, 0 results waiting"
    assert "ready: ipc:///run/latentd/latentd.sock" \
        in service.journal("latentd")
    status = service.run(
        "cat", f"/proc/{main_pid(service)}/status", check=0).stdout
    assert f"sandbox: {landlock(service)}, seccomp" \
        in service.journal("latentd")
    uid = service.run("id", "-u", "latentd", check=0).stdout.strip()
    assert re.search(rf"^Uid:(\s+{uid}){{4}}$", status, re.M)
    assert re.search(r"^CapEff:\s+0+$", status, re.M)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    assert re.search(r"^Seccomp:\s+2$", status, re.M)
    modes = service.run(
        "stat", "-c", "%a %U %G", "/run/latentd", "/run/latentd/latentd.sock",
        "/var/lib/latentd", "/etc/latentd/tokens", check=0).stdout
    assert modes.splitlines() == [
        "750 latentd latentd", "660 latentd latentd", "700 latentd latentd",
        "700 root root",
    ]


def test_a_member_of_the_group_decodes_and_nobody_else(service):
    check_pictures(*decode(service, "member", n=3), n=3)
    done, out = decode(service, "stranger", user="mallory")
    assert done.returncode != 0
    assert "ermission denied" in done.stderr, done
    assert not list(out.glob("*.png"))
    # An operator may look.
    service.run("latentctl", "status", check=0)


@pytest.fixture
def config(machine):
    """The daemon's configuration, as a path; put back in the end."""
    path = machine.tree / "etc/latentd/latentd.conf"
    text = path.read_text()
    yield path
    path.write_text(text)


SD_V1 = """
[endpoint more]
model = sd-v1
task = decode
url = http://127.0.0.1:8378/sd-v1
"""


def test_a_good_configuration_is_in_force_when_systemctl_returns(
    service, config
):
    pid = main_pid(service)
    config.write_text(config.read_text() + SD_V1)
    service.run("systemctl", "reload", "latentd", check=0)
    check_pictures(*decode(service, "reloaded", model="sd-v1"))
    assert main_pid(service) == pid
    assert service.show("latentd", "ActiveState") == "active"


def test_a_bad_configuration_fails_the_reload_and_changes_nothing(
    service, config
):
    pid = main_pid(service)
    good_text = config.read_text()
    config.write_text(good_text + "colour = red\n")
    assert service.run("systemctl", "reload", "latentd").returncode != 0
    service.wait_journal("latentd", 'there is no key "colour"')
    wait_until(
        lambda: service.show("latentd", "ActiveState") == "active",
        "the reload is over")
    assert main_pid(service) == pid
    check_pictures(*decode(service, "unchanged"))
    config.write_text(good_text)
    service.run("systemctl", "reload", "latentd", check=0)


def test_tokens_are_credentials_that_nobody_else_reads(service, config):
    service.run("systemctl", "stop", "latentd", check=0)
    config.write_text(
        config.read_text() + SD_V1
        + "token_file = credential:token_hosted\n")
    try:
        service.run("systemctl", "start", "latentd", check=0)
        path = "/run/credentials/latentd.service/token_hosted"
        assert service.run("cat", path, user="alice").returncode != 0
        service.run("systemctl", "reload", "latentd", check=0)
        check_pictures(*decode(service, "credential", model="sd-v1"))
        service.run("systemctl", "stop", "latentd", check=0)
        # Without it the daemon does not start, and does not try again.
        token = service.tree / "etc/latentd/tokens/hosted"
        token.rename(token.with_name("other"))
        assert service.run("systemctl", "start", "latentd").returncode != 0
        assert "credential:token_hosted" in service.journal("latentd")
        assert service.show("latentd", "NRestarts") == "0"
        token.with_name("other").rename(token)
    finally:
        service.run("systemctl", "reset-failed", "latentd")


def test_stop_finishes_the_jobs_there_are(service):
    service.write(DROP_IN.format("latentd-endpoint"), """
[Service]
ExecStart=
ExecStart=/usr/local/bin/latentd-endpoint --listen 127.0.0.1:8378 \
--service-ms 300 --parallel 2
""")
    service.run("systemctl", "daemon-reload", check=0)
    service.run("systemctl", "restart", "latentd-endpoint", check=0)
    found = {}
    thread = threading.Thread(target=lambda: found.update(
        zip(("done", "out"), decode(service, "drained", n=10))))
    thread.start()
    wait_until(
        lambda: not service.show("latentd", "StatusText").startswith(
            "0 jobs queued, 0 active"), "jobs are there")
    service.run("systemctl", "stop", "latentd", check=0)
    thread.join()
    check_pictures(found["done"], found["out"], 10)
    assert "drained: 0 jobs unfinished, 0 results" in service.journal("latentd")
    assert service.show("latentd", "Result") == "success"
    assert service.run(
        "test", "-e", "/run/latentd").returncode == 1
    # It is the operator's stop: nothing starts it again.
    assert service.show("latentd", "ActiveState") == "inactive"


def test_a_second_daemon_leaves_the_service_alone(service):
    done = service.run(
        "latentd", "--config", "/etc/latentd/latentd.conf")
    assert done.returncode == 1
    assert "another latentd listens on /run/latentd/latentd.sock" \
        in done.stderr
    check_pictures(*decode(service, "second"))


def test_a_drain_that_latentctl_begins_is_a_stop(service):
    service.run("latentctl", "drain", check=0)
    wait_until(
        lambda: service.show("latentd", "ActiveState") == "inactive",
        "it has stopped")
    assert service.show("latentd", "Result") == "success"
    assert main_pid(service) == "0"


def restarted(machine, pid):
    return machine.show("latentd", "ActiveState") == "active" \
        and main_pid(machine) not in ("0", pid)


def test_a_killed_daemon_is_started_again(service):
    pid = main_pid(service)
    service.run("systemctl", "kill", "-s", "KILL", "latentd", check=0)
    wait_until(lambda: restarted(service, pid), "it is started again")
    check_pictures(*decode(service, "killed"))


def test_a_daemon_that_stands_still_is_started_again(service):
    pid = main_pid(service)
    service.run("systemctl", "kill", "-s", "STOP", "latentd", check=0)
    wait_until(lambda: restarted(service, pid), "it is started again")
    assert "Watchdog timeout" in service.journal("latentd")
    check_pictures(*decode(service, "stood"))


def test_a_daemon_that_takes_nobody_is_started_again(service):
    pid = main_pid(service)
    service.run("rm", "/run/latentd/latentd.sock", check=0)
    wait_until(lambda: restarted(service, pid), "it is started again")
    assert "the watchdog is not fed" in service.journal("latentd")
    check_pictures(*decode(service, "nobody"))
