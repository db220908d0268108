# SPDX-License-Identifier: Apache-2.0
"""The nodes for ComfyUI that do not wait: submit, save, collect."""

import json
import logging
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import comfy_standin
import fakes
import latentd
import samples
from order import wait_ended
from processes import wait_until
from test_comfyui import (
    PATIENCE_S,
    check_image,
    direct,
    given,
    run_in_thread,
    torch_of,
    vae_latent,
)
from test_comfyui import comfy  # noqa: F401

LATENT = {"1": {"class_type": "GivenLATENT", "inputs": {"what": "it"}}}


def submit_graph(model="sd-v1", save=None, **inputs):
    graph = {**LATENT, "2": {"class_type": "LatentdSubmit", "inputs": {
        "samples": ["1", 0], "model": model, "format": "png",
        "name": "me", **inputs}}}
    if save:
        graph["3"] = {"class_type": "LatentdSave", "inputs": {
            "jobs": ["2", 0], "filename_prefix": save}}
    return graph


def collect_graph(jobs=None, **inputs):
    graph = {} if jobs is None else dict(jobs)
    graph["8"] = {"class_type": "LatentdCollect", "inputs": {
        "name": "me", "wait": True, **inputs}}
    if jobs is not None:
        graph["8"]["inputs"]["jobs"] = ["2", 0]
    graph["9"] = {"class_type": "SinkIMAGE", "inputs": {"value": ["8", 0]}}
    return graph


def latent_dict(n=1, seed=0):
    array = vae_latent("sd-v1", (n, 4, 8, 8), seed)
    return array, {"samples": torch_of(array)}


def held_pixels(array):
    """What a fake endpoint makes of each latent of a batch."""
    return [fakes.fake_pixels(one.tobytes(), 1, 64, 64) for one in array]


def collect_all(server, n):
    """n images, by as many graphs as it takes until they are delivered."""
    found = []

    def collected():
        found.extend(image for image in server.run(collect_graph())["8"][0]
                     if not isinstance(image, comfy_standin.ExecutionBlocker))
        return len(found) == n

    wait_until(collected, f"{n} images are collected")
    return found


def unless(one, step, then=fakes.good):
    """then, but `step` for that latent: jobs may overtake each other."""
    def either(exchange):
        mine = exchange.request.body == one.tobytes()
        (step if mine else then)(exchange)
    return either


def test_submit_goes_on_and_a_later_prompt_collects(held, comfy):
    array, latent = latent_dict(2)
    server = comfy(held)
    given(server, latent)
    # The endpoint holds both: a submit that waited would not end.
    server.run(submit_graph())
    held.fake.wait_requests(2)
    held.gate.set()
    images = server.run(collect_graph())["8"][0]
    for image, expected in zip(images, held_pixels(array), strict=True):
        check_image(image, expected)
    assert server.jobs().waiting.tickets(("", "me")) == []


def test_the_latent_goes_on_with_all_that_it_has(service, comfy):
    _, latent = latent_dict(2)
    latent.update(noise_mask=torch_of(np.ones((2, 1, 64, 64), np.float32)),
                  batch_index=[4, 7])
    before = dict(latent)
    server = comfy(service)
    given(server, latent)
    done = server.run(submit_graph())
    assert done["2"][1][0] is latent and latent == before
    assert len(done["2"][0][0]) == 2


def test_collect_waits_for_the_jobs_that_are_connected(service, comfy):
    array, latent = latent_dict(3)
    server = comfy(service)
    given(server, latent)
    for _ in range(2):  # the second time from ComfyUI's cache
        images = server.run(collect_graph(submit_graph()))["8"][0]
        for i, image in enumerate(images):
            check_image(image, direct(service, "sd-v1", array[i:i + 1]))
    assert [kind for _, kind in server.calls].count("SubmitNode") == 1
    assert [kind for _, kind in server.calls].count("CollectNode") == 2


