# SPDX-License-Identifier: Apache-2.0
"""remote_decode and remote_encode: diffusers' functions, both ways."""

import inspect
import json
import socket
import threading
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from PIL import Image

import fakes
import latentd
import samples
import standins
from arrays import array_of
from latentd import _http, _remote, _tensors
from latentd._remote_reply import Ask
from latents import VECTORS
from recorded import RECORDED

WAYS = ("direct", "daemon")
SCALING = samples.SCALING

# diffusers, utils/remote_utils.py
DECODE = {
    "endpoint": inspect.Parameter.empty,
    "tensor": inspect.Parameter.empty,
    "processor": None,
    "do_scaling": True,
    "scaling_factor": None,
    "shift_factor": None,
    "output_type": "pil",
    "return_type": "pil",
    "image_format": "jpg",
    "partial_postprocess": False,
    "input_tensor_type": "binary",
    "output_tensor_type": "binary",
    "height": None,
    "width": None,
}
ENCODE = {
    "endpoint": inspect.Parameter.empty,
    "image": inspect.Parameter.empty,
    "scaling_factor": None,
    "shift_factor": None,
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch, stack):
    """A process that has asked for no daemon yet."""
    shared = _remote._Shared()
    monkeypatch.setattr(_remote, "_shared", shared)
    stack.callback(lambda: shared._client and shared._client.close())


@pytest.fixture
def reach(service, monkeypatch):
    """The service as default; its endpoint's URL is .endpoint."""
    monkeypatch.setenv("LATENTD_URL", service.url)
    return service


@pytest.mark.parametrize("function, expected", [
    (latentd.remote_decode, DECODE), (latentd.remote_encode, ENCODE),
])
def test_parameters_and_defaults_are_those_of_diffusers(function, expected):
    found = {
        p.name: p.default
        for p in inspect.signature(function).parameters.values()
        if p.kind == p.POSITIONAL_OR_KEYWORD
    }
    assert list(found.items()) == list(expected.items())


def ask_of(request):
    scaled = request.get("scaling_factor") is not None
    return Ask(
        "", _tensors.Payload(request["dtype"], tuple(request["shape"]), 0, 0),
        None, None, scaled or request.get("do_scaling", False),
        request.get("scaling_factor"), request.get("shift_factor"),
        request["output_type"], "pil", request["image_format"],
        request["partial_postprocess"], request.get("height"),
        request.get("width"), None)


VECTOR_QUERIES = [
    vector for vector in map(
        json.loads, (VECTORS / "remote.jsonl").read_text().splitlines())
    if vector["kind"] == "query"
]


def test_queries_are_the_vectors():
    for vector in VECTOR_QUERIES:
        request = vector["request"]
        if request["task"] == "decode":
            query = _remote.query_of(ask_of(request))
        else:
            query = _remote.encode_query(
                _tensors.Payload(request.get("dtype", ""), tuple(
                    request.get("shape", ())), 0, 0),
                request.get("scaling_factor"), request.get("shift_factor"))
        text = _http.query_text(query)
        assert (f"?{text}" if text else "") == vector["query"]


OF_DIFFUSERS = [
    record for record in RECORDED
    if record["target"].split("?")[-1].startswith("image_format=")
]


@pytest.mark.filterwarnings("ignore:do_scaling:FutureWarning")
@pytest.mark.parametrize(
    "record", OF_DIFFUSERS, ids=[str(i) for i in range(len(OF_DIFFUSERS))])
