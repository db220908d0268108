# SPDX-License-Identifier: Apache-2.0
"""The nodes for ComfyUI, in graphs, against a daemon and an endpoint."""

import os
import sys
import threading
import tomllib

import numpy as np
import pytest
from PIL import Image

import comfy_standin
import fakes
import latentd
import processes
import samples
import tiny_torch
from arrays import latent_of
from order import wait_ended

PATIENCE_S = 60


@pytest.fixture
def comfy(tmp_path, stack, monkeypatch):
    """comfy(daemon): a ComfyUI whose nodes find that daemon."""

    def start(daemon=None, url=None):
        where = daemon.url if daemon else url
        monkeypatch.setenv("LATENTD_URL", where)
        server = comfy_standin.Comfy(tmp_path / "output")
        stack.callback(server.close)
        return server

    return start


def torch_of(array):
    return tiny_torch.install().from_numpy(array)


def given(comfy, latent=None, image=None):
    """Lay down what the graphs' first node gives."""
    comfy.nodes["GivenLATENT"].values["it"] = latent
    comfy.nodes["GivenIMAGE"].values["it"] = image


def wait_file(comfy, pattern):
    """The one file of that name, once it is complete."""
    comfy.wait_saved()
    path, = comfy.hub.output_dir.rglob(pattern)
    return path


def decode_graph(model, **inputs):
    return {
        "1": {"class_type": "GivenLATENT", "inputs": {"what": "it"}},
        "2": {"class_type": "LatentdDecode",
              "inputs": {"samples": ["1", 0], "model": model, **inputs}},
        "3": {"class_type": "SinkIMAGE", "inputs": {"value": ["2", 0]}},
    }


def vae_graph(model, node="VAEDecode", **inputs):
    return {
        "1": {"class_type": "GivenLATENT", "inputs": {"what": "it"}},
        "4": {"class_type": "LatentdVAE", "inputs": {
            "model": model, **inputs}},
        "2": {"class_type": node,
              "inputs": {"samples": ["1", 0], "vae": ["4", 0]}},
        "3": {"class_type": "SinkIMAGE", "inputs": {"value": ["2", 0]}},
    }


def vae_latent(model, shape, seed=0):
    """float32 in VAE space, as LATENT has it."""
    table = latentd.MODELS[model]
    values = np.random.default_rng(seed).normal(size=shape)
    return (values / table.scaling_factor + (table.shift_factor or 0)).astype(
        np.float32)


def direct(service, model, latent):
    """What the endpoint makes of it when asked directly, [N,H,W,3]."""
    return samples.direct_pixels(
        service.endpoint, latent_of(latent, model), space="vae")


def check_image(image, expected):
    """An IMAGE, and the pixels that it must be."""
    array = image.cpu().numpy()
    assert array.dtype == np.float32
    assert array.shape == expected.shape
    assert (array == expected.astype(np.float32) / 255).all()


SHAPES = {"sd-v1": (1, 4, 8, 8), "sdxl": (2, 4, 8, 16), "flux": (1, 16, 8, 8)}


@pytest.mark.parametrize("model", SHAPES)
@pytest.mark.parametrize("graph", [
    decode_graph, vae_graph,
    lambda model: vae_graph(model, "VAEDecodeTiled")])
def test_pixels_are_those_of_the_endpoint(service, comfy, model, graph):
    latent = vae_latent(model, SHAPES[model])
    server = comfy(service)
    given(server, {"samples": torch_of(latent)})
    done = server.run(graph(model))
    check_image(done["2"][0][0], direct(service, model, latent))


def test_sixteen_bits_are_the_endpoints_floats(service, comfy):
    latent = vae_latent("sdxl", (2, 4, 8, 8))
    server = comfy(service)
    given(server, {"samples": torch_of(latent)})
    done = server.run(decode_graph("sdxl", precision="16 bit"))
    z = latent_of(latent, "sdxl")
    reply = samples.direct(service.endpoint, z, space="vae",
                           output_type="pt", partial_postprocess="False")
    floats = np.frombuffer(reply.content, np.float16).reshape(2, 3, 64, 64)
    expected = np.moveaxis(floats.astype(np.float32), 1, -1) / 2 + 0.5
    found = done["2"][0][0].cpu().numpy()
    assert found.dtype == np.float32 and found.shape == (2, 64, 64, 3)
    assert (found == expected.clip(0, 1)).all()
    assert len(np.unique(found)) > 256


