# SPDX-License-Identifier: Apache-2.0
"""Which version a tree is, and that the programs say so."""

import os
import re
import shutil
import subprocess

import pytest

import processes

SCRIPT = processes.SOURCE_DIR / "cmake/version.sh"


@pytest.fixture
def tree(tmp_path):
    """A tree that is about to be version 1.2.0."""
    for directory in ("cmake", "include/latentd"):
        (tmp_path / directory).mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "cmake")
    (tmp_path / "include/latentd/version.h").write_text(
        '#define LATENTD_VERSION "1.2.0"\n')
    return tmp_path


def git(tree, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@example.org",
         "-c", "commit.gpgsign=false", *arguments],
        cwd=tree, check=True, capture_output=True)


def commit(tree, text):
    (tree / "file").write_text(text)
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", text)


def version(tree, *arguments):
    done = processes.run(tree / "cmake/version.sh", *arguments, check=0)
    return done.stdout.decode().rstrip("\n")


def is_older(one, other):
    return subprocess.run(
        ["dpkg", "--compare-versions", one, "lt", other]).returncode == 0


def test_versions_of_successive_commits_are_in_order(tree):
    git(tree, "init", "-q")
    seen = []
    for text in ("one", "two"):
        commit(tree, text)
        seen.append(version(tree))
        assert re.fullmatch(r"1\.2\.0~git\d+\.g[0-9a-f]{8}", seen[-1])
    git(tree, "tag", "v1.2.0")
    seen.append(version(tree))
    assert seen[-1] == "1.2.0"
    commit(tree, "three")
    seen.append(version(tree))
    assert re.fullmatch(r"1\.2\.0\+git1\.g[0-9a-f]{8}", seen[-1])
    for one, other in zip(seen, seen[1:]):
        assert is_older(one, other)


def test_a_changed_tree_says_so(tree):
    git(tree, "init", "-q")
    commit(tree, "one")
    clean = version(tree)
    (tree / "untracked").write_text("")
    assert version(tree) == clean
    (tree / "file").write_text("another")
    assert version(tree) == clean + ".dirty"


def test_without_a_repository_the_file_counts_else_the_header(tree):
    assert version(tree) == "1.2.0"
    (tree / "VERSION").write_text("1.2.0~git7.g01234567\n")
    assert version(tree) == "1.2.0~git7.g01234567"


def test_a_header_is_written_only_where_it_changes(tree):
    header = tree / "build/build_version.h"
    version(tree, header)
    assert header.read_text() == '#define BUILD_VERSION "1.2.0"\n'
    os.utime(header, (1, 1))
    version(tree, header)
    assert header.stat().st_mtime == 1
    (tree / "VERSION").write_text("1.2.1\n")
    version(tree, header)
    assert header.read_text() == '#define BUILD_VERSION "1.2.1"\n'


@pytest.mark.parametrize("name", ["latentd", "latentctl", "latentd-endpoint"])
def test_a_program_says_which_version_it_is(name):
    text = (processes.SOURCE_DIR / "include/latentd/version.h").read_text()
    following = re.search('LATENTD_VERSION "(.*)"', text)[1]
    done = processes.run(processes.program(name), "--version", check=0)
    assert re.fullmatch(
        rf"{name} {re.escape(following)}"
        r"([~+]git\d+\.g[0-9a-f]{8})?(\.dirty)?\n", done.stdout.decode())
