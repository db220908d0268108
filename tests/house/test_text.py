# SPDX-License-Identifier: Apache-2.0
"""What must not stand in any file of the repository, and what must."""

import os
import re
import subprocess
from pathlib import Path

import pytest

SOURCE_DIR = Path(os.environ["LATENTD_SOURCE_DIR"])

# Written so that this file does not match itself.
FORBIDDEN = re.compile(
    rb"/[w]ork/|/[r]oot/|/[h]ome/\w"
    rb"|[p]ypi\.org|[p]ythonhosted\.org|[c]rates\.io|[n]pmjs\.(org|com)"
    rb"|[p]roxy\.golang\.org|[d]eb\.debian\.org|[r]ubygems\.org"
)


def repository_files():
    """Tracked files and new ones that are not ignored; in a source tree
    without its repository, all but what a build leaves."""
    if not (SOURCE_DIR / ".git").exists():
        return sorted(
            str(path.relative_to(SOURCE_DIR))
            for path in SOURCE_DIR.rglob("*")
            if path.is_file()
            and not {"build", "demo-out", "__pycache__"}
            & set(path.relative_to(SOURCE_DIR).parts)
        )
    done = subprocess.run(
        ["git", "-c", f"safe.directory={SOURCE_DIR}", "-C", str(SOURCE_DIR),
         "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        stdout=subprocess.PIPE,
    )
    names = {name.decode() for name in done.stdout.split(b"\0") if name}
    return sorted(name for name in names if (SOURCE_DIR / name).is_file())


def forbidden_in(data):
    found = FORBIDDEN.search(data)
    return found and found[0].decode()


@pytest.mark.parametrize("text", [
    "/wo" + "rk/main", "/ro" + "ot/.cache", "https://py" + "pi.org/simple",
    "index = https://static.cra" + "tes.io", "/ho" + "me/me",
])
def test_a_forbidden_text_would_be_found(text):
    assert forbidden_in(f"before {text} after".encode())


def test_no_file_names_a_registry_or_the_machine_it_was_built_on():
    files = repository_files()
    assert len(files) > 20
    assert {
        name: found
        for name in files
        if (found := forbidden_in((SOURCE_DIR / name).read_bytes()))
    } == {}


def test_every_source_file_names_its_licence():
    sources = [
        name
        for name in repository_files()
        if Path(name).suffix in (".c", ".h", ".py", ".sh", ".cmake")
        or Path(name).name == "CMakeLists.txt"
    ]
    assert sources
    assert [
        name
        for name in sources
        if "SPDX-License-Identifier: Apache-2.0"
        not in "".join((SOURCE_DIR / name).read_text().splitlines()[:3])
    ] == []


def test_nothing_sleeps():
    sleep = re.compile(r"\b(u|nano|uv_|time\.|asyncio\.)?sleep\s*\(")
    sources = [
        name
        for name in repository_files()
        if Path(name).suffix in (".c", ".h", ".py", ".sh") or name == "dev"
    ]
    assert [
        name
        for name in sources
        if name != "tests/house/test_text.py"
        and sleep.search((SOURCE_DIR / name).read_text())
    ] == []


def test_no_reader_leaves_its_pipe_where_that_is_an_error():
    """With pipefail whoever still writes to it fails, now and then."""
    leaves = re.compile(r"\|\s*(grep\s+-\w*[qlLm]|head\b|sed\s.*\dq\b)")
    scripts = {
        name: text
        for name in repository_files()
        if (Path(name).suffix in (".sh", "") or name.startswith("debian/"))
        and "pipefail" in (text := (SOURCE_DIR / name).read_text())
    }
    assert {"dev", "tests/package/exercise.sh"} <= scripts.keys()
    assert {
        name: found[0]
        for name, text in scripts.items()
        if (found := leaves.search(text))
    } == {}


def test_every_test_file_is_registered():
    build = Path(os.environ["LATENTD_BIN_DIR"]).parent
    done = subprocess.run(
        ["ctest", "--test-dir", str(build), "--show-only"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    registered = set(re.findall(r"Test\s+#\d+: (\S+)", done.stdout))
    tests = SOURCE_DIR / "tests"
    expected = {
        f"unit_{path.stem.removesuffix('_test')}"
        for path in (tests / "unit").glob("*_test.c")
    }
    for folder in ("scenario", "house"):
        for path in (tests / folder).glob("test_*.py"):
            expected.add(f"{folder}.{path.stem.removeprefix('test_')}")
    assert expected
    assert expected - registered == set()
