"""The pictures of a request: ``data:`` addresses, and ``https:`` where the host allows it.

Fetching an address that a stranger names can reach what only this server can reach. So a name is
resolved once, every address behind it must be public, the connection goes to the very address that
was checked, each redirect is checked anew, and nothing longer than a picture may be is read.
"""

import asyncio
import base64
import binascii
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from safehttpx import AsyncSecureTransport

from minigpt4.errors import ImageError
from minigpt4.images import limit_side, load_image
from minigpt4.server.openai_errors import RequestError
from minigpt4.ui.pictures import HELD_SIDE, Picture

FETCH_SECONDS = 15.0
"""So long a picture may take to come from its address, redirects included."""
MAX_REDIRECTS = 3
_DATA = re.compile(r"data:[\w.+/-]*(?:;[\w.+/-]+=[\w.+/-]*)*;base64,", re.IGNORECASE)

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
"""From a host name to all its addresses."""
Transport = Callable[[str], httpx.AsyncBaseTransport]
"""From an address that was checked to what connects to it and to nothing else."""


async def resolve(host: str) -> tuple[str, ...]:
    """Return all addresses of a host name.

    Raises:
        OSError: The name is unknown.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an address is one that anybody on the internet reaches."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        # Addresses of version 4 in the clothes of version 6 are judged by what is inside.
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if inner is not None:
            return is_public(str(inner))
        if parsed in _TRANSLATED:
            return False
    return parsed.is_global and not parsed.is_multicast


_TRANSLATED = ipaddress.ip_network("64:ff9b::/32")
"""Networks in which IPv6 addresses stand for others of version 4 (NAT64)."""


@dataclass(frozen=True, slots=True)
class PictureReader:
    """Reads the pictures of requests.

    Attributes:
        max_bytes: The largest file of a picture.
        allow_https: Whether pictures of other servers are fetched.
    """

    max_bytes: int
    allow_https: bool
    resolve: Resolve = resolve
    transport: Transport = field(default=AsyncSecureTransport)

    async def read(self, url: str, place: str) -> Picture:
        """Read one picture.

        Args:
            url: Its address.
            place: Where it stands in the request, for errors.

        Raises:
            RequestError: It cannot be used; the message says why.
        """
        try:
            return await asyncio.to_thread(_checked, await self._bytes(url))
        except ImageError as error:
            status = 413 if error.code == "too_many_bytes" else 400
            message = f"{place}: {error.message}"
            raise RequestError(message, param=place, code=error.code, status=status) from error
        except _UnusableError as error:
            message = f"{place}: {error}"
            status = error.status
            raise RequestError(message, param=place, code=error.code, status=status) from error

    async def _bytes(self, url: str) -> bytes:
        kind = url.partition(":")[0].lower()
        if kind == "data":
            return await asyncio.to_thread(self._decoded, url)
        if kind != "https":
            raise _UnusableError("a picture is a data: URL, as in data:image/png;base64,...")
        if not self.allow_https:
            raise _UnusableError("this server fetches no pictures. Send it as a data: URL.")
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await self._fetched(url)
        except TimeoutError as error:
            raise _UnusableError("the picture did not come in time.", "fetch_failed") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise _UnusableError("the picture could not be fetched.", "fetch_failed") from error

    def _decoded(self, url: str) -> bytes:
        head = _DATA.match(url)
        if head is None:
            raise _UnusableError("a data: URL of a picture reads data:image/png;base64,...")
        if (len(url) - head.end()) * 3 // 4 > self.max_bytes + 2:
            raise self._too_large()
        try:
            content = base64.b64decode(url[head.end() :].encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise _UnusableError("its base64 is damaged.") from error
        if len(content) > self.max_bytes:
            raise self._too_large()
        return content

    async def _fetched(self, url: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            target = httpx.URL(url)
            address = await self._checked_address(target)
            # No proxy of the environment: it would look the name up again.
            async with (
                httpx.AsyncClient(transport=self.transport(address), trust_env=False) as client,
                client.stream("GET", target, headers={"Accept": "image/*"}) as response,
            ):
                if response.has_redirect_location:
                    url = str(target.join(response.headers["location"]))
                    continue
                if response.status_code != httpx.codes.OK:
                    said = f"its server answered {response.status_code}."
                    raise _UnusableError(said, "fetch_failed")
                return await self._body(response)
        raise _UnusableError(f"it is behind more than {MAX_REDIRECTS} redirects.", "fetch_failed")

    async def _checked_address(self, url: httpx.URL) -> str:
        """Return the address to connect to.

        One sentence for all refusals: what it depends on is nobody's business.
        """
        if url.scheme == "https" and url.host and url.port in (None, 443) and not url.userinfo:
            try:
                addresses = await self.resolve(url.host)
            except OSError:
                addresses = ()
            if addresses and all(is_public(address) for address in addresses):
                return addresses[0]
        raise _UnusableError("this address is not fetched.", "address_refused")

    async def _body(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for piece in response.aiter_bytes():
            content += piece
            if len(content) > self.max_bytes:
                raise self._too_large()
        return bytes(content)

    def _too_large(self) -> "_UnusableError":
        limit = self.max_bytes // 2**20
        return _UnusableError(f"The picture is larger than {limit} MB.", "too_many_bytes", 413)


class _UnusableError(Exception):
    def __init__(self, message: str, code: str = "invalid_image_url", status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def _checked(content: bytes) -> Picture:
    # Nothing is shown of it, so it needs no copy and no place.
    return Picture(limit_side(load_image(content), HELD_SIDE), Path("request"), b"")