def test_a_video_is_its_frames(service, comfy):
    latent = vae_latent("hunyuan-video", (1, 16, 2, 8, 8))
    server = comfy(service)
    given(server, {"samples": torch_of(latent)})
    expected = direct(service, "hunyuan-video", latent)
    assert expected.shape == (5, 64, 64, 3)
    for graph in (decode_graph("hunyuan-video"), vae_graph("hunyuan-video")):
        check_image(server.run(graph)["2"][0][0], expected)
    vae = server.nodes["LatentdVAE"]().load("hunyuan-video")[0]
    assert vae.decode(torch_of(latent)).shape == (1, 5, 64, 64, 3)
    assert vae.decode(torch_of(latent[:, :, 0])).shape == (1, 1, 64, 64, 3)


def test_an_image_model_takes_the_first_frame_of_a_video_latent(
        service, comfy):
    latent = vae_latent("flux", (1, 16, 1, 8, 8))
    server = comfy(service)
    given(server, {"samples": torch_of(latent)})
    done = server.run(decode_graph("flux"))
    check_image(done["2"][0][0], direct(service, "flux", latent[:, :, 0]))


def test_a_latent_that_is_not_contiguous_is_sent_right(service, comfy):
    latent = vae_latent("sd-v1", (1, 4, 16, 8))
    server = comfy(service)
    turned = torch_of(latent).movedim(-1, -2)
    given(server, {"samples": turned})
    done = server.run(decode_graph("sd-v1"))
    check_image(done["2"][0][0], direct(
        service, "sd-v1", np.ascontiguousarray(np.moveaxis(latent, -1, -2))))


def encode_graph(model, through=None):
    graph = {
        "1": {"class_type": "GivenIMAGE", "inputs": {"what": "it"}},
        "2": {"class_type": "LatentdEncode",
              "inputs": {"pixels": ["1", 0], "model": model}},
        "3": {"class_type": "SinkLATENT", "inputs": {"value": ["2", 0]}},
    }
    if through:
        graph["4"] = {"class_type": "LatentdVAE", "inputs": {"model": model}}
        graph["2"] = {"class_type": through, "inputs": {
            "pixels": ["1", 0], "vae": ["4", 0]}}
    return graph


@pytest.mark.parametrize("through", [None, "VAEEncode", "VAEEncodeTiled"])
@pytest.mark.parametrize("model", ["sd-v1", "flux"])
def test_images_come_back_through_their_latents(
        service, comfy, model, through):
    pictures = np.stack([samples.picture(64, 64, i) for i in range(2)])
    server = comfy(service)
    given(server, image=torch_of(pictures.astype(np.float32) / 255))
    done = server.run(encode_graph(model, through))
    latent = done["2"][0][0]
    found = latent["samples"].cpu().numpy()
    channels = latentd.MODELS[model].channels
    assert list(latent) == ["samples"]
    assert found.dtype == np.float32 and found.shape == (2, channels, 8, 8)
    given(server, latent)
    back = server.run(decode_graph(model))["2"][0][0].cpu().numpy()

    def coarse(images):
        return images.reshape(2, 8, 8, 8, 8, 3).mean((2, 4))

    assert abs(coarse(back) - coarse(pictures / 255)).mean() < 0.03


def test_encode_crops_from_the_middle_and_drops_alpha(service, comfy):
    picture = np.random.default_rng(1).random((1, 70, 67, 4), np.float32)
    server = comfy(service)
    given(server, image=torch_of(picture))
    odd = server.run(encode_graph("sd-v1"))["2"][0][0]["samples"]
    given(server, image=torch_of(
        np.ascontiguousarray(picture[:, 3:67, 1:65, :3])))
    server.cache.clear()
    even = server.run(encode_graph("sd-v1"))["2"][0][0]["samples"]
    assert (odd.cpu().numpy() == even.cpu().numpy()).all()
    vae = server.nodes["LatentdVAE"]().load("sd-v1")[0]
    cropped = vae.vae_encode_crop_pixels(torch_of(picture)).numpy()
    assert (cropped == picture[:, 3:67, 1:65]).all()


def test_frames_are_encoded_as_one_video(service, comfy):
    frames = np.stack([samples.picture(64, 64, i) for i in range(7)])
    server = comfy(service)
    given(server, image=torch_of(frames.astype(np.float32) / 255))
    latent = server.run(encode_graph("hunyuan-video"))["2"][0][0]["samples"]
    # 5 of 7 frames are as many as make a whole number of latent frames.
    assert tuple(latent.shape) == (1, 16, 2, 8, 8)


