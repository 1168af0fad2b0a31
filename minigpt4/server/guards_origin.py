"""Who a request is from, and under which name it reached the server.

A header says what its sender likes. `X-Forwarded-For` and its relatives are therefore dropped,
unless the machine at the other end of the connection is a proxy that the configuration names. A web
site may not use the page of another one through its visitor's browser: requests that a browser
marks as coming from elsewhere are refused, and where only this machine can reach the server, it
answers under this machine's names only, so that a site whose name was turned to 127.0.0.1 gets
nothing either.
"""

import ipaddress
from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from minigpt4.server.guards_refusal import RefusedError

FORWARDED = "minigpt4.forwarded"
"""Stands in the scope of a request: true if it said it was passed on, though nobody is believed who
it comes from. Such a request is not one of this machine's own, wherever its connection is from."""
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1", "*.localhost")
_PORTS = {"http": 80, "https": 443}


def is_local(host: str) -> bool:
    """Whether a server that listens on a host is reached from its own machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class KnownPeers:
    """Drops what a client says of its address and the page's name, unless a known proxy says it.

    Args:
        app: What is guarded.
        proxies: Addresses and networks of the proxies.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str] = ()) -> None:
        self._plain = app
        self._networks = [ipaddress.ip_network(proxy, strict=False) for proxy in proxies]
        self._forwarded = ProxyHeadersMiddleware(app, trusted_hosts=list(proxies))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, without what nobody may say."""
        if scope["type"] in ("http", "websocket") and not self._trusts(scope):
            headers = [
                (name, value)
                for name, value in scope["headers"]
                if not name.startswith(b"x-forwarded-") and name not in (b"forwarded", b"x-real-ip")
            ]
            forwarded = len(headers) < len(scope["headers"])
            marked = {**scope, "headers": headers, FORWARDED: forwarded}
            await self._plain(marked, receive, send)
            return
        await self._forwarded(scope, receive, send)  # type: ignore[arg-type]

    def _trusts(self, scope: Scope) -> bool:
        try:
            peer = ipaddress.ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return False
        return any(peer in network for network in self._networks)


class KnownNames:
    """Refuses requests for another server, and those of other web sites.

    Args:
        app: What is guarded.
        hosts: Names the server answers to, ``*.example.org`` for a family; none for any name.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self._app = app
        self._hosts = [host.lower() for host in hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        refused = self._refused(Headers(scope=scope)) if scope["type"] == "http" else None
        if refused is not None:
            await refused.answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, headers: Headers) -> RefusedError | None:
        named = [headers.get("host", "")]
        named += [name.strip() for name in headers.get("x-forwarded-host", "").split(",") if name]
        names = [_host_and_port(f"//{name}") for name in named]
        if names[0] is None or not all(map(self._answers_to, names)):
            return RefusedError(
                421,
                "This server does not answer to that name. Its host can add the name to"
                " server.hosts.",
                "unknown_host",
            )
        origin = headers.get("origin")
        if origin is not None and not _same(origin, headers, named):
            return RefusedError(
                403, "Another web site may not use this one. Open the page itself.", "other_site"
            )
        return None

    def _answers_to(self, name: tuple[str, int | None] | None) -> bool:
        if name is None:
            return False
        return not self._hosts or any(fnmatchcase(name[0], pattern) for pattern in self._hosts)


def _same(origin: str, headers: Headers, named: Sequence[str]) -> bool:
    """Whether the page that asks was served under one of the names that it asks."""
    # Browsers say it themselves on https and this machine; no script can change what they say.
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in ("same-origin", "none")
    asking = _host_and_port(origin)
    if asking is None or (scheme := urlsplit(origin).scheme) not in _PORTS:
        return False
    whole = (asking[0], asking[1] or _PORTS[scheme])
    asked = (_host_and_port(f"//{name}") for name in named)
    return whole in [(each[0], each[1] or _PORTS[scheme]) for each in asked if each is not None]


def _host_and_port(url: str) -> tuple[str, int | None] | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return (host, port) if host else None
