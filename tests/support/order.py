# SPDX-License-Identifier: Apache-2.0
"""In which order jobs ended, from the daemon's log."""

import re
from collections import namedtuple

from processes import wait_until

ENDED = re.compile(
    r"job=(\d+) producer=(\S+) key=(\S+) .* outcome=(\w+) .* attempts=(\d+)"
)

Ended = namedtuple("Ended", "id producer key outcome attempts")


def ended(daemon):
    """What has ended so far, the first first."""
    return [
        Ended(int(found[1]), found[2], found[3], found[4], int(found[5]))
        for found in ENDED.finditer(daemon.stderr())
    ]


def wait_ended(daemon, n):
    """The same, once it is n jobs at least."""
    return wait_until(
        lambda: len(ended(daemon)) >= n and ended(daemon), f"{n} jobs ended"
    )
