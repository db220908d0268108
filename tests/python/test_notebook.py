# SPDX-License-Identifier: Apache-2.0
"""What Jupyter shows, through a stand-in of IPython's display."""

import sys
import threading
import types

import numpy as np
import pytest
from PIL import Image

import samples
from arrays import array_of
from processes import wait_until

PATIENCE_S = 60


@pytest.fixture
def ipython(monkeypatch):
    """IPython as far as it is used; .shown lists what was displayed."""
    shown = []

    class Handle:
        def update(self, bundle, raw):
            assert raw
            shown.append(("update", bundle, threading.current_thread().name))

    def display(bundle, raw, display_id):
        assert raw and display_id
        shown.append(("display", bundle, threading.current_thread().name))
        return Handle()

    module = types.SimpleNamespace(
        get_ipython=lambda: object(), shown=shown,
        display=types.SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython", module)
    return module


def decode(client, model="sd-v1", batch=1, **options):
    z = array_of(samples.latent(model, batch=batch))
    return client.decode(z, model, **options)


@pytest.mark.parametrize("output, kind", [
    ("png", "image/png"), ("jpg", "image/jpeg"), ("pixels", "image/png"),
    ("float", "image/png"),
])
def test_a_picture_is_shown_as_its_file(service, connect, output, kind):
    result = decode(connect(service), output=output).result(PATIENCE_S)
    bundle = result._repr_mimebundle_()
    assert set(bundle) == {"text/plain", kind}
    assert bundle["text/plain"] == f"<latentd.Result {output} 64x64>"
    shown = samples.pixels_of(bundle[kind])
    assert (shown == np.asarray(result.pil())).all()


def test_a_video_and_a_batch_are_html(service, connect):
    client = connect(service)
    video = decode(client, "hunyuan-video").result(PATIENCE_S)
    assert "<video controls loop src=\"data:video/mp4;base64," in (
        video._repr_mimebundle_()["text/html"])
    batch = decode(client, batch=3).result(PATIENCE_S)
    assert batch._repr_mimebundle_()["text/html"].count(
        "<img src=\"data:image/png;base64,") == 3


def test_a_latent_is_text(service, connect):
    image = Image.fromarray(samples.picture())
    result = connect(service).encode(image, "sd-v1").result(PATIENCE_S)
    assert result._repr_mimebundle_() == {
        "text/plain": "<latentd.Result latent 1x4x6x8>"}


def test_a_job_updates_its_cell_in_place(held, connect, ipython):
    job = decode(connect(held), output="png")
    job._ipython_display_()
    (first,) = ipython.shown
    assert first[0] == "display" and "waiting" in first[1]["text/html"] or \
        "accepted" in first[1]["text/html"]
    held.gate.set()
    result = job.result(PATIENCE_S)
    wait_until(lambda: len(ipython.shown) == 2, "the cell is updated")
    assert ipython.shown[1] == (
        "update", result._repr_mimebundle_(), "latentd-receive")


def test_a_job_that_is_done_is_shown_at_once(service, connect, ipython):
    job = decode(connect(service))
    result = job.result(PATIENCE_S)
    job._ipython_display_()
    assert [shown[:2] for shown in ipython.shown] == [
        ("display", result._repr_mimebundle_())]


def test_a_cancelled_and_a_failed_job_say_so(held, connect, ipython):
    client = connect(held)
    job = decode(client)
    job._ipython_display_()
    job.cancel()
    assert ipython.shown[1][1]["text/html"] == "<i>cancelled</i>"
    failed = decode(client, "sdxl")
    failed.exception(PATIENCE_S)
    assert "ModelError" in failed._repr_mimebundle_()["text/html"]


def test_without_a_notebook_a_job_prints_itself(held, connect, capsys):
    job = decode(connect(held), key="cat")
    job._ipython_display_()
    assert capsys.readouterr().out == "<latentd.Job decode sd-v1 key=cat>\n"
