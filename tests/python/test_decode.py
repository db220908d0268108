# SPDX-License-Identifier: Apache-2.0
"""Latents in, pictures out, and back: what a Result gives."""

import io

import numpy as np
import pytest
from PIL import Image

import files
import latentd
import samples
from arrays import array_of

PATIENCE_S = 60


def expected_of(service, z, **query):
    return samples.direct_pixels(service.endpoint, z, **query)


def test_pixels_are_those_of_the_endpoint(service, connect):
    z = samples.latent("sdxl")
    result = connect(service).decode(
        array_of(z), "sdxl", output="pixels").result(PATIENCE_S)
    found = result.numpy()
    assert found.dtype == np.uint8
    assert (found == expected_of(service, z)[0]).all()
    assert (result.width, result.height, result.frames_n) == (64, 64, 1)
    assert (np.asarray(result.pil()) == found).all()
    assert result.bytes() == found.tobytes()
    assert result.attempts == 1 and result.endpoint == "sdxl-decode"


def test_without_an_output_it_is_a_png(service, connect):
    z = samples.latent("sdxl")
    result = connect(service).decode(array_of(z), "sdxl", metadata={
        "parameters": "ein Kätzchen", "seed": "7"}).result(PATIENCE_S)
    assert result.output == "png"
    assert samples.texts_of(result.bytes()) == {
        "parameters": "ein Kätzchen", "seed": "7"}
    assert (result.numpy() == expected_of(service, z)[0]).all()
    assert result.pil().format == "PNG"


def test_jpg_is_the_endpoints_file(service, connect):
    z = samples.latent("sdxl")
    result = connect(service).decode(
        array_of(z), "sdxl", output="jpg").result(PATIENCE_S)
    assert result.bytes() == samples.direct_jpg(service.endpoint, z)


def test_floats_are_in_their_range(service, connect):
    z = samples.latent("sdxl", batch=2)
    result = connect(service).decode(
        array_of(z), "sdxl", output="float").result(PATIENCE_S)
    first, second = result.numpy()
    assert first.shape == (3, 64, 64) and first.dtype == np.float16
    assert -1 <= first.min() < first.max() <= 1
    reply = samples.direct(service.endpoint, z, output_type="pt",
                           partial_postprocess="False")
    assert np.stack([first, second]).tobytes() == reply.content
    expected = expected_of(service, z).astype(int)
    images = [np.asarray(image).astype(int) for image in result.pil()]
    assert abs(np.stack(images) - expected).max() <= 1


def test_bfloat16_results_become_float32(service, connect):
    z = samples.latent("flux")
    result = connect(service).decode(
        array_of(z), "flux", output="float").result(PATIENCE_S)
    assert result.dtype == "bfloat16"
    found = result.numpy()
    assert found.dtype == np.float32
    assert (found == samples.values(
        result.bytes(), "bfloat16", (3, 64, 64))).all()


@pytest.mark.parametrize("output", ["png", "jpg", "pixels", "float"])
def test_a_batch_is_a_list_in_order(service, connect, output):
    z = samples.latent("sd-v1", batch=3)
    client = connect(service)
    result = client.decode(
        array_of(z), "sd-v1", output=output).result(PATIENCE_S)
    assert len(result) == 3
    for images in (result.pil(), [one.pil() for one in result]):
        assert [image.size for image in images] == [(64, 64)] * 3
    for i, found in enumerate(result.numpy()):
        alone = client.decode(
            array_of(z.one(i)), "sd-v1", output=output).result(PATIENCE_S)
        assert (alone.numpy() == found).all()
        assert (result[i].numpy() == found).all()
        assert result[i].bytes() == result.bytes()[i] == alone.bytes()
    assert [one.bytes() for one in result[1:]] == result.bytes()[1:]
    with pytest.raises(IndexError):
        result[3]