def test_requests_are_those_recorded_of_diffusers(record, start_fake):
    """The same target and headers, given the same arguments."""
    seen = []

    def answer(exchange):
        seen.append(exchange.handler.path)
        exchange.reply(b'{"error": "enough"}', "application/json", 400)

    fake = start_fake(then=answer)
    url = urlsplit(record["target"])
    pairs = parse_qsl(url.query)
    query = dict(pairs)
    shape = [int(v) for k, v in pairs if k == "shape"]
    scaled = "scaling_factor" in query or "do_scaling" in query
    bits = np.zeros(shape, {
        "float16": "f2", "bfloat16": "u2", "float32": "f4"}[query["dtype"]])
    tensor_reply = record["reply"]["headers"]["Content-Type"].startswith(
        "tensor")
    pil_as_tensor = query["output_type"] == "pil" and tensor_reply
    with pytest.raises(RuntimeError):
        latentd.remote_decode(
            fake.url + url.path,
            standins.Tensor(bits, query["dtype"]),
            processor=True if pil_as_tensor else None,
            do_scaling=scaled,
            scaling_factor=float(query["scaling_factor"])
            if "scaling_factor" in query else None,
            shift_factor=float(query["shift_factor"])
            if "shift_factor" in query else None,
            output_type=query["output_type"],
            image_format=query["image_format"],
            partial_postprocess=query["partial_postprocess"] == "True",
            height=int(query["height"]) if "height" in query else None,
            width=int(query["width"]) if "width" in query else None,
            via="direct")
    (request,) = fake.requests
    assert seen == [record["target"]]
    assert request.headers["Accept"] == record["headers"]["Accept"]
    assert request.headers["Content-Type"] == "tensor/binary"
    assert len(request.body) == record["body_bytes"]


def test_encode_sends_no_content_type(start_fake):
    fake = start_fake(then=fakes.status(400, "enough"))
    image = Image.fromarray(samples.picture())
    with pytest.raises(RuntimeError):
        latentd.remote_encode(fake.url + "/encode/sd-v1", image, 0.18215,
                              via="direct")
    (request,) = fake.requests
    assert "Content-Type" not in request.headers
    assert request.headers["Accept"] == "*/*"
    assert request.query == {"scaling_factor": ["0.18215"]}
    assert request.body.startswith(b"\x89PNG")


def call(reach, z, via, **options):
    model = z.fields["model"]
    options = {**SCALING[model], **options}
    return latentd.remote_decode(
        f"{reach.endpoint}/{model}", array_of(z), via=via, **options)


@pytest.mark.parametrize("via", WAYS)
def test_an_image_comes_back_as_pil(reach, via):
    z = samples.latent("sdxl")
    for kind, name in (("jpg", "JPEG"), ("png", "PNG")):
        image = call(reach, z, via, image_format=kind)
        assert image.size == (64, 64) and image.mode == "RGB"
        assert image.format == name
    assert (np.asarray(image) == samples.direct_pixels(
        reach.endpoint, z)[0]).all()
    jpg = samples.pixels_of(samples.direct_jpg(reach.endpoint, z))
    assert (np.asarray(call(reach, z, via)) == jpg).all()


@pytest.mark.parametrize("via", WAYS)
@pytest.mark.parametrize("n", [1, 3])
def test_tensors_are_those_of_the_endpoint(reach, via, n):
    z = samples.latent("sdxl", batch=n)
    expected = samples.direct_pixels(reach.endpoint, z)
    found = call(reach, z, via, output_type="pt", return_type="pt",
                 partial_postprocess=True)
    assert found.dtype == np.uint8 and (found == expected).all()
    floats = call(reach, z, via, output_type="pt", return_type="pt")
    reply = samples.direct(reach.endpoint, z, output_type="pt",
                           partial_postprocess="False")
    assert floats.shape == (n, 3, 64, 64)
    assert floats.tobytes() == reply.content
    unit = call(reach, z, via, processor=True, return_type="pt")
    assert unit.shape == (n, 3, 64, 64)
    np.testing.assert_allclose(
        unit.astype(np.float32), floats.astype(np.float32) / 2 + 0.5,
        atol=2e-3)


@pytest.mark.parametrize("via", WAYS)
def test_a_batch_comes_back_whole_and_in_order(reach, via):
    z = samples.latent("sd-v1", batch=3)
    expected = samples.direct_pixels(reach.endpoint, z).astype(int)
    for options in ({"image_format": "png"}, {"processor": True},
                    {"output_type": "pt"},
                    {"output_type": "pt", "partial_postprocess": True}):
        images = call(reach, z, via, **options)
        assert len(images) == 3
        found = np.stack([np.asarray(image) for image in images]).astype(int)
        assert abs(found - expected).max() <= 1, options


