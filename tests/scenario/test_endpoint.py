# SPDX-License-Identifier: Apache-2.0
"""latentd-endpoint decodes what real clients sent, and decodes it right."""

import base64
import io
import json
import shutil
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import processes
import pytest
import requests
from latents import (
    CHANNELS, FLOAT, IMAGE_MODELS, blocks, embed, from_model_space,
    make_latent, pack, to_bytes,
)
from PIL import Image
from recorded import IDS, RECORDED, recorded_request
from remote import decode_query, error_of, post, reply_tensor


@pytest.fixture(scope="module")
def endpoint():
    with processes.Endpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        yield session


# ---- what clients sent ----


def reply_pixels(reply, query):
    """Whatever decode answered, as [K,H,W,3] in [-1,1]."""
    if reply.headers["Content-Type"].startswith("image/"):
        image = Image.open(io.BytesIO(reply.content))
        assert image.mode == "RGB"
        assert f"image/{image.format.lower()}" == reply.headers["Content-Type"]
        return np.asarray(image)[None] / 127.5 - 1
    values, dtype = reply_tensor(reply)
    if dtype == "uint8":
        return values / 127.5 - 1
    if values.ndim == 5:
        assert values.shape[0] == 1
        values = np.moveaxis(values[0], 1, 0)
    if query.get("output_type") == "pil":
        assert values.min() >= 0
        values = values * 2 - 1
    assert abs(values).max() <= 1
    return np.moveaxis(values, 1, -1)


def video_pixels(data, directory, frames, height, width):
    """The frames of an mp4, or None where there is no ffmpeg."""
    if not (shutil.which("ffprobe") and shutil.which("ffmpeg")):
        return None
    path = directory / "reply.mp4"
    path.write_bytes(data)
    done = processes.run(
        "ffprobe", "-v", "error", "-count_frames", "-show_streams",
        "-of", "json", path, check=0,
    )
    assert done.stderr == b""
    streams = json.loads(done.stdout)["streams"]
    assert len(streams) == 1
    stream = streams[0]
    assert stream["codec_name"] in ("h264", "mpeg4")
    assert (stream["width"], stream["height"]) == (width, height)
    assert stream["pix_fmt"] == "yuv420p"
    assert int(stream["nb_read_frames"]) == frames
    assert int(stream["nb_frames"]) == frames
    assert stream["avg_frame_rate"] == "15/1"
    done = processes.run(
        "ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo",
        "-pix_fmt", "rgb24", "-", check=0,
    )
    assert done.stderr == b""
    pixels = np.frombuffer(done.stdout, "u1")
    return pixels.reshape(frames, height, width, 3) / 127.5 - 1


def boxes(data):
    """Name and content of each mp4 box; they must fill data exactly."""
    found = {}
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at:at + 4], "big")
        assert 8 <= length <= len(data) - at
        found[data[at + 4:at + 8].decode()] = data[at + 8:at + length]
        at += length
    return found


def check_mp4(data, directory, small):
    frames, _, h, w = small.shape
    found = boxes(data)
    assert {"ftyp", "moov", "mdat"} <= set(found)
    assert {"mvhd", "trak"} <= set(boxes(found["moov"]))
    pixels = video_pixels(data, directory, frames, 8 * h, 8 * w)
    if pixels is not None:
        assert abs(blocks(pixels) - small).max() < 0.08


@pytest.mark.parametrize("record", RECORDED, ids=IDS)
def test_recorded_request_gets_the_recorded_reply_and_right_pixels(
    endpoint, session, record, tmp_path
):
    body, truth = recorded_request(record)
    headers = {"Content-Type": None, **record["headers"]}
    reply = session.post(
        endpoint.url + record["target"], data=body, headers=headers,
        timeout=processes.PATIENCE_S,
    )
    expected = record["reply"]
    assert reply.status_code == expected["status"], reply.text[:300]
    for name, value in expected["headers"].items():
        assert reply.headers[name] == value
    if reply.status_code != 200:
        assert "[1,5,16,16]" in error_of(reply)
        return
    url = urlsplit(record["target"])
    query = dict(parse_qsl(url.query))
    model = url.path.split("/")[-1]
    if url.path.startswith("/encode/"):
        values, dtype = reply_tensor(reply)
        z = embed(model, blocks(np.moveaxis(truth, 1, -1)))
        wanted = from_model_space(model, z, query)
        tolerance = 2.0 ** -7 if dtype == "bfloat16" else 2.0 ** -9
        assert abs(values - wanted).max() < tolerance * abs(wanted).max()
    elif query.get("output_type") == "mp4":
        check_mp4(reply.content, tmp_path, truth)
    else:
        pixels = reply_pixels(reply, query)
        exact = reply.headers["Content-Type"] != "image/jpeg"
        exact = exact and query.get("dtype") != "bfloat16"
        assert abs(blocks(pixels) - truth).max() < (0.008 if exact else 0.02)


# ---- what replies have in common ----