def test_packed_latents_need_their_size(service, connect):
    z = samples.latent("flux", 12, 16, packed=True)
    client = connect(service)
    result = client.decode(array_of(z), "flux", height=96, width=128,
                           output="pixels").result(PATIENCE_S)
    assert (result.numpy() == expected_of(service, z)[0]).all()
    with pytest.raises(latentd.ShapeError, match="height and width"):
        client.decode(array_of(z), "flux")


def test_latents_in_vae_space_are_not_scaled_again(service, connect):
    z = samples.latent("sd-v1")
    result = connect(service).decode(
        array_of(z), "sd-v1", space="vae", output="pixels"
    ).result(PATIENCE_S)
    assert (result.numpy() == expected_of(service, z, space="vae")[0]).all()


def test_videos_come_as_mp4_and_as_frames(service, connect):
    z = samples.latent("hunyuan-video", frames=2)
    client = connect(service)
    mp4 = client.decode(array_of(z), "hunyuan-video").result(PATIENCE_S)
    assert (mp4.output, mp4.frames_n, len(mp4)) == ("mp4", 5, 1)
    assert mp4.bytes()[4:8] == b"ftyp"
    with pytest.raises(latentd.InvalidError, match="pixels"):
        mp4.frames()
    expected = expected_of(service, z)
    for output in ("pixels", "png"):
        result = client.decode(array_of(z), "hunyuan-video",
                               output=output).result(PATIENCE_S)
        assert len(result) == 1
        assert (result.numpy() == expected).all()
        assert (np.stack(result.frames()) == expected).all()
        assert len(result.pil()) == 5
    assert len(result.bytes()) == 5
    floats = client.decode(array_of(z), "hunyuan-video",
                           output="float").result(PATIENCE_S)
    assert floats.numpy().shape == (3, 5, 64, 64)
    assert len(floats.frames()) == 5


def test_a_batch_of_videos_is_a_list_of_videos(service, connect):
    z = samples.latent("hunyuan-video", frames=2, batch=2)
    client = connect(service)
    for output, each in (("pixels", (5, 64, 64, 3)), ("png", (5, 64, 64, 3)),
                         ("float", (3, 5, 64, 64))):
        result = client.decode(array_of(z), "hunyuan-video",
                               output=output).result(PATIENCE_S)
        assert len(result) == 2
        assert [found.shape for found in result.numpy()] == [each] * 2
        assert [len(video) for video in result.pil()] == [5, 5]
    mp4 = client.decode(array_of(z), "hunyuan-video").result(PATIENCE_S)
    assert [data[4:8] for data in mp4.bytes()] == [b"ftyp"] * 2


def test_a_picture_comes_back_through_its_latent(service, connect):
    pixels = samples.picture(64, 64)
    client = connect(service)
    whole = client.encode(np.stack([pixels, pixels[::-1]]),
                          "sd-v1").result(PATIENCE_S)
    assert whole.output == "latent"
    assert whole.numpy().shape == (2, 4, 8, 8)
    one = client.encode(Image.fromarray(pixels), "sd-v1").result(PATIENCE_S)
    latent = one.numpy()
    assert latent.shape == (1, 4, 8, 8)
    assert abs(latent - whole.numpy()[:1]).max() < 0.01
    back = client.decode(latent, "sd-v1", output="pixels").result(PATIENCE_S)

    def coarse(picture):
        return picture.reshape(8, 8, 8, 8, 3).mean((1, 3))

    assert abs(coarse(back.numpy().astype(float)) -
               coarse(pixels.astype(float))).mean() < 6
    with pytest.raises(latentd.InvalidError, match="no picture"):
        one.pil()


def test_encode_gives_the_space_that_was_asked_for(service, connect):
    client = connect(service)
    image = Image.fromarray(samples.picture())
    model, vae = (
        client.encode(image, "flux", space=space).result(
            PATIENCE_S).numpy().astype(np.float32)
        for space in ("model", "vae"))
    np.testing.assert_allclose(model, (vae - 0.1159) * 0.3611, atol=0.03)


