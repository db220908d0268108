# SPDX-License-Identifier: Apache-2.0
"""Jobs that were submitted and not fetched: what Submit leaves for Save and
Collect, also of later prompts.

A job stays here until its picture was saved or collected, so that none is lost
when a graph ends, fails or is interrupted.  The daemon keeps what ComfyUI's own
end leaves behind, for the same name.
"""

import concurrent.futures
import logging
import queue
import threading

import folder_paths

from .service import RemoteError, package

_SUFFIXES = {"png": ".png", "jpg": ".jpg", "mp4": ".mp4"}
WAITING_MAX = 1024

log = logging.getLogger("latentd")


class Ticket:
    """One job and whose it is: (daemon, name)."""

    def __init__(self, job, queue_key):
        self.job = job
        self.queue_key = queue_key


class Earlier(concurrent.futures.Future):
    """Stands in for the job of a result that an earlier ComfyUI has left."""

    def __init__(self, result):
        super().__init__()
        self.key = result.key
        self.set_result(result)

    @property
    def progress(self):
        return package().Progress("done", 0, None, 0.0)


class Queues:
    """Tickets by (daemon, name), in the order of submitting."""

    def __init__(self):
        self._lock = threading.Lock()
        self._queues = {}

    def room(self, queue_key, n):
        """Raises RemoteError when n more would be too many."""
        waiting = len(self.tickets(queue_key))
        if waiting + n > WAITING_MAX:
            raise RemoteError(
                f"{waiting} images of \"{queue_key[1]}\" wait to be fetched, "
                f"at most {WAITING_MAX} may.\n\nRun a graph with Collect "
                "Images, or connect Save When Done to Submit and Go On.")

    def add(self, ticket):
        with self._lock:
            self._queues.setdefault(ticket.queue_key, {})[ticket.job.key] = \
                ticket

    def remove(self, ticket):
        with self._lock:
            self._queues.get(ticket.queue_key, {}).pop(ticket.job.key, None)

    def tickets(self, queue_key):
        with self._lock:
            return list(self._queues.get(queue_key, {}).values())

    def clear(self):
        with self._lock:
            self._queues.clear()


waiting = Queues()


class Saver:
    """A thread that writes what is done into ComfyUI's output folder."""

    def __init__(self):
        self._lock = threading.Lock()
        self._done = queue.SimpleQueue()
        self._thread = None
        self._asked_n = 0

    def save(self, ticket, prefix):
        """Save the ticket's picture once it is there; returns at once."""
        with self._lock:
            self._asked_n += 1
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="latentd-save", daemon=True)
                self._thread.start()
        ticket.job.add_done_callback(
            lambda job: self._done.put((ticket, prefix)))

    def idle(self):
        """Whether all that was to be saved is, or has failed."""
        with self._lock:
            return self._asked_n == 0

    def _work(self):
        while True:
            ticket, prefix = self._done.get()
            try:
                self._save(ticket, prefix)
            except Exception as error:
                log.error("latentd: job %s was not saved: %s",
                          ticket.job.key, error)
            with self._lock:
                self._asked_n -= 1

    def _save(self, ticket, prefix):
        """A job that failed is not waited for any more; a picture that could
        not be written stays for Collect."""
        try:
            result = ticket.job.result()
        except BaseException:
            waiting.remove(ticket)
            raise
        for path in self._write(result, prefix):
            log.info("latentd: saved %s", path)
        waiting.remove(ticket)

    def _write(self, result, prefix):
        folder, name, counter, _, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.get_output_directory(), result.width,
            result.height)
        paths = []
        for i, part in enumerate(result.view()):
            path = f"{folder}/{name}_{counter + i:05}_" \
                f"{_SUFFIXES[result.output]}"
            # "x": never over a picture that somebody else has just saved.
            with open(path, "xb") as file:
                file.write(part)
            paths.append(path)
        return paths


saver = Saver()