def test_collect_without_waiting_takes_what_is_done(
        start_fake, start_daemon, stack, comfy):
    gate = threading.Event()
    stack.callback(gate.set)
    array, latent = latent_dict(2)
    fake = start_fake(then=unless(array[0], fakes.good, fakes.held(gate)))
    server = comfy(start_daemon(fake.section(parallel=2)))
    given(server, latent)
    jobs = [one.job for one in server.run(submit_graph())["2"][0][0]]
    jobs[0].result(PATIENCE_S)
    first, = server.run(collect_graph(wait=False))["8"][0]
    check_image(first, held_pixels(array)[0])
    gate.set()
    second, = server.run(collect_graph())["8"][0]
    check_image(second, held_pixels(array)[1])


def test_collect_of_nothing_skips_what_needs_the_images(service, comfy):
    server = comfy(service)
    done = server.run(collect_graph(wait=False))
    assert isinstance(done["8"][0][0], comfy_standin.ExecutionBlocker)
    assert [kind for _, kind in server.calls] == ["CollectNode"]


def test_an_older_comfyui_is_told_in_words(service, comfy, monkeypatch):
    server = comfy(service)
    monkeypatch.setitem(sys.modules, "comfy_execution.graph", None)
    with pytest.raises(comfy_standin.NodeError, match="nothing to collect"):
        server.run(collect_graph(wait=False))


def test_interrupting_collect_loses_nothing(held, comfy, stack):
    array, latent = latent_dict(2)
    server = comfy(held)
    given(server, latent)
    server.run(submit_graph())
    end = run_in_thread(stack, server, collect_graph())
    held.fake.wait_requests(2)
    server.interrupt()
    assert isinstance(end()["error"], comfy_standin.Interrupted)
    held.gate.set()
    images = server.run(collect_graph())["8"][0]
    for image, expected in zip(images, held_pixels(array), strict=True):
        check_image(image, expected)


def test_what_a_restart_leaves_behind_is_collected(held, comfy):
    array, latent = latent_dict(2)
    server = comfy(held)
    given(server, latent)
    for one in server.run(submit_graph())["2"][0][0]:
        one.job.wait_accepted(PATIENCE_S)
    # ComfyUI ends; the next one knows nothing of it.
    server.service().disconnect()
    server.jobs().waiting.clear()
    held.gate.set()
    wait_ended(held, 2)
    server = comfy(held)
    found = collect_all(server, 2)
    by_pixels = sorted(found, key=lambda image: image.cpu().numpy().sum())
    expected = sorted(held_pixels(array), key=lambda pixels: (
        pixels.astype(np.float32) / 255).sum())
    for image, pixels in zip(by_pixels, expected, strict=True):
        check_image(image, pixels)


def test_interrupting_collect_keeps_what_a_restart_has_left(
        start_fake, start_daemon, stack, comfy):
    gate = threading.Event()
    stack.callback(gate.set)
    array, latent = latent_dict(2)
    fake = start_fake(then=unless(array[0], fakes.good, fakes.held(gate)))
    daemon = start_daemon(fake.section(parallel=2))
    server = comfy(daemon)
    given(server, {"samples": torch_of(array[:1])})
    server.run(submit_graph())["2"][0][0][0].job.wait_accepted(PATIENCE_S)
    server.service().disconnect()
    wait_ended(daemon, 1)
    server = comfy(daemon)
    queues = server.jobs().waiting
    given(server, {"samples": torch_of(array[1:])})
    server.run(submit_graph())
    end = run_in_thread(stack, server, collect_graph())
    fake.wait_requests(2)
    server.interrupt()
    assert isinstance(end()["error"], comfy_standin.Interrupted)
    gate.set()
    found = collect_all(server, 2)
    sums = sorted(float(image.cpu().numpy().sum()) for image in found)
    assert sums == sorted(float((pixels.astype(np.float32) / 255).sum())
                          for pixels in held_pixels(array))
    assert queues.tickets(("", "me")) == []


