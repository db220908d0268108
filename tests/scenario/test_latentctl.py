# SPDX-License-Identifier: Apache-2.0
"""latentctl from end to end: decode and encode, good files and wrong ones."""

import grp
import io
import json
import os
import socket
import subprocess

import numpy
import pytest
from PIL import Image

import processes
from files import (
    read_safetensors, safetensors, write_latent, write_npy,
)
from samples import (
    direct_jpg, direct_pixels, file_of, latent, picture, pixels_of, raw,
    texts_of, values,
)

IMAGE_MODELS = ("sd-v1", "sdxl", "flux")


@pytest.fixture
def endpoint(start_endpoint):
    return start_endpoint()


@pytest.fixture
def daemon(endpoint, start_daemon):
    return start_daemon(endpoint.sections())


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def error_of(done):
    return done.stderr.decode()


# ---- decode ----


@pytest.mark.parametrize("model", IMAGE_MODELS)
def test_decode_writes_the_pixels_of_the_endpoint(
        latentctl, daemon, endpoint, tmp_path, model):
    z = latent(model, seed=3)
    path = write_latent(tmp_path / "one.safetensors", z)
    out = tmp_path / "new" / "out"
    done = latentctl(
        daemon, "decode", path, "--model", model, "--out", out, check=0)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert names(out) == ["one.png"]
    pixels = pixels_of((out / "one.png").read_bytes())
    assert (pixels == direct_pixels(endpoint.url, z)[0]).all()


def test_decode_of_a_video_gives_an_mp4_or_its_frames(
        latentctl, daemon, endpoint, tmp_path):
    z = latent("hunyuan-video", frames=2)
    path = write_latent(tmp_path / "v.safetensors", z)
    latentctl(daemon, "decode", path, "--model", "hunyuan-video",
              "--out", tmp_path / "a", check=0)
    assert names(tmp_path / "a") == ["v.mp4"]
    assert (tmp_path / "a/v.mp4").read_bytes()[4:8] == b"ftyp"
    latentctl(daemon, "decode", path, "--model", "hunyuan-video",
              "--format", "png", "--out", tmp_path / "b", check=0)
    assert names(tmp_path / "b") == [f"v-{i:04}.png" for i in range(5)]
    frames = direct_pixels(endpoint.url, z)
    for i in range(5):
        data = (tmp_path / "b" / f"v-{i:04}.png").read_bytes()
        assert (pixels_of(data) == frames[i]).all()


def test_decode_of_a_batch_numbers_the_files(
        latentctl, daemon, endpoint, tmp_path):
    z = latent(batch=3, seed=5)
    path = write_latent(tmp_path / "b.safetensors", z)
    latentctl(daemon, "decode", path, "--model", "sd-v1", "--out", tmp_path,
              check=0)
    expected = direct_pixels(endpoint.url, z)
    for i in range(3):
        data = (tmp_path / f"b-{i}.png").read_bytes()
        assert (pixels_of(data) == expected[i]).all()


def test_decode_formats(latentctl, daemon, endpoint, tmp_path):
    z = latent(seed=7)
    path = write_latent(tmp_path / "z.safetensors", z)
    for kind in ("jpg", "npy", "safetensors"):
        latentctl(daemon, "decode", path, "--model", "sd-v1",
                  "--out", tmp_path / "out", "--format", kind, check=0)
    assert (tmp_path / "out/z.jpg").read_bytes() == direct_jpg(
        endpoint.url, z)
    pixels = direct_pixels(endpoint.url, z)
    assert (numpy.load(tmp_path / "out/z.npy") == pixels).all()
    tensors, metadata = read_safetensors(
        (tmp_path / "out/z.safetensors").read_bytes())
    floats = numpy.moveaxis(tensors["image"], 1, 3)
    assert abs((floats + 1) * 127.5 - pixels).max() < 1.5
    assert metadata["latentd.model"] == "sd-v1"


def test_packed_latents_need_their_size(
        latentctl, daemon, endpoint, tmp_path):
    z = latent("flux", packed=True)
    path = write_latent(tmp_path / "p.safetensors", z)
    argv = ("decode", path, "--model", "flux", "--out", tmp_path)
    done = latentctl(daemon, *argv, check=1)
    assert "p.safetensors" in error_of(done)
    assert "height" in error_of(done)
    latentctl(daemon, *argv, "--width", "64", "--height", "64", check=0)
    pixels = pixels_of((tmp_path / "p.png").read_bytes())
    assert (pixels == direct_pixels(endpoint.url, z)[0]).all()
    done = latentctl(daemon, *argv, "--width", "64", check=2)
    assert "--height is missing" in error_of(done)


