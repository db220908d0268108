# SPDX-License-Identifier: Apache-2.0
"""One POST to an endpoint, as diffusers sends it, without `requests`.

Source: proto/protocol.md section 10; diffusers utils/remote_utils.py.
"""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ._version import __version__
from .errors import LatentdError

_TEXT_MAX = 500
_REPLY_MAX = 1 << 30

Query = List[Tuple[str, Any]]


class RemoteError(LatentdError, RuntimeError):
    """A remote decode or encode failed.

    args[0] is the endpoint's document, such as {"error": "..."}, as diffusers
    raises it; also where the endpoint's answer was no JSON.
    """

    code = "endpoint"

    def __init__(self, document: Any, code: str = "endpoint") -> None:
        super().__init__("", code)
        self.args = (document,)

    def __str__(self) -> str:
        return str(self.args[0])


class _Plain(urllib.request.HTTPRedirectHandler):
    """No redirects, and no Content-Type that nobody asked for."""

    handler_order = 900  # behind the handler that adds one

    def redirect_request(self, *args: Any) -> None:
        return None

    def http_request(
            self, request: urllib.request.Request) -> urllib.request.Request:
        if not request.headers.get("Content-type"):
            request.unredirected_hdrs.pop("Content-type", None)
        return request

    https_request = http_request


_opener = urllib.request.build_opener(_Plain())


def query_text(query: Query) -> str:
    """"shape=1&shape=4&...", as requests writes it."""
    return urllib.parse.urlencode(query, doseq=True)


def _error_document(status: int, reason: str, body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        text = body[:_TEXT_MAX].decode(errors="replace").strip()
        return {"error": f"{status} {reason}" + (f": {text}" if text else "")}


def _send(request: urllib.request.Request, url: str,
          timeout: Optional[float]) -> Tuple[bytes, Mapping[str, str]]:
    try:
        with _opener.open(request, timeout=timeout) as reply:
            return reply.read(_REPLY_MAX), reply.headers
    except urllib.error.HTTPError as error:
        with error:
            body = error.read(1 << 20)
        raise RemoteError(_error_document(
            error.code, str(error.reason), body)) from None
    except (socket.timeout, TimeoutError):
        raise RemoteError({"error": f"{url} did not answer within {timeout} "
                           "s"}, "timeout") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, (socket.timeout, TimeoutError)):
            raise RemoteError({"error": f"{url} did not answer within "
                               f"{timeout} s"}, "timeout") from None
        raise RemoteError({"error": f"cannot reach {url}: {error.reason}"},
                          "unreachable") from None
    except OSError as error:
        raise RemoteError({"error": f"the connection to {url} was lost: "
                           f"{error}"}, "unreachable") from None


def post(endpoint: str, query: Query, headers: Mapping[str, str],
         body: "bytes | memoryview", timeout: Optional[float],
         ) -> Tuple[bytes, Mapping[str, str]]:
    """(body, headers) of a reply with status 2xx.

    timeout: seconds without any byte from the endpoint; None: for ever.
    Raises RemoteError.
    """
    url = endpoint
    if query:
        url += ("&" if "?" in endpoint else "?") + query_text(query)
    try:
        request = urllib.request.Request(url, body, {
            "User-Agent": f"latentd/{__version__}", **headers}, method="POST")
    except ValueError:
        raise RemoteError({"error": f"\"{endpoint}\" is no http:// or "
                           "https:// URL"}, "invalid") from None
    return _send(request, endpoint, timeout)


def tensor_head(headers: Mapping[str, str],
                size: int) -> Tuple[str, Tuple[int, ...]]:
    """(dtype, shape) of a tensor reply of so many bytes.

    Raises RemoteError when they are missing or do not fit.
    """
    sizes: Dict[str, int] = {
        "float16": 2, "bfloat16": 2, "float32": 4, "uint8": 1}
    dtype, text = headers.get("dtype"), headers.get("shape")
    try:
        shape = tuple(int(d) for d in json.loads(text or ""))
    except (TypeError, ValueError):
        shape = ()
    if dtype not in sizes or not shape or min(shape) < 1:
        raise RemoteError({"error": f"the endpoint's reply has shape {text!r} "
                           f"and dtype {dtype!r}; it is no tensor"})
    expected = sizes[dtype]
    for side in shape:
        expected *= side
    if expected != size:
        raise RemoteError({"error": f"the endpoint sent {size} bytes; shape "
                           f"{list(shape)} of {dtype} takes {expected}"})
    return dtype, shape
