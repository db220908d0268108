# SPDX-License-Identifier: Apache-2.0
"""latentd.diffusers: pipelines that give latents, previews, examples."""

import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import fakes
import latentd
import processes
import samples
import tiny_torch
from arrays import latent_of
from latentd.diffusers import StepPreview, model_of, stream, submit

PATIENCE_S = 60
EXAMPLES = processes.SOURCE_DIR / "examples/python"
SHAPES = {"sd-v1": (1, 4, 8, 8), "sdxl": (2, 4, 8, 16),
          "flux": (1, 16, 8, 8), "hunyuan-video": (1, 16, 2, 8, 8)}


def vae(name="AutoencoderKL", **config):
    """As diffusers': config is attributes, or a mapping."""
    return type(name, (), {"config": SimpleNamespace(**config)})()


def vae_of(model):
    table = latentd.MODELS[model]
    name = "AutoencoderKLHunyuanVideo" if table.temporal else "AutoencoderKL"
    return vae(name, scaling_factor=table.scaling_factor,
               shift_factor=table.shift_factor,
               latent_channels=table.channels)


class Pipeline:
    """Gives the latents of its list in turn; counts its calls."""

    def __init__(self, latents, model="sd-v1", packed=False, steps=0):
        self.latents, self.calls, self.steps = latents, [], steps
        self.vae = vae_of(model)
        self.packed = packed

    def __call__(self, prompt=None, callback_on_step_end=None, **keys):
        self.calls.append({"prompt": prompt, **keys})
        latents = self.latents[len(self.calls) - 1]
        if isinstance(latents, Exception):
            raise latents
        for step in range(self.steps):
            said = callback_on_step_end(self, step, 1000 - step,
                                        {"latents": latents})
            latents = said.pop("latents", latents)
        return SimpleNamespace(images=latents)


def latents(n, model="sd-v1"):
    return [np.random.default_rng(i).normal(size=SHAPES[model]).astype(
        np.float16) for i in range(n)]


def direct(service, z, model="sd-v1", **fields):
    return samples.direct_pixels(service.endpoint,
                                 latent_of(z, model, **fields))


def unless(z, step, then=fakes.good):
    """then, but `step` for the latent z: jobs may overtake each other."""
    def either(exchange):
        mine = exchange.request.body == z.tobytes()
        (step if mine else then)(exchange)
    return either


PIXELS = {"decode": {"output": "pixels"}}


# ---- which model, which size ----


@pytest.mark.parametrize("model", latentd.MODELS)
def test_the_model_is_read_from_the_vae(model):
    assert model_of(SimpleNamespace(vae=vae_of(model))) == model
    config = dict(vars(vae_of(model).config))
    mapped = type(vae_of(model))()
    mapped.config = config
    assert model_of(SimpleNamespace(vae=mapped)) == model


@pytest.mark.parametrize("name, model", [
    ("StableDiffusionPipeline", "sd-v1"),
    ("StableDiffusionXLImg2ImgPipeline", "sdxl"),
    ("FluxPipeline", "flux"), ("FluxInpaintPipeline", "flux"),
    ("HunyuanVideoPipeline", "hunyuan-video"),
    ("PixArtSigmaPipeline", "sdxl"),
])
def test_without_a_vae_it_is_read_from_the_class(name, model):
    assert model_of(type(name, (), {"vae": None})()) == model
    # A subclass of one's own is still that pipeline.
    base = type(name, (), {})
    assert model_of(type("Mine", (base,), {})()) == model


@pytest.mark.parametrize("pipe, word", [
    (SimpleNamespace(vae=vae(scaling_factor=1.5305, shift_factor=0.0609,
                             latent_channels=16)), "1.5305"),
    (SimpleNamespace(vae=vae("AutoencoderKLWan")), "AutoencoderKLWan"),
    (SimpleNamespace(vae=vae(scaling_factor=0.13025, latent_channels=4,
                             latents_mean=[0.1] * 4)), "latents_mean"),
    (type("StableDiffusion3Pipeline", (), {})(), "StableDiffusion3Pipeline"),
    (type("Flux2Pipeline", (), {})(), "model="),
    (object(), "sdxl"),
])
def test_a_pipeline_of_no_known_model_is_refused(pipe, word):
    with pytest.raises(latentd.ModelError, match=word):
        model_of(pipe)