def test_a_job_that_failed_is_told_of_once_and_the_rest_stays(
        start_fake, start_daemon, comfy):
    array, latent = latent_dict(3)
    fake = start_fake(then=unless(array[1], fakes.status(400, "out of VRAM")))
    server = comfy(start_daemon(fake.section()))
    given(server, latent)
    jobs = [one.job for one in server.run(submit_graph())["2"][0][0]]
    for job in jobs:
        job.exception(PATIENCE_S)
    with pytest.raises(comfy_standin.NodeError, match="out of VRAM"):
        server.run(collect_graph())
    images = server.run(collect_graph())["8"][0]
    for image, i in zip(images, (0, 2), strict=True):
        check_image(image, held_pixels(array)[i])


def test_the_example_of_collecting_runs(service, comfy):
    array, latent = latent_dict(2)
    server = comfy(service)
    given(server, latent)
    server.run(submit_graph(name="comfyui"))
    server.run(comfy_standin.load_workflow("collect.json", server.nodes))
    files = sorted(server.hub.output_dir.rglob("*.png"))
    for path, pixels in zip(files, direct(service, "sd-v1", array),
                            strict=True):
        assert (samples.pixels_of(path.read_bytes()) == pixels).all()


# ---- saving ----


def test_pictures_are_saved_when_they_come_with_the_workflow(held, comfy):
    array, latent = latent_dict(2)
    server = comfy(held)
    given(server, latent)
    prompt = submit_graph(save="cats/kitten")
    workflow = {"nodes": [], "name": "Kätzchen"}
    server.run(prompt, {"workflow": workflow})
    assert list(server.hub.output_dir.rglob("*.png")) == []
    held.gate.set()
    server.wait_saved()
    names = sorted(server.hub.output_dir.rglob("*.png"))
    assert [str(path.relative_to(server.hub.output_dir)) for path in names] \
        == ["cats/kitten_00001_.png", "cats/kitten_00002_.png"]
    found = {samples.pixels_of(path.read_bytes()).tobytes()
             for path in names}
    assert found == {one[0].tobytes() for one in held_pixels(array)}
    for path in names:
        texts = Image.open(path).text
        assert json.loads(texts["prompt"]) == prompt
        assert json.loads(texts["workflow"]) == workflow
    assert server.jobs().waiting.tickets(("", "me")) == []


@pytest.mark.parametrize("how", ["switched off", "jpg", "too large"])
def test_pictures_without_a_workflow(service, comfy, caplog, how):
    _, latent = latent_dict()
    server = comfy(service)
    given(server, latent)
    inputs, extra = {}, {"workflow": "x" * 10}
    if how == "switched off":
        sys.modules["comfy.cli_args"].args.disable_metadata = True
    elif how == "jpg":
        inputs["format"] = "jpg"
    else:
        extra["workflow"] = "x" * 1000000
    server.run(submit_graph(save="kitten", **inputs), extra)
    server.wait_saved()
    path, = server.hub.output_dir.iterdir()
    image = Image.open(path)
    assert getattr(image, "text", {}) == {}
    assert image.format == ("JPEG" if how == "jpg" else "PNG")
    assert ("too large" in caplog.text) == (how == "too large")


def test_videos_are_saved_as_mp4_and_as_frames(service, comfy):
    latent = vae_latent("hunyuan-video", (1, 16, 2, 8, 8))
    server = comfy(service)
    given(server, {"samples": torch_of(latent)})
    server.run(submit_graph("hunyuan-video", "film", format="mp4"))
    server.wait_saved()
    path, = server.hub.output_dir.iterdir()
    assert path.name == "film_00001_.mp4"
    assert path.read_bytes()[4:8] == b"ftyp"
    server.run(submit_graph("hunyuan-video", "frame", format="png"))
    server.wait_saved()
    frames = sorted(server.hub.output_dir.glob("frame_*.png"))
    expected = direct(service, "hunyuan-video", latent)
    for frame, pixels in zip(frames, expected, strict=True):
        assert (samples.pixels_of(frame.read_bytes()) == pixels).all()
    server.cache.clear()
    server.run(submit_graph("hunyuan-video", format="png"))
    check_image(server.run(collect_graph())["8"][0][0], expected)