def test_results_are_saved_in_the_format_of_the_name(
        service, connect, tmp_path):
    z = samples.latent("sd-v1")
    client = connect(service)
    png = client.decode(array_of(z), "sd-v1").result(PATIENCE_S)
    pixels = client.decode(
        array_of(z), "sd-v1", output="pixels").result(PATIENCE_S)
    assert png.save(tmp_path / "a").name == "a.png"
    assert (tmp_path / "a.png").read_bytes() == png.bytes()
    assert pixels.save(tmp_path / "b.png") == tmp_path / "b.png"
    assert (samples.pixels_of((tmp_path / "b.png").read_bytes()) ==
            png.numpy()).all()
    png.save(tmp_path / "c.jpeg")
    assert Image.open(tmp_path / "c.jpeg").format == "JPEG"
    pixels.save(str(tmp_path / "d.npy"))
    assert (np.load(tmp_path / "d.npy") == png.numpy()).all()
    with pytest.raises(latentd.InvalidError, match=".mp4"):
        png.save(tmp_path / "e.mp4")
    with pytest.raises(ValueError):
        png.save(tmp_path / "f.nonsense")
    with pytest.raises(FileNotFoundError):
        png.save(tmp_path / "none/g.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.png", "b.png", "c.jpeg", "d.npy"]


