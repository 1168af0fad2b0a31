"""The part of a configuration that says what is offered beside the page, and to whom."""

from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Literal

from minigpt4.settings_file import Rule, matching, within


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What is offered beside the page, and to whom."""

    openai: bool = True
    """Whether programs may ask at /v1, as they ask OpenAI; see docs/api.md."""
    model_name: str = field(
        default="", metadata=matching(r"[\w./@:-]*", "a name without spaces, or nothing")
    )
    """What /v1 calls the model; the configuration's own name if empty."""
    allow_https_pictures: bool = False
    """Whether this server fetches pictures of https addresses that programs send."""
    metrics: Literal["local", "everyone", "off"] = "local"
    """Who may read /metrics: this machine and who has an API key, everyone, or nobody."""
    rate_limit: Literal["auto", "on", "off"] = "auto"
    """Whether what one client asks in a minute is limited; auto: where others than this machine can
    reach the server."""
    questions_per_minute: int = field(default=60, metadata=within(1, 100_000))
    """Questions, and other presses of buttons, that one client may send in a minute."""
    upload_mb_per_minute: int = field(default=200, metadata=within(1, 100_000))
    """Megabytes of pictures and other content that one client may send in a minute."""
    requests_per_minute: int = field(default=3_000, metadata=within(100, 1_000_000))
    """All else that one client may ask for in a minute; opening the page takes about 100."""
    max_request_mb: int = field(default=32, metadata=within(1, 1024))
    """The largest request to /v1; pictures in it take a third more than their files."""
    trusted_proxies: tuple[str, ...] = field(
        default=(),
        metadata={"rule": Rule("an address or network such as 10.0.0.0/8", _is_network)},
    )
    """Reverse proxies whose word on a client's address and the page's name is believed."""
    hosts: tuple[str, ...] = field(
        default=(), metadata=matching(r"(\*\.)?[\w.-]+", "a host name such as chat.example.org")
    )
    """Names under which the server answers. Nothing: those of this machine where only it can reach
    the server, any name elsewhere."""
    frame_ancestors: tuple[str, ...] = field(
        default=(), metadata=matching(r"https?://[\w.*:-]+", "a site such as https://example.org")
    )
    """Sites that may show the page in a frame."""
    log: Literal["auto", "on", "off"] = "auto"
    """Whether requests and answers are logged, one line of JSON each; auto: where others than this
    machine can reach the server."""
    log_texts: bool = False
    """Whether that log holds questions and answers. Tell your users if it does."""
    grace_seconds: int = field(default=30, metadata=within(0, 3600))
    """How long running answers may go on once the server was told to stop."""