def test_latent_files_are_in_vae_space_in_both_versions(
        latentctl, daemon, endpoint, tmp_path):
    z = latent("sd-v1", dtype="float32", seed=2)
    shape = z.fields["shape"]
    vae = values(z.data, "float32", shape)
    marker = {"latent_format_version_0": (b"", "float32", [0])}
    new = {"latent_tensor": (z.data, "float32", shape), **marker}
    old = {"latent_tensor":
           (raw(vae * numpy.float32(0.18215), "float32"), "float32", shape)}
    (tmp_path / "new.latent").write_bytes(safetensors(new))
    (tmp_path / "old.latent").write_bytes(safetensors(old))
    latentctl(daemon, "decode", tmp_path / "new.latent",
              tmp_path / "old.latent", "--model", "sd-v1",
              "--out", tmp_path, check=0)
    expected = direct_pixels(endpoint.url, z, space="vae")[0].astype(int)
    for name in ("new.png", "old.png"):
        pixels = pixels_of((tmp_path / name).read_bytes())
        assert abs(pixels - expected).max() <= 1


def test_npy_files_of_any_order_and_width_are_read(
        latentctl, daemon, endpoint, tmp_path):
    z = latent(seed=9, dtype="float32")
    array = values(z.data, "float32", z.fields["shape"])
    write_npy(tmp_path / "c.npy", z)
    write_npy(tmp_path / "f.npy", z, fortran=True)
    numpy.save(tmp_path / "d.npy", array.astype("f8"))
    files = [tmp_path / f"{name}.npy" for name in "cfd"]
    latentctl(daemon, "decode", *files, "--model", "sd-v1",
              "--out", tmp_path, check=0)
    expected = direct_pixels(endpoint.url, z)[0]
    for name in "cfd":
        pixels = pixels_of((tmp_path / f"{name}.png").read_bytes())
        assert (pixels == expected).all()


def test_dtype_converts_what_is_sent(latentctl, daemon, endpoint, tmp_path):
    z = latent(dtype="float32")
    half = values(z.data, "float32", z.fields["shape"]).astype("float16")
    path = write_latent(tmp_path / "z.safetensors", z)
    latentctl(daemon, "decode", path, "--model", "sd-v1",
              "--dtype", "float16", "--out", tmp_path, check=0)
    sent = type(z)(half.tobytes(), {**z.fields, "dtype": "float16"})
    pixels = pixels_of((tmp_path / "z.png").read_bytes())
    assert (pixels == direct_pixels(endpoint.url, sent)[0]).all()


def test_metadata_of_the_file_goes_into_the_png(latentctl, daemon, tmp_path):
    about = {"prompt": '{"1": "Käse"}', "workflow": "{}", "format": "pt"}
    path = write_latent(tmp_path / "z.safetensors", latent(),
                        metadata=about)
    latentctl(daemon, "decode", path, "--model", "sd-v1",
              "--out", tmp_path, check=0)
    texts = texts_of((tmp_path / "z.png").read_bytes())
    assert texts == {"prompt": about["prompt"], "workflow": "{}"}


def test_metadata_too_long_for_the_png_does_not_cost_the_picture(
        latentctl, daemon, tmp_path):
    path = write_latent(tmp_path / "z.safetensors", latent(),
                        metadata={"workflow": "x" * (1 << 20)})
    done = latentctl(daemon, "decode", path, "--model", "sd-v1",
                     "--out", tmp_path, check=0)
    assert "left out" in error_of(done)
    assert texts_of((tmp_path / "z.png").read_bytes()) == {}


def test_standard_input_and_output(latentctl, daemon, endpoint, tmp_path):
    z = latent(seed=4)
    data = write_latent(tmp_path / "z.safetensors", z).read_bytes()
    done = latentctl(daemon, "decode", "-", "--model", "sd-v1",
                     "--out", "-", input=data, check=0)
    expected = direct_pixels(endpoint.url, z)[0]
    assert (pixels_of(done.stdout) == expected).all()
    latentctl(daemon, "decode", "-", "--model", "sd-v1", "--out", tmp_path,
              input=data, check=0)
    assert (tmp_path / "stdin.png").read_bytes() == done.stdout
    batch = write_latent(tmp_path / "b.safetensors", latent(batch=2))
    done = latentctl(daemon, "decode", batch, "--model", "sd-v1",
                     "--out", "-", check=1)
    assert "2 files" in error_of(done)
    done = latentctl(daemon, "decode", batch, batch, "--model", "sd-v1",
                     "--out", "-", check=2)
    assert "one file" in error_of(done)


