# SPDX-License-Identifier: Apache-2.0
"""Pictures in Jupyter: what a cell shows, and its update in place.

IPython is used where it is loaded already, and never imported otherwise.
"""

from __future__ import annotations

import base64
import html
import io
import sys
from typing import TYPE_CHECKING, Any, Dict

if TYPE_CHECKING:
    from ._job import Job
    from ._result import Result

_TYPES = {"png": "image/png", "jpg": "image/jpeg", "mp4": "video/mp4"}
_SHOWN_MAX = 64


def _as_png(result: "Result") -> bytes:
    file = io.BytesIO()
    result.frames()[0].save(file, "PNG", compress_level=1)
    return file.getvalue()


def _tag(kind: str, data: "bytes | memoryview") -> str:
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    if kind == "video/mp4":
        return f'<video controls loop src="{url}"></video>'
    return f'<img src="{url}">'


def _one_bundle(result: "Result") -> Dict[str, Any]:
    if result.output == "mp4":
        return {"text/html": _tag("video/mp4", result.view()[0])}
    if result.output in ("png", "jpg"):
        return {_TYPES[result.output]: bytes(result.view()[0])}
    if result.output == "latent":
        return {}
    try:
        return {"image/png": _as_png(result)}
    except ImportError:
        return {}


def result_bundle(result: "Result") -> Dict[str, Any]:
    """MIME types of a result; a batch is shown as a row of pictures."""
    bundle: Dict[str, Any] = {"text/plain": repr(result)}
    if len(result) == 1:
        bundle.update(_one_bundle(result))
        return bundle
    tags = []
    for one in result[:_SHOWN_MAX]:
        for kind, data in _one_bundle(one).items():
            tags.append(data if kind == "text/html" else _tag(kind, data))
    if tags:
        bundle["text/html"] = "\n".join(tags)
    return bundle


def job_bundle(job: "Job") -> Dict[str, Any]:
    """MIME types of a job as it is now."""
    if not job.done():
        text = str(job.progress)
    elif job.cancelled():
        text = "cancelled"
    else:
        error = job.exception()
        if error is None:
            return result_bundle(job.result())
        text = f"{type(error).__name__}: {error}"
    return {"text/plain": f"{job!r}: {text}",
            "text/html": f"<i>{html.escape(text)}</i>"}


def show(job: "Job") -> bool:
    """Display a job in the notebook that runs, and update it when it ends.
    False when there is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if ipython is None or shell is None:
        return False
    display = ipython.display.display
    handle = display(job_bundle(job), raw=True, display_id=True)
    if handle is not None and not job.done():
        job.add_done_callback(
            lambda done: handle.update(job_bundle(job), raw=True))
    return True
