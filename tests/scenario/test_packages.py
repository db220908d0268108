# SPDX-License-Identifier: Apache-2.0
"""The Debian packages: what is in them, that they can be built again byte by
byte, and what they do to a machine from their installation to their end."""

import os
import re
import shutil
import subprocess

import pytest

import processes

SOURCE = processes.SOURCE_DIR
TOOLS = SOURCE / "tests/package"
NAMES = ["latentctl", "latentd", "liblatentd-dev", "liblatentd0"]
STEPS = ["install", "not_started", "serve", "member_decodes",
         "others_are_refused", "develop", "stop", "upgrade", "remove", "purge",
         "install_again"]

pytestmark = pytest.mark.skipif(
    not shutil.which("dpkg-buildpackage"), reason="Debian only")


def run(*command, check=True):
    done = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert not check or done.returncode == 0, done.stdout[-8000:]
    return done


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    output = tmp_path_factory.mktemp("packages")
    run(SOURCE / "packaging/build.sh", output)
    return output


@pytest.fixture(scope="module")
def contents(packages):
    """The files of each package, and what they are."""
    found = {}
    for path in packages.glob("*.deb"):
        listed = run("dpkg-deb", "-c", path).stdout.splitlines()
        found[path.name.split("_")[0]] = {
            words[5].removeprefix("."): words[0]
            for words in map(str.split, listed) if not words[5].endswith("/")}
    return found


def test_there_are_four_packages(contents):
    assert sorted(contents) == NAMES


def test_another_build_gives_the_same_bytes_and_lintian_says_nothing(packages):
    told = run(SOURCE / "packaging/check.sh", packages).stdout
    assert "reproducible: 4 packages\nlintian: nothing\n" in told


def shape(path):
    """A path without what differs between releases and architectures."""
    path = re.sub(r"^/lib/", "/usr/lib/", path)
    return re.sub(r"^/usr/lib/[^/]+-linux-gnu\w*/", "/usr/lib/ARCH/", path)


@pytest.mark.parametrize("name, files", [
    ("latentctl", ["/usr/bin/latentctl", "/usr/share/man/man1/latentctl.1.gz",
                   "/usr/share/bash-completion/completions/latentctl",
                   "/usr/share/zsh/vendor-completions/_latentctl"]),
    ("latentd", ["/usr/sbin/latentd", "/usr/bin/latentd-endpoint",
                 "/etc/latentd/latentd.conf",
                 "/usr/lib/systemd/system/latentd.service",
                 "/usr/lib/systemd/system/latentd-endpoint.service",
                 "/usr/lib/sysusers.d/latentd.conf",
                 "/usr/lib/tmpfiles.d/latentd.conf",
                 "/usr/share/man/man1/latentd-endpoint.1.gz",
                 "/usr/share/man/man5/latentd.conf.5.gz",
                 "/usr/share/man/man8/latentd.8.gz",
                 "/usr/share/bash-completion/completions/latentd",
                 "/usr/share/bash-completion/completions/latentd-endpoint",
                 "/usr/share/zsh/vendor-completions/_latentd"]),
    ("liblatentd0", ["/usr/lib/ARCH/liblatentd.so.0"]),
])
def test_a_package_has_its_files(contents, name, files):
    assert set(files) <= set(map(shape, contents[name]))


def test_the_development_package_has_what_a_developer_needs_and_no_more(
        contents):
    found = {shape(path) for path in contents["liblatentd-dev"]
             if not path.startswith("/usr/share/man/man3/")}
    headers = (SOURCE / "include/latentd").glob("*.h")
    share = "/usr/share/doc/liblatentd-dev"
    assert found == {
        *(f"/usr/include/latentd/{header.name}" for header in headers),
        "/usr/lib/ARCH/liblatentd.a", "/usr/lib/ARCH/liblatentd.so",
        "/usr/lib/ARCH/pkgconfig/latentd.pc", f"{share}/changelog.gz",
        f"{share}/copyright", f"{share}/examples/minimal.c"}


def test_nobody_but_root_can_write_a_file_of_a_package(contents):
    modes = {path: mode for files in contents.values()
             for path, mode in files.items() if mode[0] != "l"}
    assert len(modes) > 40
    for path, mode in modes.items():
        program = re.match("/usr/s?bin/", path)
        assert mode == ("-rwxr-xr-x" if program else "-rw-r--r--"), path


def test_no_file_says_where_it_was_built(packages, tmp_path):
    for path in packages.glob("*.deb"):
        run("dpkg-deb", "-x", path, tmp_path / path.name)
    files = [path for path in tmp_path.rglob("*")
             if path.is_file() and not path.is_symlink()]
    assert len(files) > 40
    for path in files:
        data = path.read_bytes()
        assert str(SOURCE).encode() not in data, path
        assert not re.search(rb"/tmp\.\w+/latentd|/obj-\w+-linux", data), path


@pytest.fixture(scope="module")
def exercised(packages, tmp_path_factory):
    """What exercise.sh said, in a copy-on-write image of this machine."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    place = tmp_path_factory.mktemp("exercise")
    tried = run(TOOLS / "overlay.sh", place, "dpkg-query", "-W", "dpkg",
                check=False)
    if tried.returncode != 0:
        pytest.skip(f"needs mount namespaces and overlayfs: {tried.stdout}")
    shutil.copytree(packages, place / "packages")
    run(TOOLS / "newer.sh", place / "packages", place / "newer")
    shutil.copy(TOOLS / "exercise.sh", place)
    return run(TOOLS / "overlay.sh", place, "bash", "/mnt/exercise.sh",
               "/mnt/packages", "/mnt/newer", check=False).stdout


@pytest.mark.parametrize("step", STEPS)
def test_a_machine_goes_through(exercised, step):
    assert f"ok {step}\n" in exercised, exercised


def test_every_step_is_looked_at():
    text = (TOOLS / "exercise.sh").read_text()
    assert re.findall(r"^step_(\w+)\(\)", text, re.M) == STEPS
    loop = re.search(r"^for step in ([^;]*);", text, re.M)[1]
    assert loop.replace("\\\n", " ").split() == STEPS


def test_the_exercise_has_left_nothing_on_this_machine(exercised):
    assert exercised
    for package in ("latentd", "liblatentd0"):
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", package],
            capture_output=True, text=True)
        assert ".newer" not in done.stdout