def test_an_mp4_cannot_be_collected_and_is_saved_instead(service, comfy):
    latent = vae_latent("hunyuan-video", (1, 16, 2, 8, 8))
    server = comfy(service)
    given(server, {"samples": torch_of(latent)})
    graph = submit_graph("hunyuan-video", format="mp4")
    with pytest.raises(comfy_standin.NodeError, match="Choose png"):
        server.run(collect_graph(graph))
    # It is still there for a collect by name, which has no image for it.
    server.run(collect_graph())
    server.wait_saved()
    path, = server.hub.output_dir.rglob("*.mp4")
    assert path.name == "collected_00001_.mp4"
    assert path.read_bytes()[4:8] == b"ftyp"
    assert server.jobs().waiting.tickets(("", "me")) == []


def test_what_cannot_be_saved_is_logged_and_stays(service, comfy, caplog):
    array, latent = latent_dict()
    server = comfy(service)
    given(server, latent)
    server.hub.output_dir.write_text("a file in the way")
    with caplog.at_level(logging.ERROR, "latentd"):
        server.run(submit_graph(save="kitten"))
        server.wait_saved()
    assert "was not saved" in caplog.text
    image, = server.run(collect_graph())["8"][0]
    check_image(image, direct(service, "sd-v1", array))


def test_a_failed_job_is_logged_by_save_and_forgotten(
        start_fake, start_daemon, comfy, caplog):
    fake = start_fake(then=fakes.status(400, "out of VRAM"))
    _, latent = latent_dict()
    server = comfy(start_daemon(fake.section()))
    given(server, latent)
    with caplog.at_level(logging.ERROR, "latentd"):
        server.run(submit_graph(save="kitten"))
        server.wait_saved()
    assert "out of VRAM" in caplog.text
    assert server.jobs().waiting.tickets(("", "me")) == []


# ---- what is refused ----


@pytest.mark.parametrize("inputs, words", [
    ({"name": "my images"}, "A-Z a-z 0-9"),
    ({"daemon": "localhost"}, "tcp://"),
    ({"format": "mp4"}, "makes images"),
    ({"format": "gif"}, "png, jpg, mp4"),
    ({"model": "hunyuan-video", "format": "jpg"}, "makes videos"),
    ({"model": "sd9"}, "there are sdxl"),
])
def test_wrong_inputs_are_found_before_anything_runs(
        service, comfy, inputs, words):
    server = comfy(service)
    with pytest.raises(comfy_standin.NodeError, match=words):
        server.run(submit_graph(**inputs))
    assert server.calls == []


@pytest.mark.parametrize("linked", ["model", "format", "name", "daemon"])
def test_what_another_node_gives_is_not_known_beforehand(
        service, comfy, linked):
    """ComfyUI passes None then."""
    kind = comfy(service).nodes["LatentdSubmit"]
    inputs = {"model": "sd-v1", "format": "png", "name": "me", "daemon": "",
              linked: None}
    assert kind.VALIDATE_INPUTS(**inputs) is True


def test_results_that_nobody_fetches_are_bounded(held, comfy, monkeypatch):
    _, latent = latent_dict(2)
    server = comfy(held)
    monkeypatch.setattr(server.jobs(), "WAITING_MAX", 3)
    given(server, latent)
    server.run(submit_graph())
    server.cache.clear()
    with pytest.raises(comfy_standin.NodeError, match="Collect Images"):
        server.run(submit_graph())
    held.gate.set()
    assert len(server.run(collect_graph())["8"][0]) == 2


def test_interrupt_ends_a_submit_that_waits_for_room(
        held, comfy, stack, monkeypatch):
    """What was submitted before stays and can be collected."""
    connect = latentd.connect
    monkeypatch.setattr(latentd, "connect", lambda *args, **keys: connect(
        *args, **{**keys, "max_jobs": 1}))
    array, latent = latent_dict(2)
    server = comfy(held)
    given(server, latent)
    end = run_in_thread(stack, server, submit_graph())
    held.fake.wait_requests(1)
    server.interrupt()
    assert isinstance(end()["error"], comfy_standin.Interrupted)
    held.gate.set()
    image, = server.run(collect_graph())["8"][0]
    check_image(image, held_pixels(array)[0])
