# SPDX-License-Identifier: Apache-2.0
"""latentd-endpoint encodes pictures, and refuses what is wrong."""

import io
import json
import zlib
from urllib.parse import urlencode

import numpy as np
import processes
import pytest
import requests
from latents import (
    FACTORS, MODELS, blocks, file_of, photo, project, psnr, small_picture,
    to_bytes,
)
from PIL import Image
from remote import GOOD, GOOD_BODY, error_of, gauges, post, reply_tensor


@pytest.fixture(scope="module")
def endpoint():
    with processes.Endpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_photo_survives_encode_and_decode(endpoint, session, model, kind):
    picture = photo()
    scale, shift = FACTORS[model]
    factors = {"scaling_factor": scale}
    if shift:
        factors["shift_factor"] = shift
    encoded = session.post(
        f"{endpoint.url}/encode/{model}?{urlencode(factors)}",
        data=file_of(picture, kind), timeout=processes.PATIENCE_S,
    )
    assert encoded.status_code == 200, encoded.text
    shape = json.loads(encoded.headers["shape"])
    query = [("shape", d) for d in shape] + list(factors.items()) + [
        ("dtype", encoded.headers["dtype"]),
        ("output_type", "pt"),
        ("partial_postprocess", "True"),
    ]
    decoded = post(session, endpoint.url, model, query, encoded.content)
    pixels, _ = reply_tensor(decoded)
    found = blocks(pixels / 127.5 - 1)
    assert psnr(found, blocks(picture[None] / 127.5 - 1)) >= 35


def encode_file(session, endpoint, data, model="sdxl"):
    return session.post(
        f"{endpoint.url}/encode/{model}?scaling_factor=0.13025", data=data,
        timeout=processes.PATIENCE_S,
    )


def test_files_are_read_as_convert_rgb_reads_them(endpoint, session):
    rgb = photo(64, 96)
    alpha = np.full((64, 96, 1), 128, np.uint8)
    rgba = np.concatenate([rgb, alpha], -1)
    palette = Image.fromarray(rgb).quantize(64)
    grey = Image.fromarray(rgb).convert("L")
    deep = np.asarray(grey).astype("<u2") * 256 + 77
    cases = {
        "rgba": (file_of(rgba), rgb),
        "palette": (file_of_image(palette), palette.convert("RGB")),
        "grey": (file_of_image(grey), grey.convert("RGB")),
        "bilevel": (file_of_image(grey.convert("1")),
                    grey.convert("1").convert("RGB")),
        "16 bits": (file_of(deep), grey.convert("RGB")),
        "grey alpha": (file_of_image(grey.convert("LA")), grey.convert("RGB")),
    }
    for name, (data, same) in cases.items():
        got = encode_file(session, endpoint, data)
        assert got.status_code == 200, (name, got.text)
        plain = encode_file(session, endpoint, file_of(np.asarray(same)))
        assert got.content == plain.content, name


