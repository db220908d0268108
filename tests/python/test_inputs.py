# SPDX-License-Identifier: Apache-2.0
"""What can be passed: every kind of tensor and file gives the same bytes."""

import ctypes
import json

import numpy as np
import pytest
from PIL import Image

import files
import latentd
import processes
import samples
import standins
from arrays import array_of
from latentd import _models, _tensors

Z = samples.latent(batch=2)
ARRAY = array_of(Z)
BITS = (ARRAY.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def sent(payload):
    return ctypes.string_at(payload.address, payload.size)


def strided(array):
    """The same values in another layout."""
    return np.ascontiguousarray(array[..., ::-1])[..., ::-1]


@pytest.mark.parametrize("make", [
    lambda a: a,
    strided,
    np.asfortranarray,
    lambda a: a.astype(">f2"),
    lambda a: np.repeat(a, 2, 0)[::2],
    lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, 3)), 3, 1),
    standins.Tensor,
    lambda a: standins.Tensor(strided(a)),
    lambda a: standins.Tensor(a, device="cuda:0"),
    lambda a: standins.Tensor(strided(a), device="cuda:0"),
    lambda a: standins.Tensor(a, requires_grad=True),
    standins.Dlpack,
    lambda a: standins.Dlpack(strided(a)),
], ids=["numpy", "reversed", "fortran", "big-endian", "every-second",
        "transposed", "torch", "torch-strided", "torch-cuda",
        "torch-cuda-strided", "torch-grad", "dlpack", "dlpack-strided"])
def test_every_kind_of_tensor_gives_its_values_in_c_order(make):
    payload = _tensors.latent(make(ARRAY))
    assert (payload.dtype, payload.shape) == ("float16", (2, 4, 8, 8))
    assert sent(payload) == Z.data


@pytest.mark.parametrize("make", [
    lambda bits: standins.Tensor(bits, "bfloat16"),
    lambda bits: standins.Tensor(strided(bits), "bfloat16"),
    lambda bits: standins.Dlpack(bits, code=4),
    lambda bits: standins.Dlpack(strided(bits), code=4),
])
def test_bfloat16_needs_no_numpy_that_knows_it(make):
    payload = _tensors.latent(make(BITS))
    assert payload.dtype == "bfloat16"
    assert sent(payload) == BITS.tobytes()


@pytest.mark.parametrize("make", [
    lambda a: a, standins.Tensor, standins.Dlpack,
])
def test_float64_is_sent_as_float32(make):
    payload = _tensors.latent(make(ARRAY.astype(np.float64)))
    assert payload.dtype == "float32"
    assert sent(payload) == ARRAY.astype(np.float32).tobytes()


def test_a_contiguous_tensor_in_cpu_memory_is_not_copied():
    tensor = standins.Tensor(ARRAY)
    assert _tensors.latent(tensor).address == tensor.data_ptr()
    assert tensor.log == []
    for value in (ARRAY, standins.Dlpack(ARRAY)):
        assert _tensors.latent(value).address == tensor.data_ptr()


@pytest.mark.parametrize("value", [
    ARRAY.astype(np.int32), ARRAY.astype(np.uint8), ARRAY > 0,
    standins.Tensor(ARRAY.astype(np.int64)),
    standins.Dlpack(ARRAY.astype(np.int32), code=0),
    standins.Tensor(ARRAY, device="meta"),
    standins.Dlpack(ARRAY, device=2),
])
def test_what_is_no_latent_is_refused(value):
    with pytest.raises(latentd.ShapeError) as caught:
        _tensors.latent(value)
    assert isinstance(caught.value, ValueError)
    assert caught.value.code == "shape"


@pytest.mark.parametrize("value", [None, 3, [[1.0]], object()])
def test_what_is_no_tensor_at_all_is_a_type_error(value):
    with pytest.raises(TypeError, match="torch tensor, a numpy array"):
        _tensors.latent(value)


def test_latents_come_out_of_files(tmp_path):
    path = files.write_latent(tmp_path / "z.safetensors", Z, metadata={
        "parameters": "a cat", "other": "x"})
    payload = _tensors.latent(path)
    assert sent(payload) == Z.data and payload.space is None
    assert payload.metadata == {"parameters": "a cat"}
    assert sent(_tensors.latent(str(path), "latent")) == Z.data
    files.write_npy(tmp_path / "z.npy", Z, fortran=True)
    assert sent(_tensors.latent(tmp_path / "z.npy")) == Z.data


