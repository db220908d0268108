# SPDX-License-Identifier: Apache-2.0
"""What comes out of the daemon is what the endpoint makes of the latent.

The endpoint is asked for the same latent directly, and pixels are compared.
"""

import itertools
import json
import re
import signal
from contextlib import ExitStack
from pathlib import Path

import numpy
import pytest
import requests

import processes
import wire
from samples import (
    direct, direct_jpg, direct_pixels, file_of, latent, picture, pixels_of,
    texts_of, values, SCALING,
)

IMAGE_MODELS = ("sd-v1", "sdxl", "flux")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """(endpoint, daemon) for all tests of this file."""
    with ExitStack() as stack:
        directory = stack.enter_context(processes.short_directory())
        endpoint = stack.enter_context(processes.Endpoint(parallel=4))
        sections = endpoint.sections(parallel=4)
        daemon = stack.enter_context(processes.Daemon(directory, sections))
        yield endpoint, daemon


@pytest.fixture
def producer(house, numbers=itertools.count()):
    """A producer of its own for each test."""
    with wire.Producer(house[1].url, f"p{next(numbers)}") as producer:
        yield producer
        producer.thank()


def requests_n(house):
    """How many requests the endpoints have had, by name."""
    report = json.loads(wire.report(house[1].url))
    return {e["name"]: e["requests_total"] for e in report["endpoints"]}


def decode(producer, latent, **fields):
    producer.submit("job", latent.data, **{**latent.fields, **fields})
    return producer.take("job").expect("RESULT", state="done", code="ok")


# ---- decode ----


@pytest.mark.parametrize("model", IMAGE_MODELS)
def test_png_holds_the_endpoints_pixels(house, producer, model):
    z = latent(model, 8, 12)
    result = decode(producer, z, output="png")
    [png] = result.parts
    assert numpy.array_equal(
        pixels_of(png), direct_pixels(house[0].url, z)[0]
    )
    assert (result["width_px"], result["height_px"]) == (96, 64)
    assert result["output"] == "png" and result["attempts"] == 1
    assert result["endpoint"] == f"{model}-decode"


@pytest.mark.parametrize("model", IMAGE_MODELS)
def test_jpg_is_the_endpoints_file(house, producer, model):
    z = latent(model, seed=1)
    [jpg] = decode(producer, z, output="jpg").parts
    expected = direct_jpg(house[0].url, z)
    assert jpg == expected


@pytest.mark.parametrize("model", processes.MODELS)
def test_pixels_are_the_endpoints_bytes(house, producer, model):
    z = latent(model, 8, 12, seed=2)
    result = decode(producer, z, output="pixels")
    expected = direct_pixels(house[0].url, z)
    assert result["dtype"] == "uint8"
    assert result["shape"] == list(expected.shape)
    assert result.body == expected.tobytes()


@pytest.mark.parametrize("model", processes.MODELS)
def test_float_is_the_endpoints_tensor(house, producer, model):
    z = latent(model, 8, 12, seed=3)
    result = decode(producer, z, output="float")
    expected = direct(
        house[0].url, z, output_type="pt", partial_postprocess="False"
    )
    assert result["dtype"] == expected.headers["dtype"]
    assert str(result["shape"]).replace(" ", "") == expected.headers["shape"]
    assert result.body == expected.content


def test_mp4_is_the_endpoints_file(house, producer):
    z = latent("hunyuan-video", frames=3, seed=4)
    result = decode(producer, z, output="mp4")
    [mp4] = result.parts
    expected = direct(house[0].url, z, output_type="mp4").content
    assert mp4 == expected
    assert result["frames"] == 9


def test_png_of_a_video_is_a_file_for_each_frame(house, producer):
    z = latent("hunyuan-video", frames=2, seed=5)
    result = decode(producer, z, output="png")
    expected = direct_pixels(house[0].url, z)
    assert len(result.parts) == len(expected) == 5 == result["frames"]
    for png, pixels in zip(result.parts, expected):
        assert numpy.array_equal(pixels_of(png), pixels)


@pytest.mark.parametrize("model, output", [
    ("sd-v1", "png"), ("hunyuan-video", "mp4"),
])
def test_output_has_a_default(producer, model, output):
    assert decode(producer, latent(model))["output"] == output


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_every_float_type_is_decoded(house, producer, dtype):
    z = latent("sdxl", dtype=dtype, seed=6)
    result = decode(producer, z, output="pixels")
    assert result.body == direct_pixels(house[0].url, z).tobytes()


