# SPDX-License-Identifier: Apache-2.0
"""Check that includes point only downward: `floors.py SOURCE_DIR`.

    include -> proto -> spool (client stops here) -> daemon/base -> job and its
            kin -> stages (never each other) -> dispatch -> report -> pipeline
            -> main

A part may include itself and the parts that ALLOWED names.  Every #include of
a file of the project must resolve to one, and every C file must belong to a
part: a new file of the daemon is put on its floor here, on purpose.
"""

import re
import sys
from pathlib import Path

# The job's floor: the records that stages hand on, each may use those before
# it.  NAME_more.c belongs to NAME, here and below.
RECORDS = (
    "pixels", "fate", "fitness", "limit", "hedge", "user", "producer", "config",
    "peer", "history", "spoolcount", "job", "intake", "reply", "auth", "attempt",
    "endpoint", "order", "lane",
)

# The stages, and what else stands on their floor.
STAGES = (
    "ingress", "gateway", "queue", "transfer", "finish", "outbox", "publish",
    "spool", "metrics", "drain", "joblog", "probe", "deadline", "remember",
    "buried", "admin", "service", "confine",
)

# spool/ is the durable spool's format and file, for the daemon and latentctl.
GROUND = {"include", "proto", "spool"}
SHARED = GROUND | {"base"}
BELOW_STAGES = SHARED | {f"daemon/{name}" for name in RECORDS}
BELOW_DISPATCH = BELOW_STAGES | {f"daemon/{name}" for name in STAGES}
BELOW_PIPELINE = BELOW_DISPATCH | {"daemon/dispatch"}

ALLOWED = {
    "include": set(),
    "proto": {"include"},
    "spool": GROUND - {"spool"},
    "client": GROUND,
    "examples": {"include"},
    "endpoint": SHARED,
    "base": GROUND,
    **{
        f"daemon/{name}": SHARED | {f"daemon/{r}" for r in RECORDS[:i]}
        for i, name in enumerate(RECORDS)
    },
    **{f"daemon/{name}": BELOW_STAGES for name in STAGES},
    "daemon/dispatch": BELOW_DISPATCH,
    # What STATUS answers: it looks at everything below the pipeline.
    "daemon/report": BELOW_PIPELINE,
    "daemon/why": BELOW_PIPELINE,
    "daemon/pipeline": BELOW_PIPELINE | {"daemon/report", "daemon/why"},
    "daemon/main": BELOW_PIPELINE | {"daemon/pipeline"},
}

# What the lowest floors may not take from outside the project: proto does no
# I/O and has no threads, and installed headers need nothing but C.
FORBIDDEN = {
    "include": re.compile(r"^(?!std(bool|def|int)\.h$)"),
    "proto": re.compile(
        r"^(uv|pthread|threads|unistd|fcntl|poll|syslog)\.h$"
        r"|^(nng|curl|sys)/|^microhttpd"
    ),
}

INCLUDE_DIRS = (
    "include", "proto", "spool", "daemon", "client", "endpoint",
)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def part_of(path):
    """The part that a path relative to the source directory belongs to."""
    top = path.parts[0]
    if top == "daemon":
        if path.parts[1] == "base":
            return "base"
        name = path.stem.split("_")[0]
        return f"daemon/{name}"
    return top


def resolve(root, file, kind, name):
    """The project's file that an #include means, or None."""
    places = [file.parent] if kind == '"' else []
    places += [root / directory for directory in INCLUDE_DIRS]
    for place in places:
        found = place / name
        if found.is_file():
            return found.resolve().relative_to(root)
    return None


def check_include(root, file, kind, name):
    """The sentence that says what is wrong with an #include, or None."""
    part = part_of(file.relative_to(root))
    target = resolve(root, file, kind, name)
    if target is None:
        if kind == '"':
            return f'"{name}" is not a file of the project'
        forbidden = FORBIDDEN.get(part)
        if forbidden and forbidden.search(name):
            return f"{part} may not use <{name}>"
        return None
    other = part_of(target)
    if other == part or other in ALLOWED[part]:
        return None
    return f"{part} may not include {other} ({target})"


def violations(root):
    """All violations under root, as "FILE:LINE: sentence"."""
    root = Path(root).resolve()
    found = []
    checked = 0
    for directory in INCLUDE_DIRS + ("examples",):
        for file in sorted((root / directory).rglob("*.[ch]")):
            checked += 1
            relative = file.relative_to(root)
            if part_of(relative) not in ALLOWED:
                found.append(
                    f"{relative}:1: stands on no floor; add it to"
                    " tests/house/floors.py"
                )
                continue
            text = file.read_text()
            for match in INCLUDE.finditer(text):
                wrong = check_include(root, file, match[1], match[2])
                if wrong:
                    line = text.count("\n", 0, match.start()) + 1
                    found.append(f"{relative}:{line}: {wrong}")
    if checked == 0:
        found.append(f"{root}:1: no C file found")
    return found


if __name__ == "__main__":
    lines = violations(sys.argv[1])
    print("\n".join(lines))
    sys.exit(1 if lines else 0)