def test_the_vae_answers_as_comfys_does(service, comfy):
    server = comfy(service)
    image, video = (
        server.nodes["LatentdVAE"]().load(model)[0]
        for model in ("flux", "hunyuan-video"))
    assert (image.spacial_compression_decode(),
            image.spacial_compression_encode(),
            image.temporal_compression_decode(), image.latent_channels,
            image.latent_dim, image.upscale_ratio) == (8, 8, None, 16, 2, 8)
    assert (video.temporal_compression_decode(), video.latent_dim) == (4, 3)
    assert video.upscale_ratio[0](3) == 9 and video.upscale_ratio[1:] == (8, 8)
    assert video.downscale_ratio[0](9) == 3
    image.throw_exception_if_invalid()
    assert image.model_size() == 0 and not image.is_dynamic()
    half = image.process_input(torch_of(np.full((1,), 0.75, np.float32)))
    assert half.numpy() == 0.5
    assert image.process_output(half * 4).numpy() == 1
    with pytest.raises(RuntimeError, match="no weights"):
        image.get_sd()


def test_the_progress_bar_ends_full_and_never_goes_back(service, comfy):
    server = comfy(service)
    given(server, {"samples": torch_of(vae_latent("sdxl", (3, 4, 8, 8)))})
    server.run(decode_graph("sdxl"))
    bar, = server.hub.bars
    assert bar.values == sorted(bar.values)
    assert bar.values[-1] == bar.total == 300


# ---- interrupt, and several graphs ----


def run_in_thread(stack, server, prompt):
    """.join() gives what came of it."""
    ended = {}

    def work():
        try:
            ended["outputs"] = server.run(prompt)
        except BaseException as error:
            ended["error"] = error

    thread = threading.Thread(target=work)
    thread.start()
    stack.callback(thread.join)

    def end():
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        return ended

    return end


@pytest.mark.parametrize("graph", [decode_graph, vae_graph])
def test_interrupt_ends_a_decode_and_cancels_it_at_the_daemon(
        held, comfy, stack, graph):
    server = comfy(held)
    given(server, {"samples": torch_of(vae_latent("sd-v1", (3, 4, 8, 8)))})
    end = run_in_thread(stack, server, graph("sd-v1"))
    held.fake.wait_requests(3)
    server.interrupt()
    assert isinstance(end()["error"], comfy_standin.Interrupted)
    assert {e.outcome for e in wait_ended(held, 3)} == {"cancelled"}
    held.gate.set()
    # The next graph is none the worse.
    server.run(graph("sd-v1"))


def test_interrupt_ends_a_decode_whose_daemon_is_gone(held, comfy, stack):
    server = comfy(held)
    given(server, {"samples": torch_of(vae_latent("sd-v1", (1, 4, 8, 8)))})
    end = run_in_thread(stack, server, decode_graph("sd-v1"))
    held.fake.wait_requests(1)
    held.gate.set()
    held.kill()
    server.interrupt()
    assert isinstance(end()["error"], comfy_standin.Interrupted)


def test_two_graphs_at_once_get_their_own_pixels(service, comfy, stack):
    server = comfy(service)
    latents = {str(i): vae_latent("sdxl", (4, 4, 8, 8), i) for i in range(2)}
    ends = {}
    for name, latent in latents.items():
        server.nodes["GivenLATENT"].values[name] = {
            "samples": torch_of(latent)}
        graph = decode_graph("sdxl")
        graph["1"]["inputs"]["what"] = name
        ends[name] = run_in_thread(stack, server, graph)
    for name, end in ends.items():
        check_image(end()["outputs"]["2"][0][0],
                    direct(service, "sdxl", latents[name]))


# ---- what goes wrong ----


def test_a_missing_daemon_is_explained(comfy, short_tmp, monkeypatch):
    server = comfy(url=f"ipc://{short_tmp}/none.sock")
    connect = latentd.connect
    monkeypatch.setattr(latentd, "connect", lambda *args, **keys: connect(
        *args, **{**keys, "timeout": 0.1}))
    given(server, {"samples": torch_of(vae_latent("sd-v1", (1, 4, 8, 8)))})
    with pytest.raises(comfy_standin.NodeError) as caught:
        server.run(decode_graph("sd-v1"))
    assert caught.value.node_id == "2" and caught.value.kind == "RemoteError"
    for words in ("no daemon answers", "none.sock", "systemctl start latentd",
                  "\"daemon\" field"):
        assert words in caught.value.message
    vae = server.nodes["LatentdVAE"]().load("sd-v1")[0]
    with pytest.raises(RuntimeError, match="no daemon answers"):
        vae.throw_exception_if_invalid()


@pytest.mark.parametrize("model, shape, words", [
    ("flux", (1, 4, 8, 8), ["[1, 4, 8, 8]", "[N,16,h,w]", "flux"]),
    ("sdxl", (1, 16, 8, 8), ["[1, 16, 8, 8]", "[N,4,h,w]"]),
    ("sdxl", (4, 8, 8), ["[4, 8, 8]"]),
])
def test_a_latent_of_another_model_is_explained(
        service, comfy, model, shape, words):
    server = comfy(service)
    given(server, {"samples": torch_of(np.zeros(shape, np.float32))})
    with pytest.raises(comfy_standin.NodeError) as caught:
        server.run(decode_graph(model))
    for word in words:
        assert word in caught.value.message