def test_bfloat16_comes_out_of_files(tmp_path):
    z = samples.latent(dtype="bfloat16")
    payload = _tensors.latent(files.write_latent(tmp_path / "z", z))
    assert (payload.dtype, sent(payload)) == ("bfloat16", z.data)


def test_a_comfyui_latent_is_in_vae_space(tmp_path):
    path = tmp_path / "z.latent"
    part = (Z.data, "float16", Z.fields["shape"])
    path.write_bytes(files.safetensors({
        "latent_tensor": part,
        "latent_format_version_0": (b"", "float32", [0])}))
    payload = _tensors.latent(path)
    assert (payload.space, sent(payload)) == ("vae", Z.data)
    # Without its marker it is from when values were stored scaled.
    path.write_bytes(files.safetensors({"latent_tensor": part}))
    old = _tensors.latent(path)
    assert (old.space, old.dtype) == ("vae", "float32")
    np.testing.assert_allclose(
        np.frombuffer(sent(old), np.float32),
        ARRAY.astype(np.float32).ravel() / 0.18215, rtol=1e-6)


@pytest.mark.parametrize("content, sentence", [
    (b"", "none of .safetensors"),
    (b"PK\3\4", "zip file"),
    (samples.file_of(samples.picture(), "PNG"), "it is a picture"),
    (b"\xff\xff\0\0\0\0\0\0{}", "does not fit"),
    (b"\2\0\0\0\0\0\0\0{]", "not JSON"),
    (b"\2\0\0\0\0\0\0\0{}", "no tensor"),
    (b"\x93NUMPY\1\0", "z: "),
    (files.safetensors({"a": (Z.data, "float16", [2, 4, 8, 8]),
                        "b": (Z.data, "float16", [2, 4, 8, 8])}),
     "several tensors"),
    (files.safetensors({"a": (Z.data, "float16", [2, 4, 8, 9])}), "broken"),
    (files.safetensors({"a": (Z.data, "float16", [512])}).replace(
        b"1024]", b"9999]"), "broken"),
])
def test_a_broken_file_is_named_with_its_fault(tmp_path, content, sentence):
    path = tmp_path / "z"
    path.write_bytes(content)
    with pytest.raises(latentd.LatentdError) as caught:
        _tensors.latent(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_the_usual_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        _tensors.latent(tmp_path / "no.npy")


PIXELS = samples.picture()


def test_pictures_are_sent_as_png(tmp_path):
    for mode in ("RGB", "RGBA", "L", "P"):
        payload = _tensors.picture(Image.fromarray(PIXELS).convert(mode))
        assert payload.dtype == "" and payload.shape == ()
        expected = np.asarray(
            Image.fromarray(PIXELS).convert(mode).convert("RGB"))
        assert (samples.pixels_of(sent(payload)) == expected).all()
    data = samples.file_of(PIXELS, "JPEG")
    (tmp_path / "p").write_bytes(data)
    for value in (data, bytearray(data), tmp_path / "p", str(tmp_path / "p")):
        assert sent(_tensors.picture(value)) == data


def test_pixels_are_sent_in_the_range_that_encoders_take():
    for value, n in ((PIXELS, 1), (np.stack([PIXELS] * 3), 3)):
        payload = _tensors.picture(value)
        assert payload.shape == (n, 3, 48, 64)
        values = np.frombuffer(sent(payload), np.float16).reshape(
            payload.shape).astype(np.float32)
        back = np.moveaxis(values * 127.5 + 127.5, 1, -1).round()
        assert (back == PIXELS).all()


@pytest.mark.parametrize("value, error", [
    (b"GIF89a", latentd.InvalidError),
    (np.zeros((48, 64), np.float32), latentd.ShapeError),
    (np.zeros((1, 4, 48, 64), np.float32), latentd.ShapeError),
    (7, TypeError),
])
def test_what_is_no_picture_is_refused(value, error):
    with pytest.raises(error):
        _tensors.picture(value)


@pytest.mark.parametrize("name, model", [
    ("sd-v1", "sd-v1"), ("SD1.5", "sd-v1"), ("sd", "sd-v1"),
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", "sd-v1"),
    ("SDXL", "sdxl"), ("stabilityai/stable-diffusion-xl-base-1.0", "sdxl"),
    ("black-forest-labs/FLUX.1-dev", "flux"), ("flux", "flux"),
    ("HunyuanVideo", "hunyuan-video"),
    ("hunyuanvideo-community/HunyuanVideo", "hunyuan-video"),
])
def test_models_go_by_the_names_that_people_use(name, model):
    assert _models.resolve(name) == model


def test_a_wrong_model_names_the_right_ones():
    with pytest.raises(latentd.ModelError) as caught:
        _models.resolve("sdlx")
    assert "did you mean \"sdxl\"" in str(caught.value)
    assert "hunyuan-video" in str(caught.value)
    assert _models.resolve("later", ["later"]) == "later"
    with pytest.raises(latentd.ModelError, match="not NoneType"):
        _models.resolve(None)


@pytest.mark.parametrize("model, shape, sizes, expected", [
    ("sdxl", (2, 4, 8, 8), (0, 0), (2, 4, 8, 8)),
    ("sdxl", (4, 8, 8), (0, 0), (1, 4, 8, 8)),
    ("flux", (1, 16, 8, 8), (0, 0), (1, 16, 8, 8)),
    ("flux", (16, 8, 8), (0, 0), (1, 16, 8, 8)),
    ("flux", (3, 48, 64), (96, 128), (3, 48, 64)),
    ("hunyuan-video", (1, 16, 3, 8, 8), (0, 0), (1, 16, 3, 8, 8)),
    ("hunyuan-video", (16, 3, 8, 8), (0, 0), (1, 16, 3, 8, 8)),
])
def test_a_latent_without_its_batch_axis_gets_one(
        model, shape, sizes, expected):
    assert _models.check_latent(
        _models.MODELS[model], shape, *sizes) == expected


@pytest.mark.parametrize("model, shape, sizes, sentence", [
    ("sdxl", (1, 16, 8, 8), (0, 0), "must be [N,4,h,w]"),
    ("sdxl", (1, 4, 3, 8, 8), (0, 0), "must be [N,4,h,w]"),
    ("sdxl", (8, 8), (0, 0), "must be"),
    ("sdxl", (1, 4, 0, 8), (0, 0), "is empty"),
    ("flux", (1, 48, 64), (0, 0), "needs height and width"),
    ("flux", (1, 48, 64), (96, 96), "[N,36,64]"),
    ("hunyuan-video", (1, 16, 8, 8), (0, 0), "[N,16,T,h,w]"),
])
def test_a_wrong_shape_says_what_would_fit(model, shape, sizes, sentence):
    with pytest.raises(latentd.ShapeError) as caught:
        _models.check_latent(_models.MODELS[model], shape, *sizes)
    assert sentence in str(caught.value)


def test_the_table_of_models_is_the_protocols():
    text = (processes.SOURCE_DIR / "proto/protocol.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines()
            if line.startswith("| `") and line.count("|") == 8]
    table = {row[0].strip(" `"): [c.strip() for c in row[1:6]]
             for row in rows}
    assert set(table) == set(_models.MODELS)
    for name, (channels, spatial, temporal, scale, shift) in table.items():
        model = _models.MODELS[name]
        assert (model.channels, model.spatial) == (
            int(channels), int(spatial))
        assert model.temporal == (0 if temporal == "–" else int(temporal))
        assert model.scaling_factor == float(scale)
        assert model.shift_factor == (
            None if shift == "–" else float(shift))



def test_torch_tensors_of_every_kind():
    torch = pytest.importorskip("torch")
    z = torch.from_numpy(ARRAY.copy())
    for value in (z, z.requires_grad_(), z.detach().flip(0).flip(0),
                  z.detach().permute(0, 2, 3, 1).contiguous().permute(
                      0, 3, 1, 2),
                  torch.cat([z.detach()] * 2)[2:]):
        assert sent(_tensors.latent(value)) == Z.data
    half = z.detach().to(torch.bfloat16)
    payload = _tensors.latent(half)
    assert payload.dtype == "bfloat16"
    assert sent(payload) == half.view(torch.int16).numpy().tobytes()
    assert _tensors.latent(z.detach().double()).dtype == "float32"
    with pytest.raises(latentd.ShapeError):
        _tensors.latent(z.detach().int())
    with pytest.raises(latentd.ShapeError, match="meta"):
        _tensors.latent(torch.empty(1, 4, 8, 8, device="meta"))


def test_saved_latents_read_back(tmp_path):
    from latentd import _files
    path = tmp_path / "z.safetensors"
    _files.save_safetensors(path, Z.data, "float16", (2, 4, 8, 8))
    found, metadata = files.read_safetensors(path.read_bytes())
    assert (found["latent"] == ARRAY.astype(np.float32)).all()
    assert json.dumps(metadata) == '{"latentd.space": "model"}'
