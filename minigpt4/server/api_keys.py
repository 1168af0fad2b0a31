"""Who may use `/v1`: everybody, or whoever has one of the keys that the host was started with."""

import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from minigpt4.errors import ConfigError
from minigpt4.server.openai_errors import Refusal

VARIABLE = "MINIGPT4_API_KEYS"
"""The environment variable with the keys, separated by commas."""


class ApiKeys:
    """The keys of a server; none means that everybody may ask.

    Only their hashes are kept: hashes are of one length, and comparing them takes the same time
    wherever they differ.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._hashes = tuple(_hash(key) for key in keys)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "ApiKeys":
        """Read the keys.

        Raises:
            ConfigError: The variable is set and holds no key: nobody could mean that.
        """
        if VARIABLE not in environment:
            return cls()
        keys = [key for part in environment[VARIABLE].split(",") if (key := part.strip())]
        if not keys:
            raise ConfigError(
                [f"{VARIABLE} is set and holds no key. Give keys, separated by commas, or none."]
            )
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def admits(self, headers: Headers) -> bool:
        """Whether a request brings one of the keys, or none is needed."""
        return not self._hashes or self.known(headers)

    def known(self, headers: Headers) -> bool:
        """Whether a request brings one of the keys."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        found = _hash(given.strip() if scheme.lower() == "bearer" else "")
        # All are compared, also once one was right: time tells nothing.
        return sum(hmac.compare_digest(found, known) for known in self._hashes) > 0


class KeyGate:
    """Turns away who has no key, before a byte of the body is read."""

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through or answer 401."""
        if scope["type"] != "http" or self._keys.admits(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        message = "This server needs an API key it knows, as in: Authorization: Bearer KEY."
        code = "invalid_api_key"
        await Refusal(401, message, code=code).response()(scope, receive, send)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
