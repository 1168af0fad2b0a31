"""Who may use the page: everybody, or who has one of the accounts the host was started with.

The accounts come from the environment and not from the command line, which other users of the
machine can read and the shell's history keeps.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minigpt4.errors import ConfigError
from minigpt4.server.guards_refusal import RefusedError
from minigpt4.server.guards_routes import speaks_openai
from minigpt4.server.limits import Buckets, client_of, too_fast

VARIABLE = "MINIGPT4_AUTH"
"""The environment variable with the accounts: user:password, one a line or separated by commas."""
LEAST_CHARACTERS = 8
"""Of a password, where others than this machine can reach the server."""


class Accounts:
    """Names and passwords; none means that everybody may use the page.

    Only hashes are kept, and all are compared at every attempt: time tells neither which name
    exists nor how much of a password was right.
    """

    def __init__(self, passwords: Mapping[str, str] | None = None) -> None:
        self._hashes = [(_hash(name), _hash(word)) for name, word in (passwords or {}).items()]

    @classmethod
    def from_environment(
        cls, *, public: bool, environment: Mapping[str, str] = os.environ
    ) -> "Accounts":
        """Read the accounts.

        Args:
            public: Whether others than this machine can reach the server.
            environment: Where the variable is.

        Raises:
            ConfigError: With every account that cannot be used; no password is repeated in it.
        """
        if VARIABLE not in environment:
            return cls()
        text = environment[VARIABLE]
        # A password with a comma in it needs a line of its own.
        entries = text.splitlines() if "\n" in text.strip() else text.split(",")
        found: dict[str, str] = {}
        problems: list[str] = []
        for number, entry in enumerate(filter(str.strip, entries), start=1):
            name, colon, password = entry.strip().partition(":")
            name = name.strip()
            if not colon or not name:
                problems.append(f"{VARIABLE}: account {number} is not of the form user:password.")
            elif name in found:
                problems.append(f"{VARIABLE}: there are two accounts of the name {name!r}.")
            elif not password:
                problems.append(f"{VARIABLE}: the password of {name!r} is empty.")
            elif public and len(password) < LEAST_CHARACTERS:
                problems.append(
                    f"{VARIABLE}: the password of {name!r} has {len(password)} characters; where"
                    f" others can reach the server it needs {LEAST_CHARACTERS}."
                )
            found[name] = password
        if not found and not problems:
            problems.append(f"{VARIABLE} is set and holds no account. Give one, or unset it.")
        if problems:
            raise ConfigError(problems)
        return cls(found)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def admits(self, name: str, password: str) -> bool:
        """Whether this is the password of this name; Gradio asks it at its login page."""
        given = _hash(name.strip()), _hash(password)
        right = [
            hmac.compare_digest(given[0], known[0]) & hmac.compare_digest(given[1], known[1])
            for known in self._hashes
        ]
        return sum(right) > 0

    def admits_request(self, headers: Headers) -> bool:
        """Whether a request brings an account, as HTTP's Basic scheme writes it."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            name, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError:  # no base64, or no text in it
            return False
        return self.admits(name, password)


class Logins:
    """Asks programs for an account, and lets nobody try many.

    Where API keys are given, they and not the accounts open `/v1`; wrong ones count here too.

    Args:
        app: What is guarded.
        accounts: Who may use `/v1`; none if everybody may, or somebody else checks.
        buckets: How many attempts clients have left.
    """

    def __init__(self, app: ASGIApp, accounts: Accounts, buckets: Buckets) -> None:
        self._app = app
        self._accounts = accounts
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http" or not speaks_openai(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        client = client_of(scope)
        if "authorization" in headers and (seconds := self._buckets.wait(client, "login")) > 0:
            await too_fast("login", seconds).answer(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                self._buckets.spend(client, "login")
            await send(message)

        if self._accounts and not self._accounts.admits_request(headers):
            message = "This server needs an account: give its name and password as HTTP Basic does."
            refused = RefusedError(401, message, "not_logged_in")
            await refused.answer(scope, receive, counting)
            return
        await self._app(scope, receive, counting)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
