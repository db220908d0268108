# SPDX-License-Identifier: Apache-2.0
"""docs/operations.md tells what the daemon does: its metrics, its log, and what
commands answer when something is wrong."""

import re
import urllib.request

import pytest

import processes
from files import write_latent
from samples import latent

GUIDE = (processes.SOURCE_DIR / "docs/operations.md").read_text()


def rows(heading):
    """The cells of the tables below "## N. heading"."""
    text = re.search(rf"^## \d+\. {heading}\n(.*?)(?=^## |\Z)", GUIDE, re.M | re.S)
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text[1].splitlines()
        if line.startswith("| `")
    ]


# ---- metrics ----

def test_every_metric_is_in_the_guide_with_its_labels(
    start_endpoint, start_gateway, latentctl, tmp_path
):
    daemon = start_gateway(
        {**start_endpoint().sections(models=["sd-v1"], tasks=["decode"]),
         "spool": {"path": tmp_path / "spool"}}
    )
    path = write_latent(tmp_path / "z.safetensors", latent())
    latentctl(daemon, "decode", path, "--model", "sd-v1",
              "--out", tmp_path, check=0)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{daemon.http}/metrics") as reply:
        text = reply.read().decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    labels = {name: set() for name in types}
    for sample, inside in re.findall(r"^(\w+)\{(.*)\} ", text, re.M):
        name = re.sub(r"_bucket$", "", sample)
        labels[name] |= set(re.findall(r'(\w+)="', inside)) - {"le"}
    assert {
        name.strip("`"): (kind, set(re.findall(r"`(\w+)`", told)))
        for name, kind, told, _ in rows("Metrics")
    } == {name: (types[name], labels[name]) for name in types}


# ---- the log ----

CALL = re.compile(r"\blog_(info|warn|error)\(")
LITERALS = re.compile(r'(?:\s*(?:"(?:[^"\\]|\\.)*"|PRI[a-zA-Z]\d+))+')
SPECIFIER = re.compile(r"%[-+ #0]*[\d.*]*(?:hh?|ll?|[zj])?[a-zA-Z]")
LEVELS = {"info": "info", "warn": "warning", "error": "error"}


FIELDS = re.compile(r"log_field fields\[\] = \{(.*?)\};", re.S)
EVENT = re.compile(
    r"\blog_event(?:_often)?\(LOG_LEVEL_(\w+),[^;]*?,\s+"
    r'(NULL|message|"[^"]*")\);')


def events(text):
    """(level, pattern) of every log_event() in a file: the names of its fields
    and its message, which one snprintf() before may have made."""
    for call in EVENT.finditer(text):
        before = text[:call.start()]
        names = re.findall(r'LOG_\w+\("?(\w+)"', FIELDS.findall(before)[-1])
        line = " ".join(f"{name}=.*" for name in names)
        said = call[2].strip('"')
        if said == "message":
            said = "".join(
                one.strip('"').replace("PRIu64", "u") for one in re.findall(
                    r'"[^"]*"|PRIu64', before.split("snprintf(")[-1]))
        if said != "NULL":
            line += ": " + ".*".join(map(re.escape, SPECIFIER.split(said)))
        yield LEVELS[call[1].lower()], line


def log_formats():
    """(level, pattern of a line, where) of every event that daemon/ logs."""
    found = []
    for path in sorted((processes.SOURCE_DIR / "daemon").rglob("*.c")):
        text = path.read_text()
        if path.name in ("log.c", "log_line.c"):
            # The one line that the log writes by itself.
            if "more lines like the next were left out" in re.sub(
                r'"\s+"', "", text
            ):
                found.append((
                    "info", ".* more lines like the next were left out: .*",
                    path.name))
            continue
        found += [(*event, path.name) for event in events(text)]
        for call in CALL.finditer(text):
            literals = LITERALS.match(text, call.end())
            assert literals, f"{path.name}: an event without a format"
            line = "".join(
                one if one.startswith("PRI") else one[1:-1]
                for one in re.findall(r'"(?:[^"\\]|\\.)*"|PRI\w+', literals[0])
            )
            line = re.sub(r"PRI([a-z])\d+", r"\1", line).replace('\\"', '"')
            pattern = ".*".join(map(re.escape, SPECIFIER.split(line)))
            found.append((LEVELS[call[1]], pattern, f"{path.name}: {line}"))
    assert len(found) > 15
    return found


def told_lines():
    return [(level, line.strip("`")) for line, level, _ in rows("The log")]


def is_told(level, pattern):
    """Whether a row of the guide is this event: it is what the format may
    give, or in general what the format gives in particular."""
    example = re.sub(r"\.\*", "X", re.sub(r"\\(.)", r"\1", pattern))
    return any(
        level == its and (
            re.fullmatch(pattern, told) or
            re.fullmatch(re.sub(r"[A-Z]+", ".*", re.escape(told)), example)
        )
        for its, told in told_lines()
    )


def test_every_event_of_the_log_is_in_the_guide():
    assert [
        f"{level}: {where}"
        for level, pattern, where in log_formats()
        if not is_told(level, pattern)
    ] == []


def test_the_guide_has_no_event_that_is_never_logged():
    formats = log_formats()
    assert [
        line
        for level, line in told_lines()
        if not any(
            level == its and re.fullmatch(pattern, line)
            for its, pattern, _ in formats
        )
    ] == []


