# SPDX-License-Identifier: Apache-2.0
"""numpy alone: without torch, Pillow, tqdm and IPython."""

import pytest

ALONE = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "PIL", "tqdm", "IPython",
                                      "requests", "safetensors", "diffusers"):
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Missing())
import numpy as np, latentd
z = np.random.default_rng(1).normal(size=(2, 4, 8, 8)).astype(np.float16)
client = latentd.connect()
"""


@pytest.mark.parametrize("text, output", [
    ("print(*[a.shape for a in "
     "client.decode(z, 'sd-v1', output='pixels').result(60).numpy()])",
     b"(64, 64, 3) (64, 64, 3)\n"),
    ("print(client.decode(z[:1], 'sd-v1').result(60).bytes()[1:4])",
     b"b'PNG'\n"),
    ("print(client.encode(np.zeros((64, 64, 3), np.uint8), 'sd-v1')"
     ".result(60).numpy().shape)", b"(1, 4, 8, 8)\n"),
    ("print(sorted(client.decode(z[:1], 'sd-v1').result(60)"
     "._repr_mimebundle_()))", b"['image/png', 'text/plain']\n"),
    ("print(sorted(client.decode(z[:1], 'sd-v1', output='pixels').result(60)"
     "._repr_mimebundle_()))", b"['text/plain']\n"),
    ("print(latentd.remote_decode('sd-v1', z, scaling_factor=0.18215,"
     "output_type='pt', return_type='pt').shape)", b"(2, 3, 64, 64)\n"),
])
def test_numpy_is_enough(service, script, text, output):
    done = script(ALONE + text, service, check=0)
    assert done.stdout == output
    assert done.stderr == b""


@pytest.mark.parametrize("text, sentence", [
    ("client.decode(z, 'sd-v1').result(60).pil()", "needs Pillow"),
    ("client.decode(z, 'sd-v1').result(60).numpy()", "output=\"pixels\""),
    ("client.decode(z, 'sd-v1').result(60).torch()", "needs PyTorch"),
    ("list(client.map([z], 'sd-v1', tqdm=True))", "needs tqdm"),
])
def test_what_needs_more_says_what(service, script, text, sentence):
    done = script(ALONE + text, service, check=1)
    assert "ImportError" in done.stderr.decode()
    assert sentence in done.stderr.decode()


def test_nothing_more_is_imported(script):
    done = script("""
import sys, latentd
print(sorted({name.partition(".")[0] for name in sys.modules} &
             {"torch", "PIL", "tqdm", "IPython", "requests", "asyncio"}))
""", check=0)
    assert done.stdout == b"['asyncio']\n"
