# SPDX-License-Identifier: Apache-2.0
"""The sandbox of a daemon that is started by hand: it is there, and never in
the way.  With sanitizers there is none, so the daemon is one without."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

import processes
from fleet import check_all, check_fake, submit
from samples import latent


def release_bin_dir():
    directory = os.environ.get("LATENTD_RELEASE_BIN_DIR")
    if not directory:
        pytest.skip("no build without sanitizers")
    return directory


@pytest.fixture
def release():
    return {"bin": release_bin_dir()}


def status(daemon):
    """(NoNewPrivs, Seccomp) of every thread."""
    found = set()
    for task in Path(f"/proc/{daemon.pid}/task").iterdir():
        text = (task / "status").read_text()
        found.add((re.search(r"^NoNewPrivs:\s+(\d)", text, re.M)[1],
                   re.search(r"^Seccomp:\s+(\d)", text, re.M)[1]))
    return found


def has_landlock(daemon):
    return "sandbox: Landlock ABI" in daemon.stderr()


def test_every_thread_is_inside_and_work_goes_on(
    start_endpoint, start_daemon, connect, release
):
    endpoint = start_endpoint()
    # A name, so that it is resolved, on a thread.
    daemon = start_daemon({
        **processes.endpoint_sections(
            endpoint.url.replace("127.0.0.1", "localhost"),
            ["sd-v1"], ["decode"]),
        "daemon": {"events": "state", "http": "127.0.0.1:0"},
    }, **release)
    producer = connect(daemon)
    z = latent(seed=3)
    submit(producer, "k", z, output="png")
    result = producer.take("k").expect("RESULT", state="done")
    producer.thank()
    assert result.body[:4] == b"\x89PNG"
    said = daemon.wait_line("(sandbox: .*|no sandbox: .*)")[1]
    if ", seccomp" in said:
        assert status(daemon) == {("1", "2")}
    assert len(os.listdir(f"/proc/{daemon.pid}/task")) > 4
    assert daemon.stop() == 0
    # Its sockets are taken away.
    path = daemon.url.removeprefix("ipc://")
    assert not os.path.exists(path)


def test_files_elsewhere_cannot_be_read_any_more(
    start_fake, start_daemon, connect, release, short_tmp, stack
):
    elsewhere = stack.enter_context(processes.short_directory())
    (elsewhere / "token").write_text("elsewhere\n")
    (short_tmp / "real").write_text("first\n")
    token = short_tmp / "token"
    token.symlink_to("real")
    fake = start_fake()
    daemon = start_daemon(fake.section(token_file=token), **release)
    if not has_landlock(daemon):
        pytest.skip("this kernel has no Landlock")
    producer = connect(daemon)

    def sent(key):
        submit(producer, key, latent(seed=1))
        producer.take(key).expect("RESULT", state="done")
        return fake.requests[-1].headers["Authorization"]

    assert sent("a") == "Bearer first"
    token.unlink()
    token.symlink_to(elsewhere / "token")
    daemon.signal(signal.SIGHUP)
    line = daemon.wait_line("not taken over.*")[0]
    assert "Permission denied" in line and "sandbox" in line
    assert sent("b") == "Bearer first"
    # A file that is replaced by another is read.
    token.unlink()
    token.write_text("third\n")
    daemon.signal(signal.SIGHUP)
    processes.wait_until(
        lambda: daemon.stderr().count("taken over: ") == 1, "it is read")
    assert sent("c") == "Bearer third"
    producer.thank()


@pytest.mark.parametrize("exists", [True, False])
def test_a_spool_is_written_and_read_again(
    start_fake, start_daemon, connect, release, stack, exists
):
    """In a directory that the sandbox knows of by [spool] path alone."""
    spool = stack.enter_context(processes.short_directory()) / "spool"
    if exists:
        spool.mkdir(mode=0o700)
    fake = start_fake()
    sections = {
        **fake.section(), "spool": {"path": spool, "size": "64M"},
    }
    daemon = start_daemon(sections, **release)
    producer = connect(daemon)
    z = latent(seed=2)
    producer.try_submit("k", z.data, **z.fields, output="pixels").expect(
        "ACCEPTED", durability="spooled")
    daemon.wait_line("outcome=done")
    daemon.kill()
    producer.close()
    daemon = start_daemon(sections, **release)
    producer = connect(daemon)
    check_fake(producer.take("k"), z)
    producer.thank()
    assert len(fake.requests) in (1, 2)
    assert daemon.stop() == 0


def test_it_can_be_switched_off(start_endpoint, start_daemon, connect, release):
    endpoint = start_endpoint()
    daemon = start_daemon({
        **endpoint.sections(["sd-v1"], ["decode"]),
        "daemon": {"sandbox": "no"},
    }, **release)
    producer = connect(daemon)
    z = latent(seed=1)
    submit(producer, "k", z)
    check_all({"k": producer.take("k")}, {"k": z}, endpoint.url)
    producer.thank()
    # As the test itself is.
    own = Path("/proc/self/status").read_text()
    assert status(daemon) == {
        (re.search(r"^NoNewPrivs:\s+(\d)", own, re.M)[1],
         re.search(r"^Seccomp:\s+(\d)", own, re.M)[1])}
    assert "sandbox" not in daemon.stderr()


def test_where_the_kernel_refuses_it_the_daemon_runs_without(
    start_fake, start_daemon, connect, release, short_tmp
):
    """A filter before the daemon's own answers ENOSYS to what it would ask."""
    wrapper = short_tmp / "latentd"
    wrapper.write_text(f"""#!/usr/bin/python3
import ctypes, os, struct, sys
# x86-64 and arm64 number these alike: landlock_*; seccomp as each has it.
seccomp = {{"x86_64": 317, "aarch64": 277}}[os.uname().machine]
code = [(0x20, 0, 0, 0)]
for number in (444, 445, 446, seccomp):
    code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 38)]
code += [(0x06, 0, 0, 0x7fff0000)]
data = b"".join(struct.pack("HBBI", *one) for one in code)
buffer = ctypes.create_string_buffer(data)
program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0) == 0
os.execv("{release['bin']}/latentd", sys.argv)
""")
    wrapper.chmod(0o755)
    if os.uname().machine not in ("x86_64", "aarch64"):
        pytest.skip("the numbers of system calls are not known here")
    daemon = start_daemon(start_fake().section(), bin=short_tmp)
    line = daemon.wait_line("no Landlock.*")[0]
    assert "Function not implemented" in line
    producer = connect(daemon)
    submit(producer, "k", latent(seed=1))
    producer.take("k").expect("RESULT", state="done")
    producer.thank()


