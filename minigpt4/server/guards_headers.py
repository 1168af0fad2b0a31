"""What browsers are told: which sources the page may use, and what else is forbidden to it.

Gradio puts scripts into the page it serves and evaluates the page's own JavaScript from text, so a
policy needs `'unsafe-eval'`. It needs no `'unsafe-inline'` for scripts: the ones in the page are
named by their hashes, so a script or an `onerror` that came in any other way does not run. No
source is foreign, so nothing a model or a person writes can make a browser ask another server.
"""

import base64
import hashlib
import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script", re.DOTALL | re.IGNORECASE)
_HASHES_KEPT = 64

# What the page may do; `{scripts}` and `{ancestors}` are filled in.
_PAGE = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'{scripts}; style-src 'self'"
    " 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self'"
    " data:; connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; frame-src"
    " 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {ancestors}"
)
# What anything else may do that a person opens by its address, such as a picture or an answer.
_NOTHING = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; form-action 'none';"
    " base-uri 'none'; frame-ancestors {ancestors}; sandbox"
)
_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Puts the headers on every answer, refusals among them.

    Args:
        app: What is guarded.
        frame_ancestors: Sites that may show the page in a frame, besides the page itself.
    """

    def __init__(self, app: ASGIApp, frame_ancestors: Sequence[str] = ()) -> None:
        self._app = app
        self._ancestors = " ".join(("'self'", *frame_ancestors))
        self._policies: dict[bytes, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and put headers on its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == "/":
            scope = _uncompressed(scope)
        start: Message | None = None
        page = bytearray()

        async def guarded(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_EVERYWHERE)
                if headers.get("content-type", "").startswith("text/html"):
                    start = message  # its policy needs the whole page
                    return
                headers["Content-Security-Policy"] = self._policy(scope["path"])
            elif start is not None and message["type"] == "http.response.body":
                page.extend(message.get("body", b""))
                if message.get("more_body"):
                    return
                MutableHeaders(scope=start)["Content-Security-Policy"] = self._page_policy(page)
                await send(start)
                message = {"type": "http.response.body", "body": bytes(page)}
                start = None
            await send(message)

        await self._app(scope, receive, guarded)

    def _policy(self, path: str) -> str:
        # A worker has the policy that its script came with.
        scripts = path.startswith(("/assets/", "/static/"))
        return (_PAGE if scripts else _NOTHING).format(scripts="", ancestors=self._ancestors)

    def _page_policy(self, page: bytearray) -> str:
        digest = hashlib.sha256(page).digest()
        if digest not in self._policies:
            found = [hashlib.sha256(script).digest() for script in _SCRIPT.findall(page)]
            named = "".join(f" 'sha256-{base64.b64encode(each).decode()}'" for each in found)
            while len(self._policies) >= _HASHES_KEPT:
                self._policies.pop(next(iter(self._policies)))
            self._policies[digest] = _PAGE.format(scripts=named, ancestors=self._ancestors)
        return self._policies[digest]


def _uncompressed(scope: Scope) -> Scope:
    """Ask for the page as it is: its scripts are read here."""
    headers = [each for each in Headers(scope=scope).raw if each[0] != b"accept-encoding"]
    return {**scope, "headers": headers}
