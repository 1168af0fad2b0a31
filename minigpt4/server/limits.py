"""How much one client may ask in a minute: token buckets by address, and the middleware.

A bucket fills evenly and may be emptied at once, so an honest burst (a page of a hundred files, a
picture and a question) passes. A client is an IPv4 address or the first 64 bits of an IPv6 address,
which is what one household or server has.
"""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minigpt4.server.guards_refusal import RefusedError
from minigpt4.server.guards_routes import route_of
from minigpt4.server_config import ServerConfig

MOST_CLIENTS = 20_000
"""Clients that are remembered; the one heard of longest ago is forgotten first."""
MOST_OPEN = 256
"""Requests of one client at a time, open streams among them; a browser's tab has up to 6."""
LOGINS_PER_MINUTE = 10
MEGABYTE = 1_000_000

_WORDS = {
    "question": "You are asking faster than this server answers.",
    "megabytes": "You are sending more than this server takes.",
    "login": "There were too many attempts to log in.",
    "other": "Too many requests came from your address.",
    "open": "Too many connections are open from your address.",
}


@dataclass(frozen=True, slots=True)
class Rate:
    """How a bucket fills.

    Attributes:
        per_minute: What comes in within a minute.
        burst: What it holds when full.
    """

    per_minute: float
    burst: float


@dataclass(slots=True)
class _Bucket:
    level: float
    filled_at: float


class Buckets:
    """The buckets of all clients, one for each kind of spending.

    Args:
        rates: How the buckets of each kind fill.
        clock: Seconds that only grow; tests turn it by hand.
        capacity: Clients that are remembered.
    """

    def __init__(
        self,
        rates: Mapping[str, Rate],
        clock: Callable[[], float] = time.monotonic,
        capacity: int = MOST_CLIENTS,
    ) -> None:
        self._rates = rates
        self._clock = clock
        self._capacity = capacity
        self._clients: OrderedDict[str, dict[str, _Bucket]] = OrderedDict()

    def wait(self, client: str, kind: str) -> float:
        """Return the seconds until a client may spend again; 0 if it may now."""
        level = self._filled(client, kind).level
        return 0 if level >= 1 else (1 - level) * 60 / self._rates[kind].per_minute

    def spend(self, client: str, kind: str, cost: float = 1) -> None:
        """Take from a bucket; it may go below nothing, and the client then waits longer."""
        self._filled(client, kind).level -= cost

    def __len__(self) -> int:
        return len(self._clients)

    def _filled(self, client: str, kind: str) -> _Bucket:
        now, rate = self._clock(), self._rates[kind]
        buckets = self._clients.setdefault(client, {})
        self._clients.move_to_end(client)
        while len(self._clients) > self._capacity:
            self._clients.popitem(last=False)
        bucket = buckets.setdefault(kind, _Bucket(rate.burst, now))
        gained = (now - bucket.filled_at) * rate.per_minute / 60
        bucket.level, bucket.filled_at = min(rate.burst, bucket.level + gained), now
        return bucket


def buckets_of(server: ServerConfig, clock: Callable[[], float] = time.monotonic) -> Buckets:
    """Return the buckets that a configuration asks for; all hold half a minute's worth or more."""
    return Buckets(
        {
            "question": Rate(server.questions_per_minute, max(5, server.questions_per_minute / 2)),
            "megabytes": Rate(server.upload_mb_per_minute, server.upload_mb_per_minute),
            "other": Rate(server.requests_per_minute, max(200, server.requests_per_minute / 2)),
            "login": Rate(LOGINS_PER_MINUTE, LOGINS_PER_MINUTE),
        },
        clock,
    )


def client_of(scope: Scope) -> str:
    """Return whom a request counts for."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a socket of this machine has a name, or none
        return host or "local"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)


def too_fast(kind: str, seconds: float) -> RefusedError:
    """Say that a client asks too much, and when it may ask again."""
    wait = max(1, math.ceil(seconds))
    when = "a second" if wait == 1 else f"{wait} seconds"
    return RefusedError(429, f"{_WORDS[kind]} Please wait {when}.", "rate_limit", wait)


class RateLimit:
    """Turns away a client that asks more than its share, before a byte of the body is read.

    A stream counts once, when it is opened; how many may be open at a time has a limit of its own.
    What is sent counts by its bytes, also where the client did not say how many there would be.

    Args:
        app: What is guarded.
        buckets: What clients have left.
        enabled: Whether anything but attempts to log in is counted.
        most_open: Requests of one client at a time.
    """

    def __init__(
        self, app: ASGIApp, buckets: Buckets, *, enabled: bool = True, most_open: int = MOST_OPEN
    ) -> None:
        self._app = app
        self._buckets = buckets
        self._enabled = enabled
        self._most_open = most_open
        self._open: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = client_of(scope)
        refused = self._refused(client, scope)
        if refused is not None:
            await refused.answer(scope, receive, send)
            return
        self._open[client] = self._open.get(client, 0) + 1

        async def counting() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                self._buckets.spend(client, "megabytes", len(message.get("body", b"")) / MEGABYTE)
            return message

        try:
            await self._app(scope, counting if self._enabled else receive, send)
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]

    def _refused(self, client: str, scope: Scope) -> RefusedError | None:
        route = route_of(scope["path"], scope["method"])
        spending = "other" if route is None or scope["method"] == "OPTIONS" else route.spending
        if not self._enabled and spending != "login":
            return None
        if self._open.get(client, 0) >= self._most_open and self._enabled:
            return too_fast("open", 5)
        kinds: list[str] = [spending]
        if self._enabled and scope["method"] in ("POST", "PUT", "PATCH"):
            kinds.append("megabytes")
        for kind in kinds:
            if (seconds := self._buckets.wait(client, kind)) > 0:
                return too_fast(kind, seconds)
        self._buckets.spend(client, spending)
        return None
