# SPDX-License-Identifier: Apache-2.0
"""The manual pages' sources, and what the programs and headers say, as data.

The pages are docs/man/NAME.SECTION.scd.  What the tests read in them:

    # SECTION, ## SUBSECTION
    *--option* _ARGUMENT_        a term, followed by a line with a tab
    Options: *--a*, *--b*.       those of a command of latentctl
    *key* = _VALUE_ (1 to 10; default 5)
    ``` ... ```                  in SYNOPSIS: declarations
"""

import re
from pathlib import Path

OPTION = re.compile(r"\*(--[a-z][a-z0-9-]*)\*(?: _([^_]+)_)?")
KEY = re.compile(r"^\*(\w+)\* = (?:_[^_]+_) \((.*)\)\n\t", re.M)
REFERENCE = re.compile(r"\*([a-z][\w.-]*)\*\((\d)\)")


def plain(text):
    """A line of a page without its markup."""
    return re.sub(
        r"\\(.)|\*|(?<!\w)_|_(?!\w)", lambda m: m[1] or "", text
    )


class Page:
    def __init__(self, path):
        self.path = path
        self.file = path.name.removesuffix(".scd")
        self.name, self.section = self.file.rsplit(".", 1)
        self.text = path.read_text()

    def __str__(self):
        return f"{self.name}({self.section})"

    def headings(self):
        return re.findall(r"^# (.+)$", self.text, re.M)

    def part(self, heading):
        """What stands below "# heading", subsections included."""
        found = re.search(
            rf"^# {re.escape(heading)}\n(.*?)(?=^# |\Z)",
            self.text, re.M | re.S,
        )
        assert found, f"{self.path.name} has no section {heading}"
        return found[1]

    def subsections(self, heading):
        """{subsection: text} of "# heading"."""
        parts = re.split(r"^## (.+)\n", self.part(heading), flags=re.M)
        return dict(zip(parts[1::2], parts[2::2]))

    def names(self):
        """What NAME lists, with the page's own name first."""
        line = " ".join(self.part("NAME").split())
        return line.split(" - ")[0].split(", ")

    def terms(self, heading):
        """The terms of "# heading": lines that a line with a tab follows."""
        return re.findall(r"^(\S.*)\n\t", self.part(heading), re.M)

    def options(self, heading="OPTIONS"):
        """{--option: argument or ""}, as the terms of "# heading" say."""
        return {
            option: argument
            for term in self.terms(heading)
            for option, argument in OPTION.findall(term)
        }

    def keys(self):
        """{[section]: {key: what stands in parentheses}}."""
        return {
            section: dict(KEY.findall(text))
            for section, text in self.subsections("KEYS").items()
        }


def all_pages(source_dir):
    """{page's file name: Page}"""
    paths = sorted((Path(source_dir) / "docs/man").glob("*.[0-9].scd"))
    assert paths
    return {page.file: page for page in map(Page, paths)}


# ---- --help ----

def help_options(text):
    """{--option: argument or ""} of a --help."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("  --"):
            continue
        several = re.match(r"  (--[\w-]+(?:, --[\w-]+)+)(?=  |$)", line)
        if several:
            found.update(dict.fromkeys(several[1].split(", "), ""))
            continue
        option, argument = re.match(
            r"  (--[\w-]+)(?: ([A-Z][A-Z:\[\]]*)(?= |$))?", line
        ).groups()
        found[option] = argument or ""
    return found


def help_usage(text):
    """The lines that show how the program is called."""
    first = text.split("\n\n")[0]
    assert first.startswith("usage: ")
    return [line.strip() for line in first[len("usage: "):].splitlines()]


def help_commands(text):
    """{command: its arguments} of latentctl --help."""
    return {
        name: arguments.strip()
        for name, arguments in re.findall(
            r"^  ([a-z]+)( \S+)? +\S", text, re.M
        )
    }


def help_statuses(text):
    """The exit statuses that a --help explains."""
    flat = " ".join(text.split())
    sentence = re.search(r"Exit status: (.*?)\.( |$)", flat)
    return set(re.findall(r"(?:^|, |; )(\d+)(?= )", sentence[1]))


# ---- the configuration ----

def config_tables(source_dir):
    """{[section]: {key, ...}} as the tables in daemon/config*.c know them."""
    tables = {}
    for path in sorted((Path(source_dir) / "daemon").glob("config*.c")):
        for name, rows in re.findall(
            r"struct key (\w+)_keys\[\] = \{\n(.*?)^\};",
            path.read_text(), re.M | re.S,
        ):
            named = name in ("producer", "endpoint")
            section = f"[{name} NAME]" if named else f"[{name}]"
            tables[section] = set(re.findall(r'^\s*\{"(\w+)",', rows, re.M))
    assert len(tables) >= 4
    return tables


def ini_sections(text):
    """{section: {key: value}} of what latentd --check prints; names of
    producers and endpoints become NAME."""
    sections = {}
    for line in text.splitlines():
        if line.startswith("["):
            head = re.sub(r" .*\]", " NAME]", line)
            section = sections.setdefault(head, {})
        elif line and not line.startswith("#"):
            key, value = line.split(" = ", 1)
            section[key] = value
    return sections


def number(text):
    """A number as the configuration takes it: 512M; None for what is none."""
    found = re.fullmatch(r"(\d+)([KMGT]?)", text)
    if not found:
        return None
    return int(found[1]) << 10 * " KMGT".index(found[2] or " ")


def default_of(told):
    """The default that a key's parentheses tell: the last word, since it may
    stand behind an explanation ("default a quarter of jobs, 2500"); None for
    what is required."""
    found = re.search(r"default (.+)$", told)
    return found and found[1]


def range_of(told):
    """(least, most) that a key's parentheses tell, or None."""
    found = re.match(r"(\w+) to (\w+)\b", told)
    return found and (number(found[1]), number(found[2]))


# ---- the library ----

def squeeze(text):
    return " ".join(text.split()).replace("( ", "(")


def declarations(source_dir):
    """{function: declaration} of the public headers."""
    found = {}
    for path in (Path(source_dir) / "include/latentd").glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        for match in re.finditer(
            r"^[a-z][\w *]*?\b(latentd_\w+)\([^;{]*?\);", text, re.M | re.S
        ):
            found[match[1]] = squeeze(match[0])
    assert len(found) > 30
    return found


def synopsis(page):
    """{function: declaration} of a page's SYNOPSIS."""
    found = {}
    for block in re.findall(
        r"^```\n(.*?)^```$", page.part("SYNOPSIS"), re.M | re.S
    ):
        for declaration in re.findall(r"[^;]+;", block):
            name = re.search(r"\b(latentd_\w+)\(", declaration)[1]
            found[name] = squeeze(declaration)
    return found