@pytest.mark.parametrize("via", WAYS)
def test_an_mp4_needs_no_return_type(reach, via):
    z = samples.latent("hunyuan-video")
    data = call(reach, z, via, output_type="mp4")
    assert data == call(reach, z, via, output_type="mp4", return_type="mp4")
    assert data[4:8] == b"ftyp"
    with pytest.raises(ValueError, match="needs output_type='mp4'"):
        call(reach, z, via, return_type="mp4")


@pytest.mark.parametrize("via", WAYS)
def test_videos_come_back_as_frames(reach, via):
    z = samples.latent("hunyuan-video")
    expected = samples.direct_pixels(reach.endpoint, z)
    shapes = {
        ("pt", False): (1, 3, 5, 64, 64),
        ("pt", True): (5, 64, 64, 3),
    }
    for (kind, partial), shape in shapes.items():
        options = {"output_type": kind, "partial_postprocess": partial}
        assert call(reach, z, via, return_type="pt", **options).shape == shape
        frames = call(reach, z, via, **options)
        found = np.stack([np.asarray(f) for f in frames]).astype(int)
        assert abs(found - expected).max() <= 1
    unit = call(reach, z, via, processor=True, return_type="pt")
    assert unit.shape == (5, 3, 64, 64)
    assert len(call(reach, z, via, processor=True)) == 5


@pytest.mark.parametrize("via", WAYS)
def test_packed_latents_take_their_size(reach, via):
    z = samples.latent("flux", 12, 16, packed=True)
    image = call(reach, z, via, height=96, width=128, image_format="png")
    assert (np.asarray(image) == samples.direct_pixels(
        reach.endpoint, z)[0]).all()
    with pytest.raises(ValueError, match="required for packed latents"):
        call(reach, z, via)
    # Nodes for ComfyUI send sizes that mean nothing with other latents.
    z = samples.latent("sd-v1")
    assert call(reach, z, via, height=99999, width=1).size == (64, 64)


@pytest.mark.parametrize("via", WAYS)
def test_a_tensor_that_is_not_contiguous_is_sent_right(reach, via):
    z = samples.latent("sdxl")
    expected = np.asarray(call(reach, z, via))
    turned = np.ascontiguousarray(array_of(z)[..., ::-1])[..., ::-1]
    for tensor in (turned, standins.Tensor(turned), standins.Dlpack(turned)):
        image = latentd.remote_decode(
            f"{reach.endpoint}/sdxl", tensor, via=via, **SCALING["sdxl"])
        assert (np.asarray(image) == expected).all()


@pytest.mark.parametrize("via", WAYS)
def test_scaling_means_what_it_means_at_the_endpoint(reach, via):
    z = samples.latent("flux")
    options = {"output_type": "pt", "partial_postprocess": True,
               "return_type": "pt"}

    def decode(values, **scaling):
        return latentd.remote_decode(
            f"{reach.endpoint}/flux", values.astype(np.float32), via=via,
            **options, **scaling).astype(int)

    values = array_of(z).astype(np.float32)
    vae = values / 0.3611 + 0.1159
    expected = decode(values, scaling_factor=0.3611, shift_factor=0.1159)
    assert abs(decode(vae, do_scaling=False) - expected).max() <= 1
    with pytest.warns(FutureWarning, match="do_scaling"):
        assert abs(decode(values) - expected).max() <= 1
    own = decode((vae - 0.5) * 2, scaling_factor=2.0, shift_factor=0.5)
    assert abs(own - expected).max() <= 1


def encode(*args, **keys):
    """As an array, also where torch is imported."""
    found = latentd.remote_encode(*args, **keys)
    return found if isinstance(found, np.ndarray) else found.float().numpy()