# ---- what to do when ----

def blocks(symptom):
    """[(command, [line of its answer])] below "### symptom"."""
    text = re.search(
        rf"^### {symptom}\n(.*?)(?=^### |\Z)", GUIDE, re.M | re.S
    )
    console = re.search(r"^```console\n(.*?)^```", text[1], re.M | re.S)[1]
    found = []
    for line in console.splitlines():
        if line.startswith("$ "):
            found.append((line[2:].split(), []))
        else:
            found[-1][1].append(line)
    return found


def shape(text):
    """A line without what is another one each time: numbers, times, and how
    libcurl puts it."""
    text = text.replace("Couldn't", "Could not")
    text = re.sub(r"\d[\d.]* ?(ms|s|min|h|d)\b", "TIME", text)
    text = re.sub(r"\d[\d.]*", "N", text)
    return " ".join(text.split())


@pytest.fixture
def follow(short_tmp):
    """follow(symptom, daemon): give the guide's commands, and look for the
    guide's lines in their answers, in the same order."""

    def commands(symptom, daemon):
        for (name, *args), expected in blocks(symptom):
            done = processes.run(
                processes.program(name), *args, cwd=short_tmp,
                env=daemon.env() if daemon else None,
            )
            answer = (done.stdout + done.stderr).decode()
            lines = iter(shape(line) for line in answer.splitlines())
            for line in expected:
                assert any(shape(line) in one for one in lines), \
                    f"{name} {' '.join(args)} did not say:\n{line}\n{answer}"

    return commands


@pytest.fixture
def submit(short_tmp, latentctl):
    """submit(daemon, n): leave n jobs with it, as latentctl submit does."""

    def jobs(daemon, n=1):
        latentctl(daemon, "submit", *[
            write_latent(short_tmp / f"z{i + 1}.safetensors", latent())
            for i in range(n)
        ], "--model", "sd-v1", check=0)

    return jobs


def main_endpoint(url, **keys):
    return {"endpoint main": {
        "model": "sd-v1", "task": "decode", "url": f"{url}/sd-v1", **keys,
    }}


def test_the_queue_grows(start_endpoint, start_daemon, submit, follow):
    endpoint = start_endpoint(service_ms=600000)
    daemon = start_daemon(main_endpoint(endpoint.url, parallel=2))
    submit(daemon, 8)
    follow("The queue grows", daemon)
    # It would wait for what it serves.
    endpoint.kill()


def test_an_endpoint_is_out(start_daemon, submit, follow):
    daemon = start_daemon(
        main_endpoint(f"http://127.0.0.1:{processes.free_port()}")
    )
    submit(daemon)
    daemon.wait_line("endpoint=main is out now")
    follow("An endpoint is out", daemon)


def test_an_endpoint_is_stopped(start_endpoint, start_daemon, submit, follow):
    daemon = start_daemon(main_endpoint(start_endpoint(token="t").url))
    submit(daemon)
    daemon.wait_line("endpoint=main is stopped now")
    follow("An endpoint is stopped", daemon)


def test_jobs_have_failed(
    start_endpoint, start_daemon, submit, latentctl, follow
):
    endpoint = start_endpoint("--fail-rate", "1")
    daemon = start_daemon({
        **main_endpoint(endpoint.url), "queue": {"attempts": 1},
    })
    submit(daemon)
    daemon.wait_line("outcome=failed")
    latentctl(daemon, "collect", check=1)
    daemon.wait_line("buried")
    follow("Jobs have failed", daemon)


def test_producers_get_busy(
    start_endpoint, start_daemon, submit, latentctl, follow
):
    daemon = start_daemon({
        **main_endpoint(start_endpoint().url), "queue": {"jobs": 4},
    })
    submit(daemon)
    daemon.wait_line("outcome=done")
    write_latent(daemon.config.parent / "z2.safetensors", latent())
    follow("Producers get BUSY", daemon)


def test_nobody_collects(start_endpoint, start_daemon, submit, follow):
    daemon = start_daemon(main_endpoint(start_endpoint().url))
    submit(daemon)
    daemon.wait_line("outcome=done")
    follow("Nobody collects", daemon)


def test_it_was_paused(start_endpoint, start_daemon, latentctl, follow):
    daemon = start_daemon(main_endpoint(start_endpoint().url))
    latentctl(daemon, "pause", "in", check=0)
    follow("It was paused", daemon)


def test_a_producer_cannot_connect(follow):
    follow("A producer cannot connect", None)


def test_the_daemon_does_not_start(
    start_endpoint, start_daemon, short_tmp, follow
):
    daemon = start_daemon(main_endpoint(start_endpoint().url))
    (short_tmp / "wrong.conf").write_text(
        "[endpoint main]\nmodel = sd-v1\ntask = decode\n"
        "url = http://127.0.0.1:9/sd-v1\nparalel = 2\n"
    )
    follow("The daemon does not start", daemon)


def test_every_symptom_with_commands_is_tested():
    told = re.findall(r"^### (.*)\n\n```console", GUIDE, re.M)
    tested = {
        re.sub(r"\W", "_", symptom).lower() for symptom in told
    }
    assert tested and all(f"test_{name}" in globals() for name in tested)
