# SPDX-License-Identifier: Apache-2.0
"""Where a benchmark ran: what its figures depend on."""

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