@pytest.mark.parametrize("model", ["flux", "sd-v1"])
@pytest.mark.parametrize("output", ["pixels", "jpg"])
def test_packed_latents_are_decoded(house, producer, model, output):
    z = latent(model, 8, 12, packed=True, seed=7)
    result = decode(producer, z, output=output)
    assert (result["width_px"], result["height_px"]) == (96, 64)
    if output == "pixels":
        assert result.body == direct_pixels(house[0].url, z).tobytes()
    else:
        assert result.body == direct_jpg(house[0].url, z)


def test_a_latent_without_its_batch_axis_is_decoded(house, producer):
    z = latent("sd-v1", 8, 12, seed=8)
    fields = {**z.fields, "shape": z.fields["shape"][1:]}
    producer.submit(
        "job", z.data, **fields, height_px=64, width_px=96, output="pixels"
    )
    result = producer.take("job").expect("RESULT", state="done")
    assert result.body == direct_pixels(house[0].url, z).tobytes()


@pytest.mark.parametrize("model", ["sdxl", "flux"])
def test_vae_space_is_not_scaled(house, producer, model):
    z = latent(model, seed=9)
    scaled = decode(producer, z, output="pixels")
    producer.submit("vae", z.data, **z.fields, output="pixels", space="vae")
    plain = producer.take("vae")
    assert plain.body == direct_pixels(
        house[0].url, z, space="vae", do_scaling="False"
    ).tobytes()
    assert plain.body != scaled.body


# ---- batches ----


@pytest.mark.parametrize("packed", [False, True])
def test_a_jpg_batch_is_split_and_comes_back_in_order(
    house, producer, packed
):
    z = latent("flux", batch=3, packed=packed, seed=10)
    before = requests_n(house)
    result = decode(producer, z, output="jpg")
    assert requests_n(house)["flux-decode"] - before["flux-decode"] == 3
    expected = [
        direct_jpg(house[0].url, z.one(i))
        for i in range(3)
    ]
    assert result.parts == expected
    assert len(set(expected)) == 3
    assert result["attempts"] == 3


@pytest.mark.parametrize("output", ["png", "pixels", "float"])
def test_other_batches_are_one_request(house, producer, output):
    z = latent("sd-v1", batch=3, seed=11)
    before = requests_n(house)
    result = decode(producer, z, output=output)
    assert requests_n(house)["sd-v1-decode"] - before["sd-v1-decode"] == 1
    expected = direct_pixels(house[0].url, z)
    if output == "png":
        got = numpy.stack([pixels_of(png) for png in result.parts])
        assert numpy.array_equal(got, expected)
    elif output == "pixels":
        assert result.body == expected.tobytes()
    else:
        got = values(result.body, result["dtype"], result["shape"])
        assert got.shape == (3, 3, 64, 64)
        got = numpy.clip((got + 1) * 127.5, 0, 255).transpose(0, 2, 3, 1)
        assert numpy.abs(got - expected).max() < 2


@pytest.mark.parametrize("output", ["mp4", "png", "pixels"])
def test_a_batch_of_videos_is_split(house, producer, output):
    z = latent("hunyuan-video", batch=2, frames=2, seed=12)
    result = decode(producer, z, output=output)
    one = [direct_pixels(house[0].url, z.one(i)) for i in range(2)]
    if output == "mp4":
        assert result.parts == [
            direct(house[0].url, z.one(i), output_type="mp4").content
            for i in range(2)
        ]
    elif output == "png":
        got = [pixels_of(png) for png in result.parts]
        assert numpy.array_equal(numpy.stack(got), numpy.concatenate(one))
    else:
        assert result["shape"] == list(one[0].shape)
        assert result.parts == [pixels.tobytes() for pixels in one]


def test_the_old_packed_form_with_a_leading_one_is_split(house, producer):
    z = latent("flux", batch=2, packed=True, seed=13)
    fields = {**z.fields, "shape": [1, *z.fields["shape"]]}
    producer.submit("job", z.data, **fields, output="jpg")
    result = producer.take("job").expect("RESULT", state="done")
    assert result.parts == [
        direct_jpg(house[0].url, z.one(i))
        for i in range(2)
    ]


# ---- encode ----


