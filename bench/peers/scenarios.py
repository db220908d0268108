# SPDX-License-Identifier: Apache-2.0
"""Who is measured by ./dev bench peers, and at what."""

import importlib.util
from dataclasses import dataclass

import patterns
import servers


@dataclass(frozen=True)
class Contestant:
    title: str
    client: str  # "guide", ..., "curl", "producers" or "nng"
    middle: str = ""  # what stands before the endpoint; "": nothing
    scheme: str = ""  # of the middle's URL, for producers and nng

    @property
    def reaches_endpoint(self):
        return self.middle != "nng"


CONTESTANTS = {
    "guide": Contestant("the guide: queue, one thread, requests", "guide"),
    "threads": Contestant("a thread for each in flight, requests", "threads"),
    "aiohttp": Contestant("aiohttp", "aiohttp"),
    "curl": Contestant("curl alone (the floor)", "curl"),
    "haproxy": Contestant("curl → HAProxy", "curl", "haproxy"),
    "nginx": Contestant("curl → nginx", "curl", "nginx"),
    "gateway": Contestant("curl → latentd's gateway", "curl", "latentd"),
    "nng-ipc": Contestant("nng alone (its floor) → ipc", "nng", "nng", "ipc"),
    "nng-tcp": Contestant("nng alone (its floor) → tcp", "nng", "nng", "tcp"),
    "ipc": Contestant("liblatentd → ipc → latentd", "producers", "latentd",
                      "ipc"),
    "tcp": Contestant("liblatentd → tcp → latentd", "producers", "latentd",
                      "tcp"),
    "ipc-spool": Contestant("liblatentd → ipc → latentd, spooled",
                            "producers", "spool", "ipc"),
    "gateway-spool": Contestant("curl → latentd's gateway, [spool]", "curl",
                                "spool"),
    "ipc-logged": Contestant("liblatentd → ipc → latentd, a log line a job",
                             "producers", "logged", "ipc"),
}


def is_here(name):
    """Whether this machine has what the contestant needs."""
    if (module := patterns.MODULES.get(CONTESTANTS[name].client)):
        return importlib.util.find_spec(module) is not None
    return {"haproxy": servers.haproxy, "nginx": servers.nginx}.get(
        CONTESTANTS[name].middle, lambda: True)() is not None


@dataclass(frozen=True)
class Scenario:
    title: str
    contestants: tuple
    in_flight: int
    work: str = "sdxl"
    service_ms: int = 0
    places: int = 16
    producers: int = 1
    seconds: float = 1.0

    @property
    def ceiling(self):
        """Jobs per second that the endpoint can serve; None: no bound."""
        return 1000 * self.places / self.service_ms if self.service_ms \
            else None


PROXIES = ("curl", "haproxy", "nginx", "gateway", "ipc", "tcp")
FEW = ("curl", "haproxy", "gateway", "ipc")
SCENARIOS = {
    "alone": Scenario(
        "service time 0, 1 in flight",
        ("guide", *PROXIES, "nng-ipc", "nng-tcp", "ipc-spool"), 1),
    "sixteen": Scenario(
        "service time 0, 16 in flight",
        ("threads", "aiohttp", *PROXIES, "nng-ipc", "nng-tcp", "ipc-spool",
         "gateway-spool", "ipc-logged"), 16),
    "sixty-four": Scenario(
        "service time 0, 64 in flight", ("aiohttp", *PROXIES), 64),
    "crowd": Scenario("service time 0, 256 in flight", PROXIES, 256),
    "producers": Scenario(
        "service time 0, 64 in flight of 32 producers",
        ("haproxy", "gateway", "ipc", "tcp"), 64, producers=32),
    "uint8": Scenario("uint8 pixels, service time 0, 16 in flight", PROXIES,
                      16, "sdxl-uint8"),
    "png": Scenario("PNG, service time 0, 16 in flight", FEW, 16, "sdxl-png"),
    "flux": Scenario("Flux, service time 0, 16 in flight", FEW, 16, "flux"),
    "hunyuan": Scenario("HunyuanVideo, service time 0, 16 in flight", FEW, 16,
                        "hunyuan"),
    "gpu-16": Scenario(
        "50 ms, 16 at once, 16 in flight", ("threads", *PROXIES), 16,
        service_ms=50, seconds=2),
    "gpu": Scenario(
        "50 ms, 16 at once, 64 in flight",
        ("guide", "threads", "aiohttp", *PROXIES, "ipc-spool"), 64,
        service_ms=50, seconds=3),
    "gpu-producers": Scenario(
        "50 ms, 16 at once, 64 in flight of 32 producers", ("ipc", "tcp"),
        64, service_ms=50, producers=32, seconds=3),
    "one-gpu": Scenario(
        "50 ms, 1 at once, 16 in flight", ("guide", *FEW), 16, service_ms=50,
        places=1, seconds=2),
    "four-gpus": Scenario(
        "256 ms, 4 at once, 16 in flight", ("guide", *FEW), 16,
        service_ms=256, places=4, seconds=4),
    "video-gpus": Scenario(
        "HunyuanVideo, 256 ms, 16 at once, 64 in flight", FEW, 64, "hunyuan",
        service_ms=256, seconds=2),
}
QUICK = ("alone", "sixteen", "gpu")
