# SPDX-License-Identifier: Apache-2.0
"""What bash and zsh offer for the programs is what the programs take."""

import os
import re

import pytest

import processes

COMPLETION = processes.SOURCE_DIR / "completion"
SUPPORT = processes.SOURCE_DIR / "tests/support"


def environment(home):
    path = f"{processes.bin_dir()}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HOME": str(home), "TERM": "dumb"}


def bash(line, cwd):
    script = "latentctl" if line.startswith("latentctl") else "latentd"
    # Bash makes a word of "=", and of nothing after a blank.
    words = [part for word in line.split(" ")
             for part in re.split("(=)", word) if part or not word]
    done = processes.run(
        "bash", "--norc", SUPPORT / "complete.bash",
        COMPLETION / f"{script}.bash", *words, cwd=cwd, check=0,
        env=environment(cwd))
    return sorted(done.stdout.decode().split("\n")[:-1])


def zsh(line, cwd):
    done = processes.run(
        "zsh", "-f", SUPPORT / "complete.zsh", COMPLETION, line, cwd=cwd,
        check=0, env=environment(cwd))
    return sorted(word.split(" -- ")[0]
                  for word in done.stdout.decode().split("\n")[:-1])


SHELLS = pytest.mark.parametrize("shell", [bash, zsh])


def told(*words):
    """What WORDS --help says."""
    program, *arguments = words
    return processes.run(processes.program(program), *arguments, "--help",
                         check=0).stdout.decode()


def commands():
    return re.findall(r"^  ([a-z]\S*) ", told("latentctl"), re.M)


def options(*words):
    """The options that begin a line of WORDS --help."""
    starts = re.findall(r"^  (--[a-z-]+(?:, --[a-z-]+)*)", told(*words), re.M)
    return sorted(", ".join(starts).split(", "))


@SHELLS
def test_every_command_is_offered(shell, tmp_path):
    assert len(commands()) >= 15
    assert shell("latentctl ", tmp_path) == sorted(
        commands() + ["--help", "--version"])
    assert shell("latentctl co", tmp_path) == ["collect"]


@SHELLS
@pytest.mark.parametrize("program", ["latentd", "latentd-endpoint"])
def test_every_option_is_offered_and_no_other(shell, program, tmp_path):
    assert "--version" in options(program)
    assert shell(f"{program} --", tmp_path) == options(program)


@SHELLS
def test_every_option_of_a_command_is_offered_and_no_other(shell, tmp_path):
    offered = {name: shell(f"latentctl {name} --", tmp_path)
               for name in commands()}
    assert offered == {name: options("latentctl", name)
                       for name in commands()}
    # What works on files needs no daemon.
    assert {name for name, names in offered.items()
            if "--url" not in names} == {"spool"}


# The words that are refused with the list of those that are taken.
LISTED = [
    ("latentctl decode", "--format"), ("latentctl encode", "--format"),
    ("latentctl submit", "--format"), ("latentctl collect", "--format"),
    ("latentctl decode", "--space"), ("latentctl encode", "--dtype"),
    ("latentctl submit", "--task"), ("latentctl decode", "--priority"),
    ("latentd", "--log-level"),
]


def listed(text):
    """The words of "... can be A, B or C"."""
    words = re.search(r"(?:can|must) be ([^;\n]*)", text)[1]
    return sorted(re.split(r",\s+(?:or\s+)?|\s+or\s+", words))


@SHELLS
@pytest.mark.parametrize("start, option", LISTED)
def test_the_words_of_an_option_are_those_it_takes(shell, start, option,
                                                   tmp_path):
    program, *command = start.split()
    done = processes.run(processes.program(program), *command, option, "?")
    assert done.returncode == 2
    words = listed(done.stderr.decode())
    assert len(words) >= 2
    assert shell(f"{start} {option} ", tmp_path) == words
    first = words[0]
    assert first in [word.removeprefix(f"{option}=") for word in
                     shell(f"{start} {option}={first[:2]}", tmp_path)]


@SHELLS
@pytest.mark.parametrize("start, option", [
    ("latentctl decode", "--model"), ("latentctl encode", "--model"),
    ("latentctl submit", "--model"), ("latentctl jobs", "--state"),
])
def test_the_words_of_an_option_are_those_its_help_names(shell, start, option,
                                                         tmp_path):
    text = re.search(rf"^  {option} (.*\n(?: {{20}}.*\n)*)",
                     told(*start.split()), re.M)[1]
    words = shell(f"{start} {option} ", tmp_path)
    assert len(words) >= 3
    # The last of them is behind "or", or the list is not whole.
    last = re.search(r"\bor\s+([a-z0-9-]+)", text)[1]
    assert last in words
    for word in words:
        assert re.search(rf"\b{word}\b", text), word
    assert set(re.findall(r"[a-z0-9-]{4,}", text.split(";")[0])) <= {
        *words, "only", "those", "that"}


@SHELLS
def test_a_side_of_the_daemon_is_offered(shell, tmp_path):
    assert shell("latentctl pause ", tmp_path) == ["both", "in", "out"]


@SHELLS
def test_files_are_offered_where_one_is_wanted(shell, tmp_path):
    (tmp_path / "photo.npy").write_text("")
    for line in ("latentctl decode pho", "latentd --config pho",
                 "latentctl status --secret-file pho",
                 "latentd-endpoint --token-file pho"):
        assert shell(line, tmp_path) == ["photo.npy"], line
    assert shell("latentctl status pho", tmp_path) == []