def test_files_are_replaced_only_with_force(latentctl, daemon, tmp_path):
    path = write_latent(tmp_path / "z.safetensors", latent())
    (tmp_path / "z.png").write_text("mine")
    argv = ("decode", path, "--model", "sd-v1", "--out", tmp_path)
    done = latentctl(daemon, *argv, check=1)
    assert "z.png exists; --force replaces it" in error_of(done)
    assert (tmp_path / "z.png").read_text() == "mine"
    latentctl(daemon, *argv, "--force", check=0)
    assert pixels_of((tmp_path / "z.png").read_bytes()).shape == (64, 64, 3)
    assert names(tmp_path) == ["z.png", "z.safetensors"]


def test_a_part_that_exists_is_found_when_it_is_written(
        latentctl, daemon, tmp_path):
    path = write_latent(tmp_path / "z.safetensors", latent(batch=2))
    (tmp_path / "z-1.png").write_text("mine")
    done = latentctl(daemon, "decode", path, "--model", "sd-v1",
                     "--out", tmp_path, check=1)
    assert "z-1.png exists" in error_of(done)
    assert (tmp_path / "z-1.png").read_text() == "mine"


def test_inputs_that_would_share_a_name_are_refused(
        latentctl, daemon, tmp_path):
    (tmp_path / "a").mkdir()
    one = write_latent(tmp_path / "z.safetensors", latent())
    two = write_latent(tmp_path / "a" / "z.latent", latent())
    done = latentctl(daemon, "decode", one, two, "--model", "sd-v1",
                     "--out", tmp_path, check=2)
    assert "both be written" in error_of(done)


def test_wrong_files_are_named_and_the_others_are_decoded(
        latentctl, daemon, tmp_path):
    good = write_latent(tmp_path / "good.safetensors", latent())
    wrong = {
        "zip.pt": (b"PK\3\4" + bytes(99), "zip file"),
        "empty.npy": (b"", "is empty"),
        "cut.safetensors": (good.read_bytes()[:-1], "[0,512]"),
        "picture.png": (file_of(picture(), "PNG"), "encode takes pictures"),
    }
    for name, (data, _) in wrong.items():
        (tmp_path / name).write_bytes(data)
    write_latent(tmp_path / "flux.safetensors", latent("flux"))
    done = latentctl(
        daemon, "decode", *(tmp_path / name for name in wrong),
        tmp_path / "missing.npy", tmp_path / "flux.safetensors", good,
        "--model", "sd-v1", "--out", tmp_path / "out", check=1)
    lines = error_of(done).splitlines()
    assert len(lines) == len(wrong) + 2
    for name, (_, sentence) in wrong.items():
        assert any(name in line and sentence in line for line in lines), name
    assert any("missing.npy: No such file" in line for line in lines)
    # The daemon's refusal: 16 channels are not sd-v1's.
    assert any("flux.safetensors" in line and "4" in line for line in lines)
    assert names(tmp_path / "out") == ["good.png"]


# ---- encode ----


@pytest.mark.parametrize("model", IMAGE_MODELS)
def test_encode_then_decode_gives_back_the_picture(
        latentctl, daemon, tmp_path, model):
    pixels = picture(128, 96)
    (tmp_path / "photo.png").write_bytes(file_of(pixels, "PNG"))
    latentctl(daemon, "encode", tmp_path / "photo.png", "--model", model,
              "--out", tmp_path, check=0)
    tensors, metadata = read_safetensors(
        (tmp_path / "photo.safetensors").read_bytes())
    channels = 16 if model == "flux" else 4
    assert tensors["latent"].shape == (1, channels, 12, 16)
    assert metadata["latentd.space"] == "model"
    latentctl(daemon, "decode", tmp_path / "photo.safetensors",
              "--model", model, "--out", tmp_path / "back", check=0)
    back = pixels_of((tmp_path / "back/photo.png").read_bytes())

    def small(p):
        return p.reshape(12, 8, 16, 8, 3).astype(float).mean((1, 3))

    assert abs(small(back) - small(pixels)).mean() < 8


