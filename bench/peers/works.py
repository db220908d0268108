# SPDX-License-Identifier: Apache-2.0
"""The work of the benchmarks: latents, what asks for them, and the replies.

The latents are soft noise of the sizes that pipelines give, and the replies are
what latentd-endpoint makes of them once, so that files are as large as they are.
"""

import threading
import urllib.request
from dataclasses import dataclass, replace

import numpy

import servers

# What asks for each kind of result: its Accept and its part of the query.
ASKED = {
    "jpg": ("image/jpeg", "image_format=jpg&output_type=pil"
                          "&partial_postprocess=False"),
    "png": ("image/png", "image_format=png&output_type=pil"
                         "&partial_postprocess=False"),
    "uint8": ("tensor/binary", "image_format=jpg&output_type=pt"
                               "&partial_postprocess=True"),
    "mp4": ("text/plain", "image_format=jpg&output_type=mp4"
                          "&partial_postprocess=False"),
}
SCALING = {"sd-v1": "&scaling_factor=0.18215",
           "sdxl": "&scaling_factor=0.13025",
           "flux": "&scaling_factor=0.3611&shift_factor=0.1159"
                   "&height=1024&width=1024",
           "hunyuan-video": "&do_scaling=True"}


@dataclass(frozen=True)
class Work:
    title: str
    model: str
    shape: tuple
    output: str

    @property
    def accept(self):
        return ASKED[self.output][0]

    @property
    def target(self):
        """Path and query of a request for it, as diffusers sends them."""
        shape = "".join(f"&shape={n}" for n in self.shape)
        return (f"/{self.model}?{ASKED[self.output][1]}{shape}"
                f"&dtype=float16{SCALING[self.model]}")

    def latent(self):
        """Soft noise: every value is near its neighbours'."""
        random = numpy.random.default_rng(1)
        coarse = random.normal(
            size=self.shape[:-2] + (self.shape[-2] // 4, self.shape[-1] // 4))
        smooth = coarse.repeat(4, -1).repeat(4, -2)
        noisy = smooth + 0.05 * random.normal(size=smooth.shape)
        return noisy.astype("<f2").tobytes()


SDXL, FLUX, HUNYUAN = (1, 4, 128, 128), (1, 4096, 64), (1, 16, 16, 40, 64)
WORKS = {
    "sdxl": Work("SDXL 1024² → JPEG", "sdxl", SDXL, "jpg"),
    "sdxl-uint8": Work("SDXL 1024² → uint8", "sdxl", SDXL, "uint8"),
    "sdxl-png": Work("SDXL 1024² → PNG", "sdxl", SDXL, "png"),
    "flux": Work("Flux 1024², packed → JPEG", "flux", FLUX, "jpg"),
    "hunyuan": Work("HunyuanVideo 512 × 320, 61 frames → MP4",
                    "hunyuan-video", HUNYUAN, "mp4"),
    # For the tests: soon made, also with sanitizers.
    "small": Work("SDXL 64²", "sdxl", (1, 4, 8, 8), "jpg"),
    **{f"{model}-{side}": Work(
        f"{model} {side}²", model, (1, 4, side // 8, side // 8), "jpg")
       for model in ("sd-v1", "sdxl") for side in (512, 1024)},
}


class Prepared:
    """A work's files in a directory: the latent, and whole HTTP replies."""

    def __init__(self, work, directory, endpoint_port):
        self.work = work
        self.body = directory / "latent"
        self.body.write_bytes(work.latent())
        self.latent_bytes = self.body.stat().st_size
        url = f"http://127.0.0.1:{endpoint_port}"
        self.reply_bytes = self.keep(url, work, directory / "reply")
        # For bench-canned: what is in a request, and what answers it.
        self.replies = [f"POST :{directory}/reply"]
        # 0: any length.
        self.result_bytes = self.reply_bytes
        if work.output == "png":
            # Latentd's producers get pictures that it has written itself.
            self.keep(url, replace(work, output="uint8"), directory / "pixels")
            self.replies.insert(0, f"output_type=pt:{directory}/pixels")
            self.result_bytes = 0

    def keep(self, url, work, path):
        """Have an endpoint do the work; how long its result is."""
        request = urllib.request.Request(
            url + work.target, self.body.read_bytes(),
            {"Accept": work.accept, "Content-Type": "tensor/binary"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request) as reply:
            data = reply.read()
            kept = [f"{name}: {reply.headers[name]}"
                    for name in ("Content-Type", "shape", "dtype")
                    if reply.headers[name]]
        head = ["HTTP/1.1 200 OK", *kept, f"Content-Length: {len(data)}"]
        path.write_bytes("\r\n".join(head).encode() + b"\r\n\r\n" + data)
        return len(data)


def prepare(names, bin_dir, directory):
    """{name: Prepared}, by an endpoint that runs only for that."""
    found = {}
    with servers.running(
            [bin_dir / "latentd-endpoint", "--listen", "127.0.0.1:0"],
            directory, threading.Event()) as endpoint:
        port = endpoint.said_port()
        for name in names:
            own = directory / name
            own.mkdir()
            found[name] = Prepared(WORKS[name], own, port)
    return found