def file_of_image(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_sides_are_cut_down_to_a_multiple_of_eight(endpoint, session):
    reply = encode_file(session, endpoint, file_of(photo(83, 61)))
    assert reply.headers["shape"] == "[1,4,10,7]"
    tiny = encode_file(session, endpoint, file_of(photo(8, 7)))
    assert tiny.status_code == 400
    assert "7x8" in error_of(tiny)


def test_encode_without_parameters_gives_the_vaes_own_space(endpoint, session):
    data = file_of(photo(64, 64))
    scaled = session.post(
        f"{endpoint.url}/encode/flux?scaling_factor=0.3611&shift_factor=0.1159",
        data=data, timeout=processes.PATIENCE_S)
    plain = session.post(f"{endpoint.url}/encode/flux", data=data,
                         timeout=processes.PATIENCE_S)
    z, _ = reply_tensor(scaled)
    vae, _ = reply_tensor(plain)
    assert abs((vae - 0.1159) * 0.3611 - z).max() < 0.03


def test_video_of_every_latent_frame_is_encoded(endpoint, session):
    small = np.stack([small_picture(4, 6, t) for t in range(3)])
    frames = [small[0]] + [small[t // 4 + 1] for t in range(8)]
    pixels = np.repeat(np.repeat(np.stack(frames), 8, -1), 8, -2)
    query = [("shape", d) for d in (1, 3, 9, 32, 48)]
    query += [("dtype", "float32"), ("scaling_factor", 0.476986)]
    reply = session.post(
        f"{endpoint.url}/encode/hunyuan-video", params=query,
        data=to_bytes(np.moveaxis(pixels, 0, 1)[None], "float32"),
        timeout=processes.PATIENCE_S,
    )
    assert reply.headers["shape"] == "[1,16,3,4,6]"
    z, _ = reply_tensor(reply)
    found = project("hunyuan-video", np.moveaxis(z[0], 1, 0))
    assert abs(found - small).max() < 0.01


# ---- what is refused ----


@pytest.mark.parametrize("path, query, body, words", [
    ("sdxl", "dtype=float16&do_scaling=True", GOOD_BODY, ["shape"]),
    ("sdxl", GOOD.replace("dtype=float16", ""), GOOD_BODY, ["dtype"]),
    ("sdxl", GOOD.replace("float16", "float64"), GOOD_BODY,
     ["dtype", "float64", "bfloat16"]),
    ("sdxl", GOOD.replace("shape=1&", "shape=-1&"), GOOD_BODY, ["shape", "-1"]),
    ("sdxl", GOOD.replace("shape=1&", "shape=0&"), GOOD_BODY, ["shape"]),
    ("sdxl", GOOD.replace("shape=1&", "shape=99999999999&"), GOOD_BODY,
     ["shape"]),
    ("sdxl", "shape=1048576&" * 4 + "dtype=float16", GOOD_BODY, ["shape"]),
    ("sdxl", GOOD, GOOD_BODY[:-2], ["126", "128"]),
    ("sdxl", GOOD, b"", ["body"]),
    ("sdxl", GOOD.replace("shape=4&", "shape=5&", 1), bytes(160),
     ["[1,5,4,4]"]),
    ("sdxl", GOOD + "&output_type=gif", GOOD_BODY, ["output_type", "gif"]),
    ("sdxl", GOOD + "&image_format=bmp", GOOD_BODY, ["image_format", "bmp"]),
    ("sdxl", GOOD + "&partial_postprocess=maybe", GOOD_BODY,
     ["partial_postprocess", "maybe"]),
    ("sdxl", GOOD + "&scaling_factor=nan", GOOD_BODY, ["scaling_factor"]),
    ("sdxl", GOOD + "&scaling_factor=0", GOOD_BODY, ["scaling_factor"]),
    ("sdxl", GOOD + "&shift_factor=x", GOOD_BODY, ["shift_factor"]),
    ("sdxl", GOOD + "&do_scaling=2", GOOD_BODY, ["do_scaling"]),
    ("sdxl", GOOD + "&output_type=mp4", GOOD_BODY, ["mp4", "sdxl"]),
    ("hunyuan-video", GOOD, GOOD_BODY, ["[1,4,4,4]"]),
    ("flux", "shape=1&shape=48&shape=64&dtype=float16&do_scaling=True",
     bytes(6144), ["height"]),
    ("flux", "shape=1&shape=48&shape=64&dtype=float16&do_scaling=True"
     "&height=96&width=96", bytes(6144), ["height"]),
    ("encode/sdxl", "", b"GIF89a" + bytes(20), ["PNG"]),
    ("encode/sdxl", "", file_of(photo(16, 16))[:200], ["PNG"]),
    ("encode/sdxl", "", file_of(photo(16, 16), "JPEG")[:200], ["JPEG"]),
    ("encode/sdxl", "", file_of(photo(16, 16), "JPEG", "CMYK"), ["CMYK"]),
    ("encode/sdxl", "shape=1&shape=4&shape=16&shape=16&dtype=float32",
     bytes(4096), ["[1,4,16,16]"]),
])
def test_wrong_request_gets_400_and_a_sentence_that_names_it(
    endpoint, session, path, query, body, words
):
    kind = None if path.startswith("encode/") else "tensor/binary"
    reply = post(session, endpoint.url, path, query, body, kind=kind)
    assert reply.status_code == 400
    sentence = error_of(reply)
    for word in words:
        assert word in sentence, sentence


@pytest.mark.parametrize("kind", ["application/json", "tensor/base64"])
@pytest.mark.parametrize("body, word", [
    (b"{", "JSON"),
    (b"[]", "JSON"),
    (b"{}", "inputs"),
    (b'{"inputs": 3}', "inputs"),
    (b'{"inputs": "AA$A"}', "base64"),
    (b"[" * 100000, "JSON"),
])
def test_wrong_json_gets_400(endpoint, session, kind, body, word):
    reply = post(session, endpoint.url, "sdxl", GOOD, body, kind=kind)
    assert reply.status_code == 400
    assert word in error_of(reply)


def test_batch_does_not_fit_into_one_file(endpoint, session):
    reply = post(session, endpoint.url, "sdxl",
                 GOOD.replace("shape=1&", "shape=2&"), bytes(256),
                 "image/jpeg")
    assert reply.status_code == 400
    assert "split" in error_of(reply)


def test_picture_larger_than_the_limit_is_refused_unread(endpoint, session):
    def chunk(name, data):
        crc = zlib.crc32(name + data)
        return (len(data).to_bytes(4, "big") + name + data
                + crc.to_bytes(4, "big"))

    header = ((16392).to_bytes(4, "big") + (8).to_bytes(4, "big")
              + bytes([8, 2, 0, 0, 0]))
    bomb = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
            + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    reply = encode_file(session, endpoint, bomb)
    assert reply.status_code == 400
    assert "16384" in error_of(reply)


def test_unknown_path_gets_404_and_the_known_ones(endpoint, session):
    for path in ("sd-v2", "encode", "encode/", "encode/wan", "sdxl/", "a/b",
                 "healthy", "%2e%2e/sdxl"):
        reply = post(session, endpoint.url, path, GOOD, GOOD_BODY)
        assert reply.status_code == 404, path
        sentence = error_of(reply)
        for model in MODELS:
            assert model in sentence


def test_wrong_method_gets_405_and_the_right_one(endpoint, session):
    for method, path, allow in (("GET", "sdxl", "POST"),
                                ("PUT", "encode/flux", "POST"),
                                ("POST", "health", "GET, HEAD"),
                                ("DELETE", "metrics", "GET, HEAD")):
        reply = session.request(method, f"{endpoint.url}/{path}",
                                timeout=processes.PATIENCE_S)
        assert reply.status_code == 405
        assert reply.headers["Allow"] == allow
        assert method in error_of(reply)


def test_health_says_ok(endpoint, session):
    for path in ("", "/", "/health"):
        reply = session.get(endpoint.url + path, timeout=processes.PATIENCE_S)
        assert (reply.status_code, reply.text) == (200, "Ok")
        head = session.head(endpoint.url + path, timeout=processes.PATIENCE_S)
        assert head.headers["Content-Length"] == "2"
        assert head.content == b""


def test_metrics_count_replies_and_bytes(start_endpoint):
    endpoint = start_endpoint()
    with requests.Session() as session:
        post(session, endpoint.url, "sdxl", GOOD, GOOD_BODY, "image/png")
        post(session, endpoint.url, "sdxl", GOOD, GOOD_BODY[1:])
        post(session, endpoint.url, "nothing", GOOD, GOOD_BODY)
    reply = requests.get(f"{endpoint.url}/metrics",
                         timeout=processes.PATIENCE_S)
    assert reply.headers["Content-Type"].startswith("text/plain")
    found = gauges(endpoint.url)
    assert found["inf_batch_current_size"] == 0
    assert found["inf_queue_size"] == 0
    total = "latentd_endpoint_replies_total"
    assert found[f'{total}{{status="200"}}'] == 2  # the first /metrics, too
    assert found[f'{total}{{status="400"}}'] == 1
    assert found[f'{total}{{status="404"}}'] == 1
    assert found["latentd_endpoint_request_bytes_total"] == 255
    assert found["latentd_endpoint_compute_seconds_total"] > 0
