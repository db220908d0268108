# SPDX-License-Identifier: Apache-2.0
"""A generating process of ./dev bench pipeline.

It generates, which is waiting here, and has every latent decoded: serial, by
requests.post() before it goes on; queue, by the guide's thread; latentd, by the
Python client.  Says "ready", begins when a line comes, and prints when each
generating and each decoding began and ended, on the system's monotonic clock.

usage: producer.py serial|queue|latentd URL MODEL BODY_FILE GENERATE_S PICTURES
"""

import json
import queue
import sys
import threading
import time
from pathlib import Path


class Producer:
    def __init__(self, url, model, body, generate_s, pictures_n):
        self.url, self.model, self.body = url, model, body
        self.generate_s, self.pictures_n = generate_s, pictures_n
        self.generated, self.decoded = [], []
        self.turn = threading.Event()
        self.told = threading.Semaphore(0)

    def begin(self):
        print("ready", flush=True)
        sys.stdin.readline()

    def generate(self):
        """Latents, each after its time."""
        for _ in range(self.pictures_n):
            began_s = time.monotonic()
            self.turn.wait(self.generate_s)
            self.generated.append((began_s, time.monotonic()))
            yield self.body

    def post(self, body):
        import requests

        began_s = time.monotonic()
        reply = requests.post(
            self.url, data=body, headers={
                "Accept": "image/jpeg", "Content-Type": "tensor/binary"})
        reply.raise_for_status()
        self.decoded.append((began_s, time.monotonic()))

    def serial(self):
        import requests  # noqa: F401, before the start

        self.begin()
        for body in self.generate():
            self.post(body)

    def queue(self):
        import requests  # noqa: F401, before the start

        waiting = queue.Queue()

        def work():
            while (body := waiting.get()) is not None:
                self.post(body)

        thread = threading.Thread(target=work)
        thread.start()
        self.begin()
        for body in self.generate():
            waiting.put(body)
        waiting.put(None)
        thread.join()

    def latentd(self):
        import numpy

        import latentd

        side = round((len(self.body) / 8) ** 0.5)
        latent = numpy.frombuffer(self.body, "<f2").reshape(1, 4, side, side)
        with latentd.connect(self.url) as client:
            self.begin()
            for _ in self.generate():
                job = client.decode(latent, self.model, output="jpg")
                job.add_done_callback(self.on_done)
            for _ in range(self.pictures_n):
                self.told.acquire()

    def on_done(self, job):
        """The daemon says how long the request took, without the waiting."""
        ended_s = time.monotonic()
        try:
            took_s = job.result().decode_ms / 1000
            self.decoded.append((ended_s - took_s, ended_s))
        finally:
            self.told.release()


MODES = {"serial": Producer.serial, "queue": Producer.queue,
         "latentd": Producer.latentd}


def main():
    if len(sys.argv) != 7 or sys.argv[1] not in MODES:
        sys.exit(__doc__)
    mode, url, model, body, generate_s, pictures_n = sys.argv[1:]
    producer = Producer(url, model, Path(body).read_bytes(),
                        float(generate_s), int(pictures_n))
    MODES[mode](producer)
    assert len(producer.decoded) == producer.pictures_n
    print(json.dumps({"generated": producer.generated,
                      "decoded": producer.decoded}))


if __name__ == "__main__":
    main()