@pytest.fixture(params=IMAGE_MODELS)
def latent(request):
    """A model, its query for one latent, and the latent's bytes."""
    model = request.param
    shape = [1, CHANNELS[model], 20, 28]
    query = decode_query(model, shape)
    z, _ = make_latent(model, shape, dict(query))
    return model, query, to_bytes(z, "float16")


def test_files_hold_the_pixels_of_the_uint8_reply(endpoint, session, latent):
    model, query, body = latent
    raw = post(session, endpoint.url, model,
               query + [("output_type", "pt"), ("partial_postprocess", "True")],
               body)
    pixels, dtype = reply_tensor(raw)
    assert dtype == "uint8"
    png = post(session, endpoint.url, model, query + [("image_format", "png")],
               body, "image/png")
    assert (np.asarray(Image.open(io.BytesIO(png.content))) == pixels[0]).all()
    jpg = post(session, endpoint.url, model, query, body, "image/jpeg")
    found = np.asarray(Image.open(io.BytesIO(jpg.content))).astype(float)
    assert abs(found - pixels[0]).mean() < 2


def test_base64_carries_the_bytes_of_the_binary_reply(
    endpoint, session, latent
):
    model, query, body = latent
    query = query + [("output_type", "pt")]
    binary = post(session, endpoint.url, model, query, body)
    wrapped = json.dumps({"inputs": base64.b64encode(body).decode()})
    encoded = post(session, endpoint.url, model, query, wrapped,
                   "tensor/base64", "tensor/base64")
    assert encoded.headers["Content-Type"] == "tensor/base64"
    document = encoded.json()
    assert base64.b64decode(document["inputs"]) == binary.content
    assert document["parameters"] == {
        "shape": json.loads(binary.headers["shape"]),
        "dtype": binary.headers["dtype"],
    }


def test_pil_tensor_is_the_pt_tensor_in_zero_to_one(endpoint, session, latent):
    model, query, body = latent
    pt = reply_tensor(post(session, endpoint.url, model,
                           query + [("output_type", "pt")], body))[0]
    pil, dtype = reply_tensor(post(session, endpoint.url, model,
                                   query + [("output_type", "pil")], body))
    assert dtype == FLOAT.get(model, "float16")
    assert pil.shape == pt.shape
    assert abs(pil - (pt + 1) / 2).max() < 2.0 ** -7


def test_batch_is_its_latents_one_by_one(endpoint, session):
    shape = [3, 4, 10, 12]
    query = decode_query("sdxl", shape, output_type="pt",
                         partial_postprocess="True")
    z, small = make_latent("sdxl", shape, dict(query))
    whole = post(session, endpoint.url, "sdxl", query, to_bytes(z, "float16"))
    pixels, _ = reply_tensor(whole)
    assert pixels.shape == (3, 80, 96, 3)
    assert abs(blocks(pixels / 127.5 - 1) - small).max() < 0.02
    for i in range(3):
        one = post(session, endpoint.url, "sdxl",
                   decode_query("sdxl", [1] + shape[1:], output_type="pt",
                                partial_postprocess="True"),
                   to_bytes(z[i], "float16"))
        assert one.content == pixels[i].astype("u1").tobytes()


def test_packed_latent_gives_the_bytes_of_the_unpacked_one(endpoint, session):
    shape = [2, 16, 12, 16]
    more = {"output_type": "pt", "partial_postprocess": "True"}
    query = decode_query("flux", shape, **more)
    z, _ = make_latent("flux", shape, dict(query))
    plain = post(session, endpoint.url, "flux", query, to_bytes(z, "float16"))
    packed = post(
        session, endpoint.url, "flux",
        decode_query("flux", [2, 48, 64], height=96, width=128, **more),
        to_bytes(pack(z), "float16"),
    )
    assert packed.status_code == 200, packed.text
    difference = (np.frombuffer(plain.content, "u1").astype(int)
                  - np.frombuffer(packed.content, "u1"))
    assert abs(difference).max() <= 1


def test_height_and_width_mean_nothing_where_nothing_is_packed(
    endpoint, session
):
    shape = [1, 16, 2, 8, 10]
    query = decode_query("hunyuan-video", shape, output_type="pt")
    z, _ = make_latent("hunyuan-video", shape, dict(query))
    body = to_bytes(z, "float16")
    plain = post(session, endpoint.url, "hunyuan-video", query, body)
    odd = post(session, endpoint.url, "hunyuan-video",
               query + [("height", 16), ("width", 80)], body)
    assert plain.status_code == 200
    assert plain.content == odd.content
    assert plain.headers["shape"] == "[1,3,5,64,80]"


def test_values_without_meaning_are_decoded_without_harm(endpoint, session):
    z = np.full((1, 4, 4, 4), np.nan)
    z[0, :, 1] = np.inf
    z[0, 0, 2] = -np.inf
    for output in ("pt", "pil"):
        reply = post(session, endpoint.url, "sdxl",
                     decode_query("sdxl", z.shape, output_type=output),
                     to_bytes(z, "float16"))
        values, _ = reply_tensor(reply)
        assert np.isfinite(values).all()
