# SPDX-License-Identifier: Apache-2.0
"""A thousand damaged requests never hurt the daemon, and are told why."""

import os
import random
import select
from contextlib import ExitStack

import processes
import pytest
from mutations import mutations, originals
from raw_http import Closed, Connection, ask
from remote import gauges

SEED = 20240229
MUTATIONS_N = 1000
BATCH_N = 25
MIB = 1 << 20
STATUSES = {200, 400, 401, 404, 405, 408, 413, 414, 431, 500, 501, 502, 503,
            505}


@pytest.fixture
def gateway(start_endpoint, start_gateway):
    endpoint = start_endpoint(parallel=4)
    return start_gateway(
        {**endpoint.sections(["sdxl", "flux"], parallel=4),
         # Room for what a batch announces and does not send, so that no
         # other of it is told that the queue is full.
         "queue": {"bytes": "256M", "producer_bytes": "256M"}},
        # Freed memory is to count as free.
        env={"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")
             + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=16"},
    )


def reply_of(connection):
    """The reply that comes, or None when the daemon closes."""
    try:
        reply = connection.reply()
        while reply.status == 100:
            reply = connection.reply()
        return reply
    except Closed:
        return None


def send(connection, damaged):
    try:
        connection.send(damaged.data)
    except Closed:
        # Refused while it was sent: the reply may be there.
        pass


def judge(damaged, reply):
    """What is wrong with the reply, or None."""
    if reply is None:
        return f"{damaged.what}: no reply" if damaged.whole else None
    # libmicrohttpd 1.0's own answer to blanks in a request-target (RFC 9112
    # 3.2): where it should have gone.
    if reply.status == 301:
        return None
    if reply.status not in STATUSES:
        return f"{damaged.what}: {reply}"
    if damaged.words is not None:
        if reply.status != 400:
            return f"{damaged.what}: {reply}"
        if not any(word in reply.error() for word in damaged.words):
            return f"{damaged.what}: names none of {damaged.words}: {reply}"
    return None


def has_come(connection):
    """Whether there is a reply, or the end, to read now."""
    return bool(select.select([connection.sock], [], [], 0)[0])


def send_batch(daemon, batch, at_rest):
    """Send some at the same time; the replies, None where there was none.

    Of what is no whole request nobody knows whether it is answered.  When the
    daemon has answered somebody else since and has no jobs left, what has not
    come is not waited for: its client leaves.
    """
    replies = []
    with ExitStack() as stack:
        connections = [
            stack.enter_context(Connection(daemon.port)) for _ in batch
        ]
        for connection, damaged in zip(connections, batch):
            send(connection, damaged)
        processes.wait_until(at_rest, "nothing is left to do")
        for connection, damaged in zip(connections, batch):
            if damaged.whole or has_come(connection):
                replies.append(reply_of(connection))
            else:
                replies.append(None)
    return replies


def send_all(daemon, damaged, at_rest):
    replies, wrong = [], []
    for start in range(0, len(damaged), BATCH_N):
        batch = damaged[start: start + BATCH_N]
        got = send_batch(daemon, batch, at_rest)
        wrong += filter(None, map(judge, batch, got))
        replies += got
    assert wrong == []
    return replies


def test_a_thousand_damaged_requests_never_hurt(gateway):
    def at_rest():
        found = gauges(gateway.http)
        return found['latentd_jobs{state="queued"}'] \
            + found['latentd_jobs{state="active"}'] == 0

    right = [ask(gateway.port, data) for data in originals()]
    assert {reply.status for reply in right} == {200}
    # What is set up once is set up now.
    send_all(gateway, mutations(random.Random(SEED - 1), 100), at_rest)
    descriptors, memory = gateway.fd_n(), gateway.rss_bytes()

    replies = send_all(
        gateway, mutations(random.Random(SEED), MUTATIONS_N), at_rest)

    assert len(replies) == MUTATIONS_N
    statuses = [reply.status for reply in replies if reply is not None]
    assert statuses.count(400) > 400
    # The damage goes deep enough to be right at times.
    assert statuses.count(200) > 5
    again = [ask(gateway.port, data) for data in originals()]
    assert [r.body for r in again[:-1]] == [r.body for r in right[:-1]]
    processes.wait_until(at_rest, "nothing is left to do")
    assert gauges(gateway.http)["latentd_queue_bytes"] == 0
    processes.wait_until(lambda: gateway.fd_n() <= descriptors,
                         "every connection is closed")
    assert gateway.rss_bytes() < memory + 32 * MIB
    assert gateway.stop() == 0
    gateway.check_clean()


def test_the_same_seed_gives_the_same_requests():
    first, second = (
        mutations(random.Random(SEED), MUTATIONS_N) for _ in range(2)
    )
    assert first == second
    assert len({damaged.data for damaged in first}) > MUTATIONS_N * 0.6
