# SPDX-License-Identifier: Apache-2.0
"""What debian/ repeats agrees with what it repeats."""

import os
import re
import subprocess
from pathlib import Path

import pytest

SOURCE_DIR = Path(os.environ["LATENTD_SOURCE_DIR"])
DEBIAN = SOURCE_DIR / "debian"


def version():
    text = (SOURCE_DIR / "include/latentd/version.h").read_text()
    return re.search('LATENTD_VERSION "(.*)"', text)[1]


def build_packages(release):
    """What `./dev deps build` installs."""
    dev = (SOURCE_DIR / "dev").read_text()
    function = re.search(r"^packages\(\) {\n.*?^}\n", dev, re.M | re.S)[0]
    done = subprocess.run(
        ["bash", "-c", f"{function}packages {release} build"], check=True,
        stdout=subprocess.PIPE, text=True)
    return set(done.stdout.split())


def build_depends():
    """Alternatives that a build of the packages needs one of."""
    control = (DEBIAN / "control").read_text()
    field = re.search(r"^Build-Depends:\n((?: .*\n)+)", control, re.M)[1]
    return [{re.sub(r"\s*\(.*\)", "", name).strip() for name in entry.split("|")}
            for entry in field.split(",") if entry.strip()]


def test_packages_are_built_with_what_dev_installs():
    # These two are of build-essential.
    essential = {"gcc", "libc6-dev"}
    for release in (12, 13):
        wanted = build_packages(release) - essential
        assert len(wanted) > 10
        for name in wanted:
            assert any(name in entry for entry in build_depends()), name
        for entry in build_depends():
            assert entry & wanted or "debhelper-compat" in entry, entry


def test_the_changelog_of_debian_begins_with_this_version():
    first = (DEBIAN / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"latentd ({version()}) ")


def symbols():
    text = (DEBIAN / "liblatentd0.symbols").read_text()
    return sorted(re.findall(r"^ (\S+)@LATENTD_0 ", text, re.M))


def test_the_library_exports_what_its_symbols_file_names_and_nothing_else():
    library = Path(os.environ["LATENTD_BIN_DIR"]).parent / "lib/liblatentd.so"
    done = subprocess.run(["nm", "-D", "--defined-only", library], check=True,
                          stdout=subprocess.PIPE, text=True)
    exported = sorted(line.split()[-1].split("@")[0]
                      for line in done.stdout.splitlines())
    assert exported == symbols()
    assert all(name == "LATENTD_0" or name.startswith("latentd_")
               for name in exported)


def test_every_exported_function_is_declared_in_an_installed_header():
    text = "".join(path.read_text()
                   for path in (SOURCE_DIR / "include/latentd").glob("*.h"))
    declared = set(re.findall(r"\b(latentd_\w+)\(", re.sub(
        r"/\*.*?\*/", "", text, flags=re.S)))
    assert sorted(declared) == [name for name in symbols()
                                if name != "LATENTD_0"]


def test_the_library_is_version_0_for_the_linker():
    library = Path(os.environ["LATENTD_BIN_DIR"]).parent / "lib/liblatentd.so"
    done = subprocess.run(["objdump", "-p", library], check=True,
                          stdout=subprocess.PIPE, text=True)
    assert re.search(r"SONAME\s+liblatentd\.so\.0\n", done.stdout)


@pytest.mark.parametrize("given, libdir", [
    ("lib/some-linux-gnu", "/opt/latentd/lib/some-linux-gnu"),
    ("/somewhere/lib", "/somewhere/lib"),
])
def test_the_pkg_config_file_leads_to_the_library(given, libdir, tmp_path):
    subprocess.run(
        ["cmake", "-G", "Ninja", "-S", SOURCE_DIR, "-B", tmp_path,
         "-DCMAKE_INSTALL_PREFIX=/opt/latentd", "-DLATENTD_EXTRAS=OFF",
         f"-DCMAKE_INSTALL_LIBDIR={given}"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def told(*arguments):
        return subprocess.run(
            ["pkg-config", *arguments, "latentd"], check=True,
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PKG_CONFIG_PATH": str(tmp_path / "client")},
        ).stdout.split()

    assert told("--modversion") == [version()]
    assert told("--cflags") == ["-I/opt/latentd/include"]
    assert told("--libs") == [f"-L{libdir}", "-llatentd"]
    # Whoever links the shared library must not need what is behind it.
    assert {"-lnng", "-ljansson"} <= set(told("--static", "--libs"))