def test_a_model_without_endpoint_is_explained(held, comfy):
    server = comfy(held)
    given(server, {"samples": torch_of(vae_latent("flux", (1, 16, 8, 8)))})
    with pytest.raises(comfy_standin.NodeError, match="latentctl status"):
        server.run(decode_graph("flux"))


def test_an_endpoints_error_reaches_the_window(
        start_fake, start_daemon, comfy):
    fake = start_fake(then=fakes.status(400, "out of VRAM"))
    server = comfy(start_daemon(fake.section()))
    given(server, {"samples": torch_of(vae_latent("sd-v1", (2, 4, 8, 8)))})
    with pytest.raises(comfy_standin.NodeError, match="out of VRAM"):
        server.run(decode_graph("sd-v1"))


def test_an_image_that_is_too_small_is_explained(service, comfy):
    server = comfy(service)
    given(server, image=torch_of(np.zeros((1, 4, 64, 3), np.float32)))
    with pytest.raises(comfy_standin.NodeError, match="at least 8"):
        server.run(encode_graph("sd-v1"))


@pytest.mark.parametrize("inputs, words", [
    ({"daemon": "renderbox"}, "tcp://renderbox:8376"),
    ({"model": "sd9"}, "Value not in list"),
    ({"precision": "32 bit"}, "Value not in list"),
])
def test_wrong_inputs_are_found_before_anything_runs(
        service, comfy, inputs, words):
    server = comfy(service)
    with pytest.raises(comfy_standin.NodeError, match=words):
        server.run(decode_graph(**{"model": "sdxl", **inputs}))
    assert server.calls == []


def test_without_the_package_it_is_named(comfy, service, monkeypatch):
    server = comfy(service)
    module = server.service()
    monkeypatch.setitem(sys.modules, "latentd", None)
    monkeypatch.setattr(module, "__file__", "/nowhere/else/service.py")
    with pytest.raises(module.RemoteError, match="pip install"):
        module.connect()


def test_in_the_source_tree_the_package_is_found(tmp_path):
    tests = processes.SOURCE_DIR / "tests"
    done = processes.run(sys.executable, "-c", f"""
import comfy_standin
server = comfy_standin.Comfy({str(tmp_path)!r})
print(server.service().package().__file__)
""", env={"PYTHONPATH": ":".join(
        [f"{tests}/python", f"{tests}/support"] +
        os.environ.get("PYTHONPATH", "").split(":"))}, check=0)
    assert done.stdout.decode().strip() == str(
        processes.SOURCE_DIR / "client/python/latentd/__init__.py")


# ---- the package ----


def test_every_node_says_what_it_is(service, comfy):
    server = comfy(service)
    package = server.package
    assert set(package.NODE_CLASS_MAPPINGS) == \
        set(package.NODE_DISPLAY_NAME_MAPPINGS)
    for name, kind in package.NODE_CLASS_MAPPINGS.items():
        assert kind.CATEGORY == "latentd" and kind.DESCRIPTION
        assert callable(getattr(kind, kind.FUNCTION))
        assert len(kind.RETURN_TYPES) == len(
            getattr(kind, "OUTPUT_TOOLTIPS", ()))
        for said in comfy_standin.inputs_of(kind).values():
            assert said[1]["tooltip"], name
    assert set(server.service().MODELS) == set(latentd.MODELS)


def test_no_diffusers_is_imported(script, tmp_path):
    done = script(f"""
import sys
sys.path[:0] = [{str(processes.SOURCE_DIR / "tests")!r} + name
                for name in ("/python", "/support")]
import comfy_standin
comfy_standin.Comfy({str(tmp_path)!r})
print(sorted({{name.partition(".")[0] for name in sys.modules}} &
             {{"diffusers", "transformers", "requests"}}))
""", check=0)
    assert done.stdout == b"[]\n"


def test_it_can_be_installed_by_comfys_manager():
    table = tomllib.loads(
        (comfy_standin.PACKAGE / "pyproject.toml").read_text())
    assert set(table["tool"]["comfy"]) >= {"PublisherId", "DisplayName",
                                           "Icon"}
    assert table["project"]["name"] == "comfyui-latentd"
    assert table["project"]["version"] == latentd.__version__
    assert table["project"]["license"]


@pytest.mark.parametrize("name", [
    "decode.json", "vae.json", "submit_and_save.json"])
def test_the_example_workflows_run(service, comfy, name):
    server = comfy(service)
    server.run(comfy_standin.load_workflow(name, server.nodes))
    path = wait_file(server, "*.png")
    assert Image.open(path).size == (1024, 1024)
