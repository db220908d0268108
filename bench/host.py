# SPDX-License-Identifier: Apache-2.0
"""Where a benchmark ran, which its figures depend on, and where they go."""

import json
import os
import platform
import re
import signal
import sys
from pathlib import Path


def machine():
    cpu = re.search(r"^model name\s*: (.*)$",
                    Path("/proc/cpuinfo").read_text(), re.M)
    return {"cpu": cpu[1] if cpu else platform.machine(),
            "cpus": os.cpu_count(), "kernel": platform.release(),
            "load_before": os.getloadavg()[0]}


def keep(results, name, result, text):
    """Write NAME.json and NAME.md into the directory of results."""
    results.mkdir(exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (results / f"{name}.md").write_text(text)


def _on_end(number, _):
    sys.exit(128 + number)


def run_main(main):
    """Run ${main}; when it is interrupted or told to end, end as one should.

    What it started ends with it, since all of that is left as by an error.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_end)
    try:
        main()
    except KeyboardInterrupt:
        # By the signal: whoever waits sees that it was not handled.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