@pytest.mark.parametrize("via", WAYS)
def test_encode_gives_the_latent(reach, via):
    image = Image.fromarray(samples.picture())
    url = f"{reach.endpoint}/encode/flux"
    scaled = encode(url, image, 0.3611, 0.1159, via=via)
    plain = encode(url, image, via=via)
    assert scaled.shape == plain.shape == (1, 16, 6, 8)
    np.testing.assert_allclose(scaled, (plain - 0.1159) * 0.3611, atol=0.03)
    own = encode(url, image, 2.0, 0.5, via=via)
    np.testing.assert_allclose(own, (plain - 0.5) * 2, atol=0.1)
    pixels = np.moveaxis(samples.picture() / 127.5 - 1, -1, 0)[None]
    tensor = encode(
        url, pixels.astype(np.float32), 0.3611, 0.1159, via=via)
    np.testing.assert_allclose(tensor, scaled, atol=0.03)


@pytest.mark.parametrize("via", WAYS)
def test_what_the_endpoint_refuses_is_a_runtime_error(reach, via):
    z = samples.latent("flux")
    with pytest.raises(RuntimeError) as caught:
        latentd.remote_decode(f"{reach.endpoint}/sdxl", array_of(z),
                              scaling_factor=0.13025, via=via)
    assert "does not fit sdxl" in caught.value.args[0]["error"]
    assert isinstance(caught.value, latentd.RemoteError)


@pytest.mark.parametrize("step, sentence", [
    (fakes.status(503, kind="text/html"), "503"),
    (fakes.status(400, "your shape is wrong"), "your shape is wrong"),
    (fakes.redirect("http://127.0.0.1:1/"), "elsewhere"),
    (fakes.hang_up, ""),
    (fakes.reset, "lost"),
])
def test_an_endpoints_faults_are_runtime_errors(start_fake, step, sentence):
    fake = start_fake(then=step)
    with pytest.raises(RuntimeError) as caught:
        latentd.remote_decode(f"{fake.url}/sd-v1", array_of(samples.latent()),
                              scaling_factor=0.18215, via="direct")
    assert sentence in caught.value.args[0]["error"]
    assert len(fake.requests) == 1


@pytest.mark.parametrize("step", [
    fakes.no_shape, fakes.wrong_dtype, fakes.hostile_shape, fakes.short,
    fakes.empty,
])
def test_a_tensor_that_does_not_add_up_is_not_returned(start_fake, step):
    fake = start_fake(then=step)
    with pytest.raises(RuntimeError):
        latentd.remote_decode(
            f"{fake.url}/sd-v1", array_of(samples.latent()),
            scaling_factor=0.18215, output_type="pt", return_type="pt",
            partial_postprocess=True, via="direct")


def test_nobody_waits_for_ever(start_fake, stack):
    gate = threading.Event()
    stack.callback(gate.set)
    fake = start_fake(then=fakes.held(gate))
    with pytest.raises(latentd.RemoteError) as caught:
        latentd.remote_decode(
            f"{fake.url}/sd-v1", array_of(samples.latent()),
            scaling_factor=0.18215, timeout=0.05, via="direct")
    assert caught.value.code == "timeout"
    assert "within 0.05 s" in str(caught.value)


def test_nobody_waits_for_ever_for_the_daemon(held, monkeypatch):
    monkeypatch.setenv("LATENTD_URL", held.url)
    with pytest.raises(latentd.RemoteError) as caught:
        latentd.remote_decode("sd-v1", array_of(samples.latent()),
                              scaling_factor=0.18215, timeout=0.05)
    assert caught.value.code == "timeout"


def test_an_endpoint_that_is_not_there_is_a_runtime_error():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(latentd.RemoteError, match="cannot reach") as caught:
        latentd.remote_decode(
            f"http://127.0.0.1:{port}/sd-v1", array_of(samples.latent()),
            scaling_factor=0.18215)
    assert caught.value.code == "unreachable"


def test_without_a_daemon_the_endpoint_is_asked(
        start_endpoint, monkeypatch, short_tmp):
    monkeypatch.setenv("LATENTD_URL", f"ipc://{short_tmp}/none")
    endpoint = start_endpoint()
    z = samples.latent("sdxl")
    image = latentd.remote_decode(
        f"{endpoint.url}/sdxl", array_of(z), scaling_factor=0.13025)
    assert image.size == (64, 64)
    with pytest.raises(latentd.DaemonUnavailable):
        latentd.remote_decode("sdxl", array_of(z), scaling_factor=0.13025)
    with pytest.raises(latentd.DaemonUnavailable):
        latentd.remote_decode(f"{endpoint.url}/sdxl", array_of(z),
                              scaling_factor=0.13025, via="daemon")


