# SPDX-License-Identifier: Apache-2.0
"""The package as it is built, typed and installed."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import conftest
import latentd
import processes
from latentd import _library

PACKAGE = conftest.PACKAGE_DIR


def module_missing(name):
    return importlib.util.find_spec(name) is None


@pytest.fixture
def build_wheel(tmp_path):
    """Build a wheel of a copy, offline; its path."""
    if module_missing("pip") or module_missing("setuptools") or \
            module_missing("wheel"):
        pytest.skip("needs python3-pip, python3-setuptools, python3-wheel")

    def call(source=None, **env):
        source = source or tmp_path / f"source{len(list(tmp_path.iterdir()))}"
        shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns(
            "__pycache__", "build", "*.egg-info"))
        out = tmp_path / "wheels"
        processes.run(
            sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps",
            "--no-build-isolation", "--disable-pip-version-check",
            "--wheel-dir", out, source,
            env={"PIP_CONFIG_FILE": os.devnull, "HOME": str(tmp_path), **env},
            check=0)
        (wheel,) = out.iterdir()
        return wheel

    return call


def test_a_wheel_is_built_offline_and_holds_everything(build_wheel):
    wheel = build_wheel()
    assert wheel.name == f"latentd-{latentd.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {f"latentd/{path.relative_to(PACKAGE / 'latentd')}"
               for path in (PACKAGE / "latentd").rglob("*.py")}
    assert modules | {"latentd/py.typed"} <= names
    metadata = zipfile.ZipFile(wheel).read(
        f"latentd-{latentd.__version__}.dist-info/METADATA").decode()
    assert "Requires-Python: >=3.10" in metadata
    assert re.findall(r"^Requires-Dist: (.*)$", metadata, re.M)[0].startswith(
        "numpy")


def built_checkout(root):
    """Where the package lies in a checkout after ./dev build."""
    library = root / "build/release/lib/liblatentd.so.0"
    library.parent.mkdir(parents=True)
    shutil.copyfile(conftest.LIBRARY, library)
    (root / "include/latentd").mkdir(parents=True)
    (root / "include/latentd/client.h").touch()
    return root / "client/python"


@pytest.mark.parametrize("how", ["named", "built"])
def test_a_wheel_may_bring_the_library(build_wheel, service, tmp_path, how):
    if how == "named":
        wheel = build_wheel(LATENTD_BUNDLE=str(conftest.LIBRARY))
    else:
        wheel = build_wheel(built_checkout(tmp_path / "checkout"))
    assert re.fullmatch(r"latentd-[\d.]+-py3-none-linux_\w+\.whl", wheel.name)
    place = tmp_path / "place"
    zipfile.ZipFile(wheel).extractall(place)
    env = {**os.environ, "PYTHONPATH": str(place), "LATENTD_URL": service.url}
    env.pop("LATENTD_LIBRARY")
    done = processes.run(
        "env", "-u", "LATENTD_LIBRARY", sys.executable, "-c",
        "import latentd\n"
        "with latentd.connect() as c: print(c._core.library.path)",
        env={k: env[k] for k in ("PYTHONPATH", "LATENTD_URL")}, check=0)
    assert done.stdout.decode().strip() == str(
        place / "latentd/liblatentd.so.0")


def test_a_wheel_for_an_installed_library_brings_none(build_wheel, tmp_path):
    wheel = build_wheel(built_checkout(tmp_path / "checkout"),
                        LATENTD_BUNDLE="")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist()
                if ".so" in name]


def test_the_version_is_that_of_the_library():
    header = (processes.SOURCE_DIR / "include/latentd/version.h").read_text()
    assert f'LATENTD_VERSION "{latentd.__version__}"' in header


def test_the_library_is_looked_for_in_order(monkeypatch):
    assert _library.candidates() == [str(conftest.LIBRARY)]
    monkeypatch.delenv("LATENTD_LIBRARY")
    found = _library.candidates()
    assert found[-1] == "liblatentd.so.0" or "liblatentd.so.0" in found
    assert [path for path in found if "/build/" in path] == [
        path for path in found if path != "liblatentd.so.0"
        and path.startswith(str(processes.SOURCE_DIR))]


def test_every_public_name_says_what_it_is():
    for name in latentd.__all__:
        value = getattr(latentd, name)
        assert isinstance(value, (str, dict)) or value.__doc__, name
    for kind in (latentd.Client, latentd.Job, latentd.Result,
                 latentd.Progress):
        for name, value in vars(kind).items():
            if not name.startswith("_") and (
                    callable(value) or isinstance(value, property)):
                assert value.__doc__, f"{kind.__name__}.{name}"


def test_structures_are_as_long_as_in_c(tmp_path):
    """What ctypes lays out is what the compiler does."""
    fields = {
        "latentd_client_options": _library.Options,
        "latentd_request": _library.Request,
        "latentd_tensor": _library.Tensor,
        "latentd_tls": _library.Tls,
        "latentd_metadata": _library.Metadata,
    }
    lines = [
        f'printf("{struct}.{name} %zu\\n", offsetof(struct {struct}, {name}));'
        for struct, kind in fields.items()
        for name, *_ in kind._fields_ if name != "later"
    ]
    (tmp_path / "sizes.c").write_text(
        "#include <stdio.h>\n#include <latentd/client.h>\n"
        "int main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}\n")
    processes.run("cc", "-I", processes.SOURCE_DIR / "include", "-o",
                  tmp_path / "sizes", tmp_path / "sizes.c", check=0)
    text = processes.run(tmp_path / "sizes", check=0).stdout.decode()
    assert text.splitlines() == [
        f"{struct}.{name} {getattr(kind, name).offset}"
        for struct, kind in fields.items()
        for name, *_ in kind._fields_ if name != "later"
    ]


def test_numbers_of_enums_are_those_of_the_header():
    header = (processes.SOURCE_DIR / "include/latentd/types.h").read_text()
    for enum, table, prefix in (
            ("latentd_dtype", _library.DTYPES, ""),
            ("latentd_task", _library.TASKS, "LATENTD_"),
            ("latentd_space", _library.SPACES, "LATENTD_SPACE_"),
            ("latentd_output", _library.OUTPUTS, "LATENTD_OUT_"),
            ("latentd_priority", _library.PRIORITIES, "LATENTD_"),
            ("latentd_durability", _library.DURABILITIES,
             "LATENTD_DURABILITY_")):
        body = re.search(enum + r" \{(.*?)\}", header, re.S)[1]
        names = re.findall(r"(LATENTD_\w+)", re.sub(r"/\*.*?\*/", "", body,
                                                   flags=re.S))
        assert sorted(table.values()) == list(range(len(names)))
        for name, number in table.items():
            if enum == "latentd_dtype":
                short = {"float16": "F16", "bfloat16": "BF16",
                         "float32": "F32", "uint8": "U8"}
                expected = "LATENTD_" + short.get(name, "DTYPE_NONE")
            else:
                expected = prefix + (name.upper() or "NONE")
            assert names[number] == expected


def test_it_is_typed_strictly():
    """mypy of Debian is a program, not a module of every Python."""
    mypy = shutil.which("mypy", path="/usr/bin") or shutil.which("mypy")
    if mypy is None:
        pytest.skip("needs mypy")
    done = subprocess.run([mypy, "--cache-dir", os.devnull], cwd=PACKAGE,
                          stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stdout.decode()


def test_it_is_python_3_10():
    for path in PACKAGE.rglob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 10))