@pytest.mark.parametrize("model", latentd.MODELS)
def test_latents_of_every_model_become_their_pixels(service, connect, model):
    z, = latents(1, model)
    pipe = Pipeline([z], model)
    found = list(stream(connect(service), pipe, ["a cat"], **PIXELS))
    expected = direct(service, z, model)
    if model == "hunyuan-video":
        expected = expected[None]
    assert len(found) == len(expected)
    for one, pixels in zip(found, expected):
        assert (one.numpy() == pixels).all()
    assert pipe.calls == [{"prompt": "a cat", "output_type": "latent"}]


@pytest.mark.parametrize("where", ["call", "shared", "default"])
def test_packed_latents_get_the_size_of_the_call(service, connect, where):
    # 100 x 128 is made as 96 x 128.
    height, width = (128, 128) if where == "default" else (100, 128)
    packed = samples.latent("flux", height // 16 * 2, 16, packed=True)
    z = np.frombuffer(packed.data, np.float16).reshape(
        packed.fields["shape"])
    pipe = Pipeline([z], "flux")
    call, shared = {"prompt": "a cat"}, {}
    if where == "default":
        pipe.default_sample_size, pipe.vae_scale_factor = 16, 8
    else:
        (call if where == "call" else shared).update(
            height=height, width=width)
    job = submit(connect(service), pipe, call, **PIXELS, **shared)
    found = job.result(PATIENCE_S).numpy()
    assert (found == samples.direct_pixels(service.endpoint, packed)).all()


def test_packed_latents_without_a_size_are_refused(service, connect):
    z = np.zeros((1, 96, 64), np.float16)
    for keys in ({}, {"height": 128, "width": 128}):
        with pytest.raises(latentd.ShapeError, match="height and width"):
            submit(connect(service), Pipeline([z], "flux"), "a cat", **keys)


@pytest.mark.parametrize("wrap", [
    lambda z: (z, None), lambda z: SimpleNamespace(frames=z), lambda z: z])
def test_latents_are_found_in_every_form_of_output(service, connect, wrap):
    z, = latents(1)

    def pipe(**keys):
        return wrap(z)

    job = submit(connect(service), pipe, "a cat", model="sd-v1", **PIXELS)
    assert (job.result(PATIENCE_S).numpy() == direct(service, z)[0]).all()


# ---- a stream ----


def test_pictures_come_in_order_whoever_is_first(
        start_fake, start_daemon, connect):
    gates = [threading.Event() for _ in range(3)]
    fake = start_fake(*[fakes.held(gate) for gate in gates])
    client = connect(start_daemon(fake.section(parallel=3)))
    z = latents(3)
    pipe = Pipeline(z)
    pictures = stream(client, pipe, ["a", "b", "c"], **PIXELS)
    found = []
    reader = threading.Thread(target=lambda: found.extend(
        one.numpy() for one in pictures))
    reader.start()
    fake.wait_requests(3)
    for gate in reversed(gates):
        gate.set()
    reader.join(PATIENCE_S)
    for array, one in zip(found, z, strict=True):
        assert (array == fakes.fake_pixels(one.tobytes(), 1, 64, 64)[0]).all()


def test_the_pipeline_runs_no_further_ahead_than_told(held, connect):
    pipe = Pipeline(latents(9))
    pictures = stream(connect(held), pipe, [str(i) for i in range(9)],
                      ahead=3, **PIXELS)
    assert pipe.calls == []
    reader = threading.Thread(target=lambda: next(pictures))
    reader.start()
    held.fake.wait_requests(3)
    assert len(pipe.calls) == 3
    held.gate.set()
    reader.join(PATIENCE_S)
    pictures.close()
    assert len(pipe.calls) <= 4


def test_several_pictures_of_one_call_come_one_by_one(service, connect):
    z = np.concatenate(latents(3))
    pictures = list(stream(connect(service), Pipeline([z]), [
        {"prompt": "a cat", "num_images_per_prompt": 3}], **PIXELS))
    for found, expected in zip(pictures, direct(service, z), strict=True):
        assert (found.numpy() == expected).all()


def test_an_error_of_the_pipeline_comes_after_what_is_finished(
        service, connect):
    pipe = Pipeline([*latents(2), MemoryError("out of memory"), *latents(1)])
    pictures = stream(connect(service), pipe, "abcd", **PIXELS)
    assert [next(pictures).width for _ in range(2)] == [64, 64]
    with pytest.raises(MemoryError, match="out of memory"):
        next(pictures)
    assert len(pipe.calls) == 3


def test_a_job_that_fails_raises_at_its_turn_and_cancels_the_rest(
        start_fake, start_daemon, connect, stack):
    gate = threading.Event()
    stack.callback(gate.set)
    z = latents(4)
    fake = start_fake(then=unless(z[0], fakes.good, unless(
        z[1], fakes.status(400, "no"), fakes.held(gate))))
    client = connect(start_daemon(fake.section(parallel=4)))
    pictures = stream(client, Pipeline(z), "abcd", **PIXELS)
    assert next(pictures).width == 64
    with pytest.raises(latentd.LatentdError, match="no"):
        next(pictures)
    assert client.pending() == []


def test_errors_can_come_in_the_place_of_their_picture(
        start_fake, start_daemon, connect):
    z = latents(3)
    fake = start_fake(then=unless(z[1], fakes.status(400, "no")))
    client = connect(start_daemon(fake.section()))
    found = list(stream(client, Pipeline(z), "abc", errors="yield",
                        **PIXELS))
    assert [isinstance(one, latentd.LatentdError) for one in found] == \
        [False, True, False]


def test_a_stream_that_is_left_early_cancels_what_is_in_flight(
        held, connect):
    client = connect(held)
    pictures = stream(client, Pipeline(latents(3)), "abc", ahead=3)
    reader = threading.Thread(target=lambda: next(pictures, None))
    reader.start()
    held.fake.wait_requests(3)
    held.gate.set()
    reader.join(PATIENCE_S)
    held.gate.clear()
    pictures.close()
    assert client.pending() == []


@pytest.mark.parametrize("keys, error", [
    ({"ahead": 0}, latentd.InvalidError),
    ({"errors": "ignore"}, latentd.InvalidError),
    ({"model": "sd9"}, latentd.ModelError),
    ({"output_type": "pil"}, latentd.InvalidError),
    ({"calls": [3]}, TypeError),
])
def test_wrong_arguments_are_refused_before_the_pipeline_runs(
        service, connect, keys, error):
    pipe = Pipeline(latents(1))
    with pytest.raises(error):
        list(stream(connect(service), pipe, **{"calls": ["a"], **keys}))
    assert pipe.calls == []


# ---- previews ----


def test_previews_are_the_pixels_of_their_step(service, connect):
    z, = latents(1)
    shown = []
    with StepPreview(connect(service), every=4, on_preview=shown.append,
                     output="pixels") as previews:
        pipe = Pipeline([z], steps=4)
        pipe(callback_on_step_end=previews)
        assert previews.wait(PATIENCE_S)
    one, = shown
    assert (one.step, one.timestep) == (3, 997)
    assert previews.latest is one and previews.error is None
    assert (one.result.numpy() == direct(service, z)[0]).all()


def test_the_sampler_never_waits_and_later_steps_are_dropped(held, connect):
    z, = latents(1)
    before = z.copy()
    previews = StepPreview(connect(held), every=1)
    pipe = Pipeline([z], steps=1)
    pipe(callback_on_step_end=previews)
    held.fake.wait_requests(1)
    # Its thread may hear later than the endpoint.
    processes.wait_until(lambda: previews.sent == 1, "it is counted")
    # The first is held at the endpoint; a callback that waited would not end.
    for step in range(1, 20):
        kwargs = {"latents": z, "prompt_embeds": None}
        assert previews(pipe, step, 0, kwargs) is kwargs
    assert (previews.sent, previews.dropped) == (1, 19)
    z[:] = 0  # the sampler goes on writing
    held.gate.set()
    assert previews.wait(PATIENCE_S)
    assert held.fake.requests[0].body == before.tobytes()
    previews(pipe, 20, 0, {"latents": before})
    assert previews.wait(PATIENCE_S)
    assert previews.sent == 2
    previews.close()


def test_nothing_is_sent_until_it_is_asked_for(service, connect):
    z, = latents(1)
    with StepPreview(connect(service), output="pixels") as previews:
        pipe = Pipeline([z, z], steps=3)
        pipe(callback_on_step_end=previews)
        assert previews.sent == 0 and previews.latest is None
        previews.ask()
        pipe(callback_on_step_end=previews)
        assert previews.wait(PATIENCE_S)
        assert previews.sent == 1 and previews.latest.step == 0


def test_previews_are_a_stream_for_another_thread(service, connect):
    z, = latents(1)
    previews = StepPreview(connect(service), every=1)
    seen = []
    reader = threading.Thread(
        target=lambda: seen.extend(one.step for one in previews))
    reader.start()
    pipe = Pipeline([z])
    for step in range(3):
        previews(pipe, step, 0, {"latents": z})
        assert previews.wait(PATIENCE_S)
    previews.close()
    reader.join(PATIENCE_S)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("kwargs, match", [
    ({"latents": np.zeros((1, 3, 8, 8), np.float16)}, "does not fit sd-v1"),
    ({"noise_pred": None}, "callback_on_step_end_tensor_inputs"),
    ({"latents": "none"}, "no preview"),
])
def test_an_error_is_a_warning_and_never_the_samplers(
        service, connect, kwargs, match):
    previews = StepPreview(connect(service), every=1)
    pipe = Pipeline([])
    with pytest.warns(RuntimeWarning, match=match):
        assert previews(pipe, 0, 0, kwargs) is kwargs
        assert previews.wait(PATIENCE_S)
        previews.close()
    assert previews.error is not None


def test_close_cancels_the_preview_on_its_way(held, connect):
    client = connect(held)
    previews = StepPreview(client, every=1)
    previews(Pipeline([]), 0, 0, {"latents": latents(1)[0]})
    held.fake.wait_requests(1)
    processes.wait_until(lambda: previews.sent == 1, "it is counted")
    previews.close()
    assert client.pending() == [] and previews.error is None
    kwargs = {"latents": latents(1)[0]}
    assert previews(Pipeline([]), 1, 0, kwargs) is kwargs
    assert (previews.sent, previews.dropped) == (1, 0)


def test_packed_steps_use_the_pipelines_default_size(service, connect):
    packed = samples.latent("flux", 16, 16, packed=True)
    z = np.frombuffer(packed.data, np.float16).reshape(
        packed.fields["shape"])
    pipe = Pipeline([z], "flux", steps=1)
    pipe.default_sample_size = 16
    with StepPreview(connect(service), every=1, output="pixels") as previews:
        pipe(callback_on_step_end=previews)
    assert (previews.latest.result.numpy() == samples.direct_pixels(
        service.endpoint, packed)[0]).all()


def test_torch_tensors_are_taken_and_copied(service, connect):
    torch = tiny_torch.install()
    z, = latents(1)
    tensor = torch.from_numpy(z.copy())
    client = connect(service)
    try:
        with StepPreview(client, every=1, output="pixels") as previews:
            Pipeline([tensor], steps=1)(callback_on_step_end=previews)
        found, = stream(client, Pipeline([tensor]), ["a"], **PIXELS)
    finally:
        tiny_torch.remove()
    expected = direct(service, z)[0]
    assert (previews.latest.result.numpy() == expected).all()
    assert (found.numpy() == expected).all()


# ---- the package, and the examples ----


def test_diffusers_is_neither_imported_nor_needed(service, script):
    done = script("""
import sys
sys.modules["diffusers"] = None
import numpy as np, latentd
from latentd.diffusers import stream
pipe = lambda **keys: (np.zeros((1, 4, 8, 8), np.float16),)
with latentd.connect() as client:
    for one in stream(client, pipe, ["a"], model="sdxl"):
        print(one.width, "torch" in sys.modules)
""", service, check=0)
    assert done.stdout == b"64 False\n"


def run_example(script, service, name, cwd):
    return script((EXAMPLES / name).read_text(), service, cwd=cwd, env={
        "PYTHONPATH": f"{processes.SOURCE_DIR}/client/python:{EXAMPLES}",
    }, check=0)


def test_the_queuing_example_makes_its_pictures(service, script, tmp_path):
    done = run_example(script, service, "queuing.py", tmp_path)
    assert done.stderr == b""
    names = [f"kitten-{i}.png" for i in range(4)]
    assert done.stdout.decode().split() == names
    pictures = [Image.open(tmp_path / name) for name in names]
    assert {one.size for one in pictures} == {(512, 512)}
    assert len({one.tobytes() for one in pictures}) == 4


def test_the_preview_example_shows_steps(service, script, tmp_path):
    done = run_example(script, service, "previews.py", tmp_path)
    assert done.stderr == b""
    steps = sorted(tmp_path.glob("step-*.jpg"))
    assert f"{len(steps)} previews" in done.stdout.decode()
    assert steps and (tmp_path / "kitten.png").exists()


def test_the_notebook_runs(service, script, tmp_path):
    book = json.loads((EXAMPLES / "queuing.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in book["cells"]
             if cell["cell_type"] == "code"]
    (tmp_path / "cells.py").write_text("\n".join(cells) + """
print(job.result().width, [one.height for one in pictures],
      previews.latest.step >= 4)
""")
    done = script(f"exec(open({str(tmp_path / 'cells.py')!r}).read())",
                  service, cwd=tmp_path, env={
        "PYTHONPATH": f"{processes.SOURCE_DIR}/client/python:{EXAMPLES}",
    }, check=0)
    assert done.stderr == b""
    assert done.stdout == b"512 [512, 512, 512] True\n"