def encode(producer, body, model, **fields):
    producer.submit("job", body, task="encode", model=model, **fields)
    result = producer.take("job").expect("RESULT", state="done")
    assert result["output"] == "latent" and len(result.parts) == 1
    return result


def encode_direct(house, body, model, params):
    reply = requests.post(
        f"{house[0].url}/encode/{model}", params=params, data=body, timeout=60
    )
    assert reply.status_code == 200, reply.text
    return reply


@pytest.mark.parametrize("model", processes.MODELS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_is_encoded_as_the_endpoint_does(
    house, producer, model, kind
):
    data = file_of(picture(96, 64), kind)
    result = encode(producer, data, model)
    expected = encode_direct(house, data, model, SCALING[model])
    assert result.body == expected.content
    assert result["dtype"] == expected.headers["dtype"]
    assert str(result["shape"]).replace(" ", "") == expected.headers["shape"]


def test_a_tensor_is_encoded_like_the_file_it_came_from(producer):
    pixels = picture(96, 64)
    tensor = pixels.transpose(2, 0, 1)[None]
    of_file = encode(producer, file_of(pixels, "PNG"), "sdxl")
    producer.submit(
        "tensor", numpy.ascontiguousarray(tensor).tobytes(), task="encode",
        model="sdxl", dtype="uint8", shape=list(tensor.shape),
    )
    of_tensor = producer.take("tensor").expect("RESULT", state="done")
    assert of_tensor["shape"] == of_file["shape"] == [1, 4, 8, 12]
    assert of_tensor.body == of_file.body


def test_encode_and_decode_give_the_picture_back(producer):
    pixels = picture(128, 96)
    z = encode(producer, file_of(pixels, "PNG"), "flux")
    producer.submit(
        "back", z.body, model="flux", dtype=z["dtype"], shape=z["shape"],
        output="png",
    )
    [png] = producer.take("back").expect("RESULT", state="done").parts
    small = [
        a.astype(float).reshape(12, 8, 16, 8, 3).mean((1, 3))
        for a in (pixels, pixels_of(png))
    ]
    assert numpy.sqrt(numpy.mean((small[0] - small[1]) ** 2)) < 12


# ---- metadata ----


def test_png_carries_the_metadata(house, producer):
    texts = {
        "parameters": "a cat\nSteps: 20, Sampler: Euler a, Seed: 1",
        "prompt": json.dumps({"3": {"inputs": {"text": "Grüße, 猫 🐈"}}},
                             ensure_ascii=False),
        "workflow": json.dumps({"nodes": ["x" * 100] * 1000}),
        "empty": "",
    }
    assert len(texts["workflow"]) > 100 * 1024
    z = latent("sd-v1", batch=2, seed=14)
    producer.submit(
        "job", z.data, wire.metadata(texts), **z.fields, output="png"
    )
    result = producer.take("job").expect("RESULT", state="done")
    expected = direct_pixels(house[0].url, z)
    for png, pixels in zip(result.parts, expected):
        assert texts_of(png) == texts
        assert numpy.array_equal(pixels_of(png), pixels)


# ---- tcp ----


def test_tcp_serves_like_ipc(house, short_tmp, start_daemon):
    port = processes.free_port()
    daemon = start_daemon({
        **house[0].sections(["sd-v1"], ["decode"]),
        "daemon": {"listen": f"tcp://127.0.0.1:{port}"},
    })
    z = latent(seed=15)
    with wire.Producer(daemon.url, "t") as producer:
        result = decode(producer, z, output="pixels")
        producer.thank()
    assert result.body == direct_pixels(house[0].url, z).tobytes()


def test_two_of_nngs_threads_carry_messages_on_any_machine(house):
    names = [(task / "comm").read_text().strip() for task in
             Path(f"/proc/{house[1].pid}/task").iterdir()]
    assert names.count("nng:task") == 2, names


def test_nngs_threads_take_no_signal_of_ours(house):
    # One that came while libuv gives a signal back would end the daemon.
    ours = sum(1 << number - 1 for number in
               (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    seen = 0
    for task in Path(f"/proc/{house[1].pid}/task").iterdir():
        if not (task / "comm").read_text().startswith("nng:"):
            continue
        blocked = re.search(r"SigBlk:\s(\w+)", (task / "status").read_text())
        assert int(blocked[1], 16) & ours == ours, task
        seen += 1
    assert seen > 2
