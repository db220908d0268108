# SPDX-License-Identifier: Apache-2.0
"""The manual pages are sound, and say what the programs do, all of it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import pages

SOURCE_DIR = Path(os.environ["LATENTD_SOURCE_DIR"])
BIN_DIR = Path(os.environ["LATENTD_BIN_DIR"])
PAGES = pages.all_pages(SOURCE_DIR)

SECTIONS = {
    "1": {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS",
          "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"},
    "3": {"NAME", "SYNOPSIS", "DESCRIPTION", "RETURN VALUE", "ERRORS",
          "EXAMPLES", "SEE ALSO"},
    "5": {"NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "EXAMPLES", "SEE ALSO"},
    "7": {"NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "EXAMPLES", "SEE ALSO"},
}
SECTIONS["8"] = SECTIONS["1"] | {"SIGNALS"}

# Pages of others that ours point to.
ELSEWHERE = {
    "curl(1)", "ps(1)", "systemd(1)", "fork(2)", "poll(2)", "free(3)",
}

# What mandoc says of everything that scdoc writes.
SCDOC = re.compile(
    r"skipping paragraph macro|input text line longer than 80 bytes"
    r"|lower case character in document title|\.so is fragile"
)

PROGRAMS = ("latentd.8", "latentctl.1", "latentd-endpoint.1")


def run(*argv):
    return subprocess.run(
        argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )


def help_of(program, *args):
    done = run(str(BIN_DIR / program), *args, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# ---- the pages by themselves ----

@pytest.fixture(name="man_dir")
def built_pages():
    if not shutil.which("scdoc"):
        pytest.skip("scdoc is not installed, so no page was built")
    return BIN_DIR.parent / "man"


def complaints(command, man_dir):
    found = []
    built = sorted(man_dir.glob("man?/*"))
    assert len(built) > len(PAGES)
    for path in built:
        done = subprocess.run(
            [*command, str(path.relative_to(man_dir))], cwd=man_dir,
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )
        found += [
            line for line in done.stdout.splitlines()
            if not SCDOC.search(line)
        ]
    return found


def test_mandoc_finds_nothing_wrong(man_dir):
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed")
    assert complaints(["mandoc", "-T", "lint"], man_dir) == []


def test_mandoc_would_find_what_is_wrong(tmp_path):
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed")
    page = tmp_path / "x.1"
    page.write_text('.TH "X" "1" "2026-01-01"\n.SH NAME\nx \\- y\n.XX\n')
    done = run("mandoc", "-T", "lint", str(page))
    assert "unknown macro" in done.stdout + done.stderr


def test_groff_finds_nothing_wrong(man_dir):
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    assert complaints(
        ["groff", "-man", "-Tutf8", "-ww", "-z"], man_dir
    ) == []


def test_every_name_has_a_page_and_every_page_is_installed(man_dir, tmp_path):
    done = subprocess.run(
        ["cmake", "--install", str(BIN_DIR.parent)], check=False,
        env={**os.environ, "DESTDIR": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    assert done.returncode == 0, done.stdout
    installed = {
        path.name for path in tmp_path.rglob("share/man/man?/*")
    }
    assert installed == {
        f"{name}.{page.section}"
        for page in PAGES.values() for name in page.names()
    }
    documents = {path.name for path in tmp_path.rglob("share/doc/latentd/*")}
    for page in PAGES.values():
        named = set(re.findall(r"_(?:\S*/)?(\w+\.md)_", page.text))
        assert named <= documents, page


@pytest.mark.parametrize("page", PAGES.values(), ids=str)
def test_a_page_has_all_sections(page):
    assert page.names()[0] == page.name
    assert SECTIONS[page.section] - set(page.headings()) == set()
    assert page.headings()[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    assert page.headings()[-1] == "SEE ALSO"


@pytest.mark.parametrize("page", PAGES.values(), ids=str)
def test_references_lead_to_pages(page):
    known = ELSEWHERE | {
        f"{name}({other.section})"
        for other in PAGES.values() for name in other.names()
    }
    found = [f"{n}({s})" for n, s in pages.REFERENCE.findall(page.text)]
    assert found and set(found) - known == set()
    see = pages.REFERENCE.findall(page.part("SEE ALSO"))
    assert see == sorted(set(see), key=lambda ref: (ref[1], ref[0]))
    assert str(page) not in {f"{n}({s})" for n, s in see}


# ---- --help ----

# latentctl's options are its commands': below.
@pytest.mark.parametrize("page", ["latentd.8", "latentd-endpoint.1"])
def test_help_and_page_have_the_same_options(page):
    told = PAGES[page].options()
    assert pages.help_options(help_of(PAGES[page].name)) == told


@pytest.mark.parametrize("page", PROGRAMS)
def test_help_and_page_have_the_same_exit_statuses(page):
    told = {
        status
        for term in PAGES[page].terms("EXIT STATUS")
        for status in re.findall(r"\*(\d+)\*", term)
    }
    assert told and told == pages.help_statuses(help_of(PAGES[page].name))


@pytest.mark.parametrize("page", PROGRAMS)
def test_help_fits_a_terminal(page):
    program = PAGES[page].name
    texts = [help_of(program)]
    if program == "latentctl":
        texts += [help_of(program, command) for command in ctl_commands()]
    for text in texts:
        assert text.startswith(f"usage: {program} ")
        assert [line for line in text.splitlines() if len(line) > 80] == []


def ctl_commands():
    return pages.help_commands(help_of("latentctl"))


def test_latentctl_help_and_page_have_the_same_commands():
    commands = ctl_commands()
    assert len(commands) > 10
    assert list(commands) == list(PAGES["latentctl.1"].subsections("COMMANDS"))


def command_names():
    return list(PAGES["latentctl.1"].subsections("COMMANDS"))


@pytest.mark.parametrize("command", command_names())
def test_a_command_is_called_as_its_page_says(command):
    text = PAGES["latentctl.1"].subsections("COMMANDS")[command]
    calls = pages.plain(text.strip().split("\n\n")[0]).replace("++", "")
    assert calls.splitlines() == pages.help_usage(
        help_of("latentctl", command)
    )


@pytest.mark.parametrize("command", command_names())
def test_a_command_has_the_options_that_its_page_says(command):
    page = PAGES["latentctl.1"]
    subsections = page.subsections("OPTIONS")
    common = dict(pages.OPTION.findall(subsections["Of all commands"]))
    if command != "spool":
        common.update(
            pages.OPTION.findall(subsections["Of all commands but spool"]))
    text = page.subsections("COMMANDS")[command]
    listed = re.search(r"^Options: (.*?)\.$", text, re.M | re.S)[1]
    names = [name for name, _ in pages.OPTION.findall(listed)]
    everything = page.options()
    assert pages.help_options(help_of("latentctl", command)) == {
        **{name: everything[name] for name in common},
        **{name: everything[name] for name in names},
    }


def test_no_option_of_latentctl_is_nobodys():
    page = PAGES["latentctl.1"]
    used = {
        option
        for command in command_names()
        for option in pages.help_options(help_of("latentctl", command))
    }
    assert set(page.options()) == used


# ---- latentd.conf(5) ----

# The least configuration.
LEAST = {
    "[endpoint NAME]": {
        "model": "sdxl", "task": "decode", "url": "http://127.0.0.1:1/sdxl",
    },
}
# What a section needs besides that is not needed itself.
REQUIRED = {**LEAST, "[spool]": {"path": "/var/lib/latentd/spool"}}
# What makes --check print every key whose default is not none: a key that is
# printed only beside others needs these others in one of them.
SHOWING = [
    LEAST,
    {"[daemon]": {"events": "state", "http": "127.0.0.1:0"}, **LEAST},
    {"[producer NAME]": {"weight": "1"}, **LEAST},
    {"[producer NAME]": {"jobs": "1"}, **LEAST},
    REQUIRED,
]

CONF = PAGES["latentd.conf.5"]


def check(tmp_path, sections):
    path = tmp_path / "latentd.conf"
    path.write_text("".join(
        f"{head}\n" + "".join(f"{k} = {v}\n" for k, v in keys.items())
        for head, keys in sections.items()
    ))
    return run(str(BIN_DIR / "latentd"), "--config", str(path), "--check")


def test_the_page_has_every_key_and_no_other():
    told = {section: set(keys) for section, keys in CONF.keys().items()}
    assert told == pages.config_tables(SOURCE_DIR)


def defaults(tmp_path):
    """{(section, key): value} of what --check prints without being told."""
    found = {}
    for sections in SHOWING:
        done = check(tmp_path, sections)
        assert done.returncode == 0, done.stderr
        for section, keys in pages.ini_sections(done.stdout).items():
            for key, value in keys.items():
                if key not in sections.get(section, {}):
                    found.setdefault((section, key), value)
    return found


def test_the_page_tells_defaults_as_they_are(tmp_path):
    printed = defaults(tmp_path)
    wrong = []
    for section, keys in CONF.keys().items():
        for key, told in keys.items():
            default = pages.default_of(told)
            value = printed.pop((section, key), None)
            if default in (None, "none") and value in (None, "none"):
                continue
            # An explanation may stand before the value itself.
            last = (default or "required").split()[-1]
            if value is None or (
                last != value and pages.number(last) != int_or_none(value)
            ):
                wrong.append(f"{section} {key}: {told!r}, but is {value}")
    assert wrong == []
    assert printed == {}


def int_or_none(text):
    """Never equal to what pages.number() gives for no number."""
    return int(text) if text.isdigit() else -1


def test_only_what_is_required_says_so(tmp_path):
    for section, keys in CONF.keys().items():
        for key, told in keys.items():
            required = key in REQUIRED.get(section, {})
            assert (told == "required") == required, (section, key)
            assert required or pages.default_of(told), (section, key)
    for key in LEAST["[endpoint NAME]"]:
        left = {**LEAST["[endpoint NAME]"]}
        del left[key]
        assert check(tmp_path, {"[endpoint NAME]": left}).returncode == 3


def ranges():
    return [
        pytest.param(section, key, bounds, id=f"{section}-{key}")
        for section, keys in CONF.keys().items()
        for key, told in keys.items()
        if (bounds := pages.range_of(told))
    ]


@pytest.mark.parametrize("section, key, bounds", ranges())
def test_the_page_tells_the_range_of_a_number(section, key, bounds, tmp_path):
    def status(value):
        sections = {head: dict(keys) for head, keys in LEAST.items()}
        sections.setdefault(section, dict(REQUIRED.get(section, {})))
        sections[section][key] = value
        return check(tmp_path, sections).returncode

    least, most = bounds
    assert [status(n) for n in (least - 1, least, most, most + 1)] == \
        [3, 0, 0, 3]


# ---- the library ----

def test_every_public_function_is_in_a_synopsis_as_it_is_declared():
    told = {}
    for page in PAGES.values():
        if page.section == "3":
            told.update(pages.synopsis(page))
    assert told == pages.declarations(SOURCE_DIR)


@pytest.mark.parametrize(
    "page", [p for p in PAGES.values() if p.section == "3"], ids=str
)
def test_a_page_explains_the_functions_that_it_names(page):
    functions = set(pages.synopsis(page))
    assert set(page.names()) - {page.name} == functions - {page.name}
    explained = set(re.findall(r"\*(latentd_\w+)\*\(\)",
                               page.part("DESCRIPTION")))
    assert functions - explained == set()


def test_pages_name_functions_and_errors_that_exist():
    functions = set(pages.declarations(SOURCE_DIR))
    header = (SOURCE_DIR / "include/latentd/errors.h").read_text()
    errors = set(re.findall(r"^\tX\((\w+),", header, re.M))
    for page in PAGES.values():
        assert set(
            re.findall(r"\*(latentd_\w+)\*\(\)", page.text)
        ) <= functions, page
        if page.section == "3":
            named = set(re.findall(r"\*([A-Z_]+)\*", page.part("ERRORS")))
            assert named and named <= errors, page


# ---- that these tests can fail ----

def test_a_difference_would_be_seen():
    text = "usage: x\n\n  --one N     a\n  --two\n  --slow P:FACTOR FACTOR b\n" \
        "  --a, --b\n\nExit status: 0 good, 1 bad;\n2 worse. 3 is no status.\n"
    assert pages.help_options(text) == {
        "--one": "N", "--two": "", "--slow": "P:FACTOR", "--a": "", "--b": "",
    }
    assert pages.help_statuses(text) == {"0", "1", "2"}
    assert pages.number("2G") == 2 << 30 and pages.number("auto") is None
    assert pages.range_of("1M to 16T; default 2G") == (1 << 20, 1 << 44)
    assert pages.default_of("1 to 2; default a part of x, 7") == \
        "a part of x, 7"
