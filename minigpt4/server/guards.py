"""What stands before the page and `/v1`: the middleware that lets no one in and sheds load.

From the outside to the inside:

    SecurityHeaders   what browsers are told, on every answer
    KnownPeers        nobody but a known proxy says who the client is
    RequestLog        one line a request, if the host wants it
    KnownNames        no other web site, no other server's name
    RateLimit         how much one client may ask
    Logins            accounts of programs
    OpenRoutes        which addresses there are, and how long a body may be
    CheckedMessages   what the page's messages may hold
"""

import os
from collections.abc import Container
from pathlib import Path

from starlette.middleware import Middleware

from minigpt4.config import Config
from minigpt4.server.auth import Accounts, Logins
from minigpt4.server.guards_body import BodySizes, OpenRoutes
from minigpt4.server.guards_headers import SecurityHeaders
from minigpt4.server.guards_origin import LOCAL_NAMES, KnownNames, KnownPeers, is_local
from minigpt4.server.guards_payload import CheckedMessages
from minigpt4.server.limits import RateLimit, buckets_of
from minigpt4.server.logs import RequestLog

# A Hugging Face Space is shown in a frame of the Hub, and reached through its proxies only.
_SPACE_FRAMES = ("https://huggingface.co",)
_SPACE_PROXIES = ("10.0.0.0/8",)


def is_public(host: str, *, shared: bool = False) -> bool:
    """Whether others than this machine can reach a server.

    Args:
        host: Address it listens on.
        shared: Whether a public link leads to it.
    """
    return shared or not is_local(host)


def is_on(setting: str, *, otherwise: bool) -> bool:
    """What "on", "off" or "auto" comes to.

    Args:
        setting: One of the three.
        otherwise: What "auto" means here.
    """
    return otherwise if setting == "auto" else setting == "on"


def middleware(
    config: Config,
    host: str,
    *,
    uploads: Path | None = None,
    events: Container[object] | None = None,
    accounts: Accounts | None = None,
    shared: bool = False,
) -> list[Middleware]:
    """Return the middleware of a server, the outermost first.

    Sizes, addresses, messages and headers are guarded everywhere. Where others than this machine
    can reach the server, clients are also limited by the minute and logged, unless the
    configuration says otherwise; where only this machine can, it answers to its own names only.

    Args:
        config: What is allowed.
        host: Address that the server listens on.
        uploads: The folder of uploaded files; None refuses every file.
        events: Numbers of the page's events; None lets every number through to Gradio.
        accounts: Accounts that programs need; None or empty if they need none, or a key.
        shared: Whether a public link leads to the server.
    """
    # Gradio starts uvicorn, which by itself believes whatever a process of this machine says of
    # its client. `KnownPeers` decides that instead.
    os.environ["FORWARDED_ALLOW_IPS"] = ""
    server = config.server
    public = is_public(host, shared=shared)
    hosts = (*server.hosts, *LOCAL_NAMES) if server.hosts else () if public else LOCAL_NAMES
    in_space = "SPACE_ID" in os.environ
    buckets = buckets_of(server)
    return [
        Middleware(
            SecurityHeaders,
            frame_ancestors=(*server.frame_ancestors, *(_SPACE_FRAMES if in_space else ())),
        ),
        Middleware(
            KnownPeers,
            proxies=server.trusted_proxies or (_SPACE_PROXIES if in_space else ()),
        ),
        Middleware(RequestLog, enabled=is_on(server.log, otherwise=public)),
        Middleware(KnownNames, hosts=hosts),
        Middleware(
            RateLimit,
            buckets=buckets,
            enabled=is_on(server.rate_limit, otherwise=public),
        ),
        Middleware(Logins, accounts=accounts or Accounts(), buckets=buckets),
        Middleware(OpenRoutes, sizes=BodySizes.of(config)),
        Middleware(CheckedMessages, uploads=uploads, events=events),
    ]
