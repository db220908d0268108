# SPDX-License-Identifier: Apache-2.0
"""Count the test cases of a ctest run: `count.py JUNIT_XML`.

ctest counts programs.  A Criterion program and a pytest file hold many cases;
their own summaries are added up, any other ctest test counts as one.  A ctest
test that failed although its summary names no failure (a crash, a timeout, a
leak found at exit) counts as one failure, and so does a Criterion or pytest
run that found no case.  Prints `N passed, N failed` as its last line; the
status is 1 when anything failed or nothing passed.
"""

import re
import sys
import xml.etree.ElementTree

CRITERION = re.compile(
    r"Synthesis: Tested: (?P<tested>\d+) \| Passing: (?P<passed>\d+)"
    r" \| Failing: (?P<failed>\d+) \| Crashing: \d+"
)
PYTEST = re.compile(
    r"^(?:=+ )?(?P<counts>(?:\d+ [a-z]+(?:, )?)+|no tests ran)"
    r" in [\d.]+s(?: \([\d:]+\))?(?: =+)?$",
    re.MULTILINE,
)


def pytest_counts(summary):
    """(passed, failed, skipped) of "1 failed, 2 passed, 1 error"."""
    counts = {"passed": 0, "failed": 0, "error": 0, "skipped": 0}
    for number, word in re.findall(r"(\d+) ([a-z]+)", summary):
        word = "error" if word == "errors" else word
        counts[word] = counts.get(word, 0) + int(number)
    return (
        counts["passed"],
        counts["failed"] + counts["error"] + counts.get("xpassed", 0),
        counts["skipped"],
    )


def count_test(succeeded, output):
    """(passed, failed, skipped) of one ctest test."""
    criterion = CRITERION.findall(output)
    pytest = PYTEST.findall(output)
    passed = failed = skipped = 0
    for tested, good, bad in criterion:
        passed += int(good)
        failed += int(bad) + (int(tested) == 0)
    for summary in pytest:
        good, bad, skip = pytest_counts(summary)
        passed += good
        failed += bad + (good + bad + skip == 0)
        skipped += skip
    if not criterion and not pytest:
        return (1, 0, 0) if succeeded else (0, 1, 0)
    if not succeeded and failed == 0:
        failed = 1
    return passed, failed, skipped


def main(path):
    total = [0, 0, 0]
    try:
        cases = xml.etree.ElementTree.parse(path).iter("testcase")
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        print(f"count.py: {path}: {error}", file=sys.stderr)
        cases = ()
    for case in cases:
        output = case.findtext("system-out") or ""
        counts = count_test(case.get("status") == "run", output)
        total = [a + b for a, b in zip(total, counts)]
        if counts[1]:
            print(f"{case.get('name')}: {counts[1]} failed")
        if counts[2]:
            print(f"{case.get('name')}: {counts[2]} skipped")
    print(f"{total[0]} passed, {total[1]} failed", flush=True)
    return 0 if total[0] > 0 and total[1] == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