def test_the_space_of_an_encoded_latent_is_remembered(
        latentctl, daemon, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(file_of(picture(), "JPEG"))
    argv = ("encode", tmp_path / "photo.jpg", "--model", "sd-v1")
    latentctl(daemon, *argv, "--out", tmp_path / "m", check=0)
    latentctl(daemon, *argv, "--space", "vae", "--out", tmp_path / "v",
              check=0)
    tensors = [
        read_safetensors((tmp_path / d / "photo.safetensors").read_bytes())[0]
        for d in "mv"
    ]
    factor = tensors[0]["latent"] / tensors[1]["latent"]
    assert abs(numpy.median(factor) - 0.18215) < 0.001
    for directory in "mv":
        latentctl(daemon, "decode",
                  tmp_path / directory / "photo.safetensors",
                  "--model", "sd-v1", "--out", tmp_path / directory, check=0)
    one, two = (
        pixels_of((tmp_path / d / "photo.png").read_bytes()).astype(int)
        for d in "mv"
    )
    assert abs(one - two).max() <= 2


def test_npy_of_bfloat16_is_float32_and_says_so(latentctl, daemon, tmp_path):
    (tmp_path / "photo.png").write_bytes(file_of(picture(), "PNG"))
    argv = ("encode", tmp_path / "photo.png", "--model", "flux")
    done = latentctl(daemon, *argv, "--format", "npy", "--out", tmp_path,
                     check=0)
    assert "written as float32" in error_of(done)
    array = numpy.load(tmp_path / "photo.npy")
    assert array.dtype == numpy.float32
    latentctl(daemon, *argv, "--out", tmp_path, check=0)
    tensors, _ = read_safetensors(
        (tmp_path / "photo.safetensors").read_bytes())
    assert (array == tensors["latent"]).all()
    done = latentctl(daemon, *argv, "--format", "npy", "--out", tmp_path,
                     "--force", "--quiet", check=0)
    assert done.stderr == b""


def test_encode_takes_a_tensor(latentctl, daemon, tmp_path):
    array = numpy.moveaxis(picture(64, 48), 2, 0)[None] / 127.5 - 1
    numpy.save(tmp_path / "i.npy", array.astype("f4"))
    latentctl(daemon, "encode", tmp_path / "i.npy", "--model", "sdxl",
              "--out", tmp_path, check=0)
    tensors, _ = read_safetensors((tmp_path / "i.safetensors").read_bytes())
    assert tensors["latent"].shape == (1, 4, 6, 8)


def test_a_broken_picture_is_refused_before_it_is_sent(
        latentctl, daemon, tmp_path):
    data = file_of(picture(), "PNG")
    (tmp_path / "cut.png").write_bytes(data[:-20])
    done = latentctl(daemon, "encode", tmp_path / "cut.png", "--model",
                     "sd-v1", "--out", tmp_path, check=1)
    assert "cut.png" in error_of(done)


# ---- usage ----


@pytest.mark.parametrize("argv, sentence", [
    (["decoed"], "did you mean decode?"),
    (["--url", "x"], "the command comes first"),
    (["decode"], "needs at least one file"),
    (["decode", "x"], "needs --model"),
    (["decode", "x", "--modle", "sd-v1"], "did you mean --model?"),
    (["decode", "x", "--json"], "has no option --json"),
    (["decode", "x", "-m", "sd-v1"], "has no option -m"),
    (["decode", "x", "--model"], "--model needs a value"),
    (["decode", "x", "--format", "gif"], "png, jpg, mp4, npy or safe"),
    (["decode", "x", "--space", "pixel"], "model or vae"),
    (["decode", "x", "--dtype", "float64"], "float16, bfloat16 or float32"),
    (["decode", "x", "--width", "0"], "1 to 16384"),
    (["decode", "x", "--width", "8x"], "1 to 16384"),
    (["decode", "x", "--timeout", "soon"], "number of seconds"),
    (["encode", "x", "--format", "png"], "npy or safetensors"),
    (["submit", "x", "--task", "encode", "--model", "flux",
      "--format", "jpg"], "encode gives latents"),
    (["submit", "x", "--model", "flux", "--out", "d"], "no option --out"),
    (["collect", "x"], "takes no argument"),
    (["collect", "--out", "-"], "must be a directory"),
    (["status", "x"], "takes no argument"),
    (["cancel"], "needs at least one key"),
])
def test_wrong_usage_exits_with_2_and_says_what_is_right(
        latentctl, argv, sentence):
    done = latentctl(None, *argv, check=2)
    assert sentence in error_of(done)
    assert done.stdout == b""


@pytest.mark.parametrize("command", [
    None, "decode", "encode", "submit", "collect", "status", "cancel"])
def test_help_fits_a_terminal(latentctl, command):
    argv = [command, "--help"] if command else ["--help"]
    text = latentctl(None, *argv, check=0).stdout.decode()
    assert text.startswith("usage: latentctl")
    assert max(map(len, text.splitlines())) < 80


def test_version(latentctl):
    assert latentctl(None, "--version", check=0).stdout.startswith(
        b"latentctl 0.")


def test_a_dead_daemon_exits_with_3(latentctl, short_tmp):
    url = f"ipc://{short_tmp}/nobody.sock"
    done = latentctl(None, "status", "--url", url, "--timeout", "0.1",
                     check=3)
    assert f"no daemon answers at {url}" in error_of(done)
    assert "is latentd running?" in error_of(done)


def test_what_is_no_socket_and_what_has_ended_is_said(latentctl, short_tmp):
    path = short_tmp / "x.sock"
    path.touch()
    argv = ["status", "--url", f"ipc://{path}"]
    assert "it is no socket" in error_of(latentctl(None, *argv, check=3))
    path.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    done = latentctl(None, *argv, check=3)
    assert "what listened there has ended, or hangs" in error_of(done)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be others")
@pytest.mark.parametrize("hidden", [False, True])
def test_who_may_not_connect_is_told_the_group(short_tmp, hidden):
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    argv = [processes.program("latentctl")]
    try:
        subprocess.run([*argv, "--version"], check=True, cwd="/", **nobody)
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("others cannot run the programs under test")
    short_tmp.chmod(0o755)
    directory = short_tmp / "run"
    directory.mkdir()
    path = directory / "latentd.sock"
    group = grp.getgrgid(1)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        path.chmod(0o660)
        os.chown(directory if hidden else path, 0, group.gr_gid)
        directory.chmod(0o750 if hidden else 0o755)
        done = subprocess.run(
            [*argv, "status", "--url", f"ipc://{path}"], check=False,
            cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, **nobody,
        )
    assert done.returncode == 3
    assert "permission denied" in error_of(done)
    assert f'must be in group "{group.gr_name}"' in error_of(done)
    assert f"usermod -aG {group.gr_name} USER" in error_of(done)


def test_a_url_of_another_kind_is_wrong_usage(latentctl):
    done = latentctl(None, "status", "--url", "http://127.0.0.1", check=2)
    assert "ipc:///PATH, tcp://HOST:PORT" in error_of(done)


# ---- status ----


def test_status_for_people_and_for_programs(latentctl, daemon, tmp_path):
    path = write_latent(tmp_path / "z.safetensors", latent())
    latentctl(daemon, "decode", path, "--model", "sd-v1",
              "--out", tmp_path, check=0)
    report = json.loads(latentctl(daemon, "status", "--json", check=0).stdout)
    assert report["jobs"]["done_total"] == 1
    text = latentctl(daemon, "status", check=0).stdout.decode()
    assert "1 done, 0 failed" in text
    line = next(s for s in text.splitlines() if s.startswith("sd-v1-decode"))
    assert line.split() == ["sd-v1-decode", "sd-v1", "decode", "fit",
                            f"0/{report['endpoints'][0]['parallel']}",
                            "1", "0"]


def test_nothing_of_a_finished_command_remains(latentctl, daemon, tmp_path):
    files = [
        write_latent(tmp_path / f"{i}.safetensors", latent(seed=i))
        for i in range(6)
    ]
    latentctl(daemon, "decode", *files, "--model", "sd-v1",
              "--out", tmp_path, check=0)
    report = json.loads(latentctl(daemon, "status", "--json", check=0).stdout)
    assert report["jobs"]["kept"] == 0
    assert report["producers"] == []


def test_png_from_latentctl_is_a_png_for_others(latentctl, daemon, tmp_path):
    path = write_latent(tmp_path / "z.safetensors", latent())
    done = latentctl(daemon, "decode", path, "--model", "sd-v1",
                     "--out", "-", check=0)
    image = Image.open(io.BytesIO(done.stdout))
    image.verify()
    assert image.format == "PNG"
