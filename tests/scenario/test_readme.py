# SPDX-License-Identifier: Apache-2.0
"""What README.md and the sample configuration show is true of the programs."""

import os
import re
import shlex
import subprocess

import pytest

import certificates
import processes

README = (processes.SOURCE_DIR / "README.md").read_text()


def blocks(language):
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)
    assert found
    return found


def commands():
    """The README's shell commands, without comments and '&'."""
    lines = "".join(blocks("sh")).splitlines()
    return [words for line in lines
            if (words := shlex.split(line.rstrip("& "), comments=True))]


def in_build(path):
    """build/release/PATH of the README in the build under test."""
    assert path.startswith("build/release/")
    return processes.bin_dir().parent / path.removeprefix("build/release/")


def check(config, status=0):
    return processes.run(processes.program("latentd"), "--config", config,
                         "--check", check=status)


def test_the_first_configuration_is_right(short_tmp):
    path = short_tmp / "latentd.conf"
    path.write_text(blocks("ini")[0])
    check(path)
    path.write_text(blocks("ini")[0].replace("parallel", "paralel"))
    check(path, status=3)


def test_the_sample_configuration_is_right_and_names_every_key(short_tmp):
    sample = processes.SOURCE_DIR / "systemd/latentd.conf.sample"
    effective = check(sample).stdout.decode()
    text = sample.read_text()
    for key in re.findall(r"^(\w+) = ", effective, re.M):
        assert re.search(rf"^(# )?{key} = ", text, re.M), key
    # Also with the keys that are commented out.
    path = short_tmp / "latentd.conf"
    token = short_tmp / "token"
    token.write_text("secret\n")
    whole = re.sub(r"^# (\w+ = |\[endpoint|\[producer|\[spool)", r"\1", text, flags=re.M)
    whole = re.sub(r"^(http_)?token_file = .*", rf"\1token_file = {token}",
                   whole, flags=re.M)
    made = certificates.make(short_tmp / "tls")
    for key, file in {**made.daemon, "secret_file": made.secret_file}.items():
        whole = re.sub(rf"^{key} = .*", f"{key} = {file}", whole, flags=re.M)
    assert whole.count("\n[endpoint") == text.count("[endpoint ")
    path.write_text(whole)
    check(path)


def test_every_program_and_option_that_is_shown_exists():
    shown = [words for words in commands() if "build/release/" in words[0]]
    assert len(shown) >= 6
    for words in shown:
        program = in_build(words[0])
        assert os.access(program, os.X_OK), program
        if program.name == "photo":
            continue
        command = [w for w in words[1:2] if not w.startswith("-")]
        told = processes.run(program, *command, "--help", check=0).stdout
        for option in words[1:]:
            if option.startswith("--"):
                assert option.encode() in told, (words, option)


def test_what_the_first_use_shows_works(start_endpoint, start_daemon,
                                        short_tmp):
    daemon = start_daemon(start_endpoint().sections(["sdxl"]))
    # From the one that names the daemon on, to the end.
    used = "".join(blocks("sh"))
    used = used[used.index("export LATENTD_URL="):].splitlines()
    for line in used[1:]:
        words = shlex.split(line)
        processes.run(in_build(words[0]), *words[1:], env=daemon.env(),
                      cwd=short_tmp, check=0)
    assert (short_tmp / "pictures/photo.png").stat().st_size > 0


def test_the_c_example_compiles(tmp_path):
    include, _, body = blocks("c")[0].partition("\n")
    source = tmp_path / "example.c"
    source.write_text(
        f"{include}\n#include <err.h>\n"
        "static uint16_t latent[4 * 128 * 128];\n"
        f"int main(void)\n{{\n{body}\nreturn (0);\n}}\n"
    )
    subprocess.run(
        ["gcc", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
         f"-I{processes.SOURCE_DIR}/include", source],
        check=True,
    )


@pytest.mark.parametrize("link", sorted(set(
    re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
)))
def test_a_link_leads_somewhere(link):
    assert (processes.SOURCE_DIR / link).is_file()