def test_a_name_that_cannot_be_saved_is_named(service, connect, tmp_path):
    result = connect(service).decode(
        array_of(samples.latent("sd-v1")), "sd-v1").result(PATIENCE_S)
    with pytest.raises(latentd.InvalidError, match=r"\.5.*\.png"):
        result.save(tmp_path / "cfg-7.5")
    with pytest.raises(FileNotFoundError) as caught:
        result.save(tmp_path / "none/cat.png")
    assert caught.value.filename == str(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_several_files_are_numbered(service, connect, tmp_path):
    z = samples.latent("sd-v1", batch=2)
    result = connect(service).decode(
        array_of(z), "sd-v1").result(PATIENCE_S)
    assert [p.name for p in result.save(tmp_path / "a.png")] == [
        "a-0000.png", "a-0001.png"]
    assert (tmp_path / "a-0001.png").read_bytes() == result.bytes()[1]


def test_saved_latents_decode(service, connect, tmp_path):
    client = connect(service)
    encoded = client.encode(Image.fromarray(samples.picture()),
                            "sd-v1").result(PATIENCE_S)
    path = encoded.save(tmp_path / "z")
    assert path.suffix == ".safetensors"
    found, _ = files.read_safetensors(path.read_bytes())
    assert (found["latent"] == encoded.numpy().astype(np.float32)).all()
    result = client.decode(path, "sd-v1", output="pixels").result(PATIENCE_S)
    again = client.decode(encoded.numpy(), "sd-v1",
                          output="pixels").result(PATIENCE_S)
    assert (result.numpy() == again.numpy()).all()
    encoded.save(tmp_path / "z.npy")
    assert (np.load(tmp_path / "z.npy") == encoded.numpy()).all()


def test_metadata_of_a_file_goes_into_the_png(service, connect, tmp_path):
    path = files.write_latent(
        tmp_path / "z", samples.latent("sd-v1"), metadata={"prompt": "{}"})
    client = connect(service)
    png = client.decode(path, "sd-v1").result(PATIENCE_S)
    assert samples.texts_of(png.bytes()) == {"prompt": "{}"}
    jpg = client.decode(path, "sd-v1", output="jpg").result(PATIENCE_S)
    assert jpg.bytes()[:3] == b"\xff\xd8\xff"


def test_arrays_outlive_their_result_and_client(service, connect):
    z = samples.latent("sd-v1")
    client = connect(service)
    array = client.decode(
        array_of(z), "sd-v1", output="pixels").result(PATIENCE_S).numpy()
    client.close()
    assert (array == expected_of(service, z)[0]).all()
    array[:] = 0


def test_torch_results_have_the_endpoints_dtype(service, connect):
    torch = pytest.importorskip("torch")
    client = connect(service)
    for model, kind in (("sd-v1", torch.float16), ("flux", torch.bfloat16)):
        z = torch.from_numpy(array_of(samples.latent(model)).copy())
        result = client.decode(z, model, output="float").result(PATIENCE_S)
        assert result.torch().dtype == kind
        assert result.torch().shape == (3, 64, 64)
        assert (result.torch().float().numpy() ==
                result.numpy().astype(np.float32)).all()
        png = client.decode(z, model).result(PATIENCE_S)
        assert (png.torch().numpy() == png.numpy()).all()
        image = Image.fromarray(samples.picture())
        latent = client.encode(image, model).result(PATIENCE_S).torch()
        assert latent.shape == (1, z.shape[1], 6, 8) and latent.dtype == kind
        client.decode(latent, model).result(PATIENCE_S)


def test_status_is_the_daemons_report(service, connect):
    report = connect(service).status()
    assert report["state"] == "running"
    assert {e["model"] for e in report["endpoints"]} == set(latentd.MODELS)


@pytest.mark.parametrize("arguments, error, sentence", [
    ({"model": "sdlx"}, latentd.ModelError, "did you mean"),
    ({"model": "flux"}, latentd.ShapeError, "must be [N,16,h,w]"),
    ({"output": "gif"}, latentd.InvalidError, "there are jpg, png, mp4"),
    ({"output": "latent"}, latentd.InvalidError, "decode does not give"),
    ({"output": "jpg", "metadata": {"a": "b"}}, latentd.InvalidError,
     "png only"),
    ({"metadata": {"a" * 80: "b"}}, latentd.InvalidError, "1 to 79"),
    ({"space": "rgb"}, latentd.InvalidError, "there are model, vae"),
    ({"priority": "soon"}, latentd.InvalidError, "urgent"),
    ({"metadata": {"a": "b\0c"}}, latentd.InvalidError, "NUL"),
    ({"key": "a b"}, latentd.InvalidError, "not a name"),
    ({"deadline": 0}, latentd.InvalidError, "at most a week"),
    ({"refuse_late": True}, latentd.InvalidError, "needs a deadline"),
    ({"height": 0}, latentd.InvalidError, "1 to 16384"),
])
def test_wrong_arguments_are_refused_at_the_call(
        service, connect, arguments, error, sentence):
    z = array_of(samples.latent("sd-v1"))
    with pytest.raises(error) as caught:
        connect(service).decode(z, **{"model": "sd-v1", **arguments})
    assert sentence in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_what_only_the_daemon_knows_fails_the_job(start_endpoint,
                                                  start_daemon, connect):
    daemon = start_daemon(start_endpoint().sections(["sdxl"], ["decode"]))
    client = connect(daemon)
    job = client.decode(array_of(samples.latent("sd-v1")), "sd-v1")
    with pytest.raises(latentd.ModelError, match="sd-v1") as caught:
        job.result(PATIENCE_S)
    assert caught.value.code == "model"
    assert job.state == "failed" and job.why() == str(caught.value)
    job = client.decode(array_of(samples.latent("sdxl")), "sdxl",
                        output="mp4")
    with pytest.raises(latentd.InvalidError, match="mp4"):
        job.result(PATIENCE_S)


def test_a_model_that_only_the_daemon_knows_is_asked_for(
        service, connect):
    client = connect(service)
    client._services = ("newer",)
    job = client.decode(array_of(samples.latent("sd-v1")), "newer")
    with pytest.raises(latentd.ModelError):
        job.result(PATIENCE_S)


def test_an_image_in_memory_is_what_pil_opens(service, connect):
    z = array_of(samples.latent("sd-v1"))
    result = connect(service).decode(z, "sd-v1").result(PATIENCE_S)
    (view,) = result.view()
    assert Image.open(io.BytesIO(view)).size == (64, 64)