def test_check_tells_what_there_is(release, start_fake, short_tmp):
    path = short_tmp / "latentd.conf"
    for value, said in (("auto", r"sandbox = auto\n# here: \S.*\n"),
                        ("no", r"sandbox = no\n(?!#)")):
        path.write_text(processes.ini_text({
            "daemon": {"sandbox": value}, **start_fake().section()}))
        done = processes.run(
            processes.program("latentd", release["bin"]), "--config", path,
            "--check", check=0)
        assert re.search(said, done.stdout.decode())
        # What it prints can be read again.
        path.write_text(done.stdout.decode())
        processes.run(
            processes.program("latentd", release["bin"]), "--config", path,
            "--check", check=0)


@pytest.mark.parametrize("value", ["yes", "", "AUTO", "1"])
def test_other_words_are_refused(start_fake, short_tmp, value):
    path = short_tmp / "latentd.conf"
    path.write_text(processes.ini_text({
        "daemon": {"sandbox": value}, **start_fake().section()}))
    done = subprocess.run(
        [processes.program("latentd"), "--config", path, "--check"],
        capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert f'sandbox is "{value}", but must be auto or no' in done.stderr


def write_secret(path, text):
    path.touch(mode=0o600)
    path.write_text(text)


def test_secrets_of_producers_are_read_again_inside(
    start_fake, start_daemon, release, short_tmp, stack
):
    elsewhere = stack.enter_context(processes.short_directory())
    secret = elsewhere / "secret"
    write_secret(secret, "0123456789abcdef0123456789abcdef\n")
    daemon = start_daemon({
        **start_fake().section(),
        "producer studio": {"secret_file": secret},
    }, **release)
    for i in range(2):
        secret.unlink()
        write_secret(secret, f"{i}123456789abcdef0123456789abcdef\n")
        daemon.signal(signal.SIGHUP)
        processes.wait_until(
            lambda: daemon.stderr().count("configuration taken over") == i + 1,
            "it is read")
