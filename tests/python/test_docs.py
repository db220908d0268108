# SPDX-License-Identifier: Apache-2.0
"""What the documents show runs as it stands."""

import re

import pytest

import latentd
import processes

SETUP = """
import numpy as np
latents = [np.full((1, 4, 8, 8), i, np.float16) for i in range(2)]
latent = latents[0]
"""

BLOCKS = {
    f"{name}-{i}": block
    for name in ("README.md", "docs/python.md", "client/python/README.md")
    for i, block in enumerate(re.findall(
        r"^```python\n(.*?)^```",
        (processes.SOURCE_DIR / name).read_text(), re.M | re.S))
    if "latentd" in block and "diffusers" not in block
}


def test_there_is_something_to_run():
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_shown_runs(service, script, tmp_path, name):
    text = re.sub(r"http://127\.0\.0\.1:\d+", service.endpoint, BLOCKS[name])
    done = script(SETUP + text, service, cwd=tmp_path, check=0)
    assert done.stderr == b""
    if ".save(" in text:
        assert len(list(tmp_path.rglob("*.png"))) == 2


def test_every_exception_is_in_the_table():
    text = (processes.SOURCE_DIR / "docs/python.md").read_text()
    for name in latentd.__all__:
        kind = getattr(latentd, name)
        if isinstance(kind, type) and issubclass(kind, latentd.LatentdError) \
                and name not in ("NotFound", "RemoteError"):
            assert f"`{name}`" in text, name
