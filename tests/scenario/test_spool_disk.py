# SPDX-License-Identifier: Apache-2.0
"""The spool on disks that fail, and with files that were damaged."""

import os
import threading
from pathlib import Path

import pytest
import requests

import processes
import wire
from fakes import fake_pixels, good, held
from spooled import Z, accept, check, instance, report, submit


@pytest.fixture
def gate(stack):
    gate = threading.Event()
    stack.callback(gate.set)
    return gate


# ---- disks that fail ----


@pytest.fixture
def start_faulty(start_spooled, short_tmp):
    """start_faulty(sections): a daemon as released, on a disk whose faults()
    are set by what it calls: "write EIO", "write ENOSPC", "sync EIO", ""."""
    if "LATENTD_RELEASE_BIN_DIR" not in os.environ:
        pytest.skip("./dev test builds the programs as released")
    orders = short_tmp / "faults"
    orders.write_text("")
    library = processes.bin_dir().parent / "lib" / "libfaulty_disk.so"
    assert library.exists(), f"{library} is missing"

    def faults(text):
        other = short_tmp / "faults.new"
        other.write_text(text)
        other.rename(orders)

    def start(sections, **keys):
        daemon = start_spooled(
            sections, bin=os.environ["LATENTD_RELEASE_BIN_DIR"],
            env={"LD_PRELOAD": str(library),
                 "LATENTD_FAULTY_DISK": str(orders)}, **keys)
        daemon.faults = faults
        return daemon

    yield start
    faults("")


@pytest.mark.parametrize("fault", ["write EIO", "write ENOSPC", "sync EIO"])
def test_a_failing_disk_refuses_new_jobs_and_loses_none(
    start_faulty, start_fake, latentctl, fault
):
    fake = start_fake()
    daemon = processes.find_http(start_faulty(
        {**fake.section(), "daemon": {"http": "127.0.0.1:0"}}
    ))
    with wire.Producer(daemon.url) as producer:
        accept(producer, 0)
        check(producer.take("k0"), 0)
        daemon.faults(fault)
        busy = submit(producer, 1).expect("BUSY")
        assert busy["reason"] == "storage"
        daemon.faults("")
        # It may work again, but nobody has looked.
        assert submit(producer, 1).expect("BUSY")["reason"] == "storage"
        assert report(daemon)["spool"]["failure"]
        ready = requests.get(f"{daemon.http}/readyz", timeout=60)
        assert ready.status_code == 503 and "storage" in ready.text
        metrics = requests.get(f"{daemon.http}/metrics", timeout=60).text
        assert "latentd_spool_failed 1" in metrics
        assert "latentd_spool_errors_total 1" in metrics
        status_text = latentctl(daemon, "status", check=0).stdout.decode()
        assert "latentctl resume" in status_text
        latentctl(daemon, "resume", "in", check=0)
        processes.wait_until(
            lambda: submit(producer, 1).type == "ACCEPTED", "it goes on"
        )
        check(producer.take("k1"), 1)
        producer.thank()
        assert producer.collect(0).expect("EMPTY")["pending"] == 0
    assert daemon.stop() == 0
    daemon = start_faulty(fake.section())
    with wire.Producer(daemon.url) as producer:
        assert producer.collect(0).expect("EMPTY")["pending"] == 0
        submit(producer, 1).expect("REJECTED", code="collected")


def test_results_are_delivered_while_the_disk_fails(
    start_faulty, start_fake, gate
):
    fake = start_fake(held(gate), then=good)
    daemon = start_faulty(fake.section(parallel=1))
    with wire.Producer(daemon.url) as producer:
        for i in range(3):
            accept(producer, i)
        daemon.faults("write EIO")
        gate.set()
        results = producer.take_all(3)
    for i in range(3):
        check(results[f"k{i}"], i)
    # What became of them is not on disk, so they are done again: better
    # twice than never.
    daemon.kill()
    daemon.faults("")
    daemon = start_faulty(fake.section(parallel=1))
    with wire.Producer(daemon.url) as producer:
        assert set(producer.take_all(3)) == {"k0", "k1", "k2"}


# ---- damage ----


def flip(path, needle):
    """Flip a bit of what follows needle in a file."""
    data = bytearray(Path(path).read_bytes())
    at = data.index(needle)
    data[at + len(needle) // 2] ^= 1
    Path(path).write_bytes(data)


def test_a_damaged_latent_fails_its_job_and_no_other(
    start_fake, start_spooled, short_tmp, gate
):
    fake = start_fake(held(gate), then=good)
    daemon = start_spooled(fake.section(parallel=1))
    with wire.Producer(daemon.url) as producer:
        for i in range(3):
            accept(producer, i)
    daemon.kill()
    gate.set()
    flip(short_tmp / "spool" / "data.mdb", Z[1].data)
    daemon = start_spooled(fake.section(parallel=1))
    with wire.Producer(daemon.url) as producer:
        results = producer.take_all(3)
    check(results["k0"], 0)
    check(results["k2"], 2)
    results["k1"].expect("RESULT", state="failed", code="io")
    assert "CRC32C" in results["k1"]["message"]
    assert Z[1].data not in [request.body for request in fake.requests[1:]]


def test_a_damaged_record_is_set_aside_and_clients_submit_again(
    start_fake, start_spooled, short_tmp, gate
):
    fake = start_fake(held(gate), then=good)
    daemon = start_spooled(fake.section(parallel=1))
    before = instance(daemon)
    with wire.Producer(daemon.url) as producer:
        accept(producer, 0)
        accept(producer, 1, key="a-key-to-find")
    daemon.kill()
    gate.set()
    flip(short_tmp / "spool" / "data.mdb", b"a-key-to-find")
    daemon = start_spooled(fake.section(parallel=1))
    daemon.wait_line("job=2 cannot be read from the spool and is set aside")
    assert instance(daemon) != before
    with wire.Producer(daemon.url) as producer:
        check(producer.take("k0"), 0)
        accept(producer, 1, key="a-key-to-find")
        check(producer.take("a-key-to-find"), 1)
    assert report(daemon)["spool"]["aside"] == 1


def test_a_damaged_result_is_said_to_be_lost(
    start_fake, start_spooled, short_tmp
):
    fake = start_fake()
    daemon = start_spooled(fake.section())
    with wire.Producer(daemon.url) as producer:
        accept(producer, 0)
        check(producer.collect(), 0)
    daemon.kill()
    pixels = fake_pixels(Z[0].data, 1, 64, 64).tobytes()
    flip(short_tmp / "spool" / "data.mdb", pixels[:1000])
    daemon = start_spooled(fake.section())
    with wire.Producer(daemon.url) as producer:
        result = producer.take("k0").expect("RESULT", code="io")
        assert result.body == b""
