# SPDX-License-Identifier: Apache-2.0
"""Where a benchmark ran, which its figures depend on, and where they go."""

import json
import os
import platform
import re
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