def test_with_a_daemon_it_goes_through_it(start_fake, start_daemon,
                                          monkeypatch):
    """The URL that was given is not asked."""
    asked, configured = start_fake(), start_fake()
    daemon = start_daemon(configured.section())
    monkeypatch.setenv("LATENTD_URL", daemon.url)
    z = array_of(samples.latent())
    for endpoint in (f"{asked.url}/sd-v1", f"{asked.url}/", "sd-v1"):
        latentd.remote_decode(endpoint, z, scaling_factor=0.18215,
                              output_type="pt", partial_postprocess=True)
    assert len(configured.requests) == 3 and asked.requests == []
    # Nothing says which model this is, and the daemon has no flux.
    for endpoint, options in (
            (f"{asked.url}/", {"do_scaling": False}),
            (f"{asked.url}/flux", {"scaling_factor": 0.3611})):
        latentd.remote_decode(
            endpoint, np.zeros((1, 16, 8, 8), np.float16) if "flux" in endpoint
            else z, output_type="pt", partial_postprocess=True, **options)
    assert len(asked.requests) == 2
    with pytest.raises(latentd.ModelError, match="cannot tell"):
        latentd.remote_decode(f"{asked.url}/", z, do_scaling=False,
                              via="daemon")


@pytest.mark.parametrize("what", [
    "output_type", "return_type", "image_format", "input_tensor_type", "via"])
def test_wrong_options_are_value_errors(what):
    with pytest.raises(ValueError, match=what):
        latentd.remote_decode(
            "http://127.0.0.1:1/sdxl", array_of(samples.latent()),
            scaling_factor=0.13025, **{what: "none"})


def test_base64_is_binary_with_a_warning(reach):
    z = samples.latent("sdxl")
    with pytest.warns(FutureWarning, match="base64"):
        image = call(reach, z, "direct", output_tensor_type="base64")
    assert image.size == (64, 64)


def test_torch_tensors_come_back_as_torch(reach):
    torch = pytest.importorskip("torch")
    z = torch.from_numpy(array_of(samples.latent("flux")).copy())
    for via in WAYS:
        found = latentd.remote_decode(
            f"{reach.endpoint}/flux", z.to(torch.bfloat16), via=via,
            output_type="pt", return_type="pt", **SCALING["flux"])
        assert found.dtype == torch.bfloat16
        assert found.shape == (1, 3, 64, 64)
        latent = latentd.remote_encode(
            f"{reach.endpoint}/encode/flux",
            Image.fromarray(samples.picture()), 0.3611, 0.1159, via=via)
        assert latent.dtype == torch.bfloat16
        assert latent.shape == (1, 16, 6, 8)


class Processor:
    """What diffusers' processors do with tensors in [-1,1]."""

    def postprocess(self, tensor, output_type):
        assert output_type == "pil" and tensor.min() < 0
        return ["image"] * tensor.shape[0]

    def postprocess_video(self, tensor, output_type):
        assert output_type == "pil" and tensor.ndim == 5
        return [["frame"] * tensor.shape[2]]


@pytest.mark.parametrize("via", WAYS)
def test_a_processor_is_used_where_there_is_one(reach, via):
    z = samples.latent("sdxl", batch=2)
    assert call(reach, z, via, processor=Processor(),
                output_type="pt") == ["image", "image"]
    z = samples.latent("hunyuan-video")
    assert call(reach, z, via, processor=Processor(),
                output_type="pt") == ["frame"] * 5


def test_a_forked_child_asks_the_endpoint_itself(reach, script):
    done = script(f"""
import os, numpy as np, latentd
z = np.zeros((1, 4, 8, 8), np.float16)
def decode():
    return latentd.remote_decode({reach.endpoint!r} + "/sdxl", z,
                                 scaling_factor=0.13025).size
assert decode() == (64, 64)
pid = os.fork()
if pid == 0:
    os._exit(0 if decode() == (64, 64) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
""", reach, check=0)
    assert done.stderr == b""
