"""Pictures that programs send, and what may be fetched for them."""

import asyncio
import base64
import io
from collections.abc import Callable, Iterable

import httpx
import pytest
from PIL import Image

from minigpt4.server import openai_pictures
from minigpt4.server.openai_errors import RequestError
from minigpt4.server.openai_pictures import MAX_REDIRECTS, PictureReader, is_public

PUBLIC = "93.184.216.34"


def png(size: tuple[int, int] = (20, 10)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (220, 40, 40)).save(file, "PNG")
    return file.getvalue()


def data_url(content: bytes, head: str = "data:image/png;base64,") -> str:
    return head + base64.b64encode(content).decode()


class Web:
    """Other servers: names with their addresses, and what each address answers."""

    def __init__(self, names: dict[str, list[str]], answer: Callable[..., httpx.Response]) -> None:
        self.names = names
        self.answer = answer
        self.resolved: list[str] = []
        self.connected: list[tuple[str, str]] = []

    def reader(self, max_bytes: int = 10_000) -> PictureReader:
        async def resolve(host: str) -> tuple[str, ...]:
            self.resolved.append(host)
            if host not in self.names:
                raise OSError("unknown name")
            return tuple(self.names[host])

        def transport(address: str) -> httpx.AsyncBaseTransport:
            def handle(request: httpx.Request) -> httpx.Response:
                self.connected.append((address, str(request.url)))
                return self.answer(request)

            return httpx.MockTransport(handle)

        return PictureReader(max_bytes, allow_https=True, resolve=resolve, transport=transport)


def read(reader: PictureReader, url: str) -> object:
    return asyncio.run(reader.read(url, "messages[0].content[1]")).image


def refused(reader: PictureReader, url: str) -> RequestError:
    with pytest.raises(RequestError) as error:
        read(reader, url)
    assert error.value.refusal.param == "messages[0].content[1]"
    return error.value


def found(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=png())


@pytest.mark.parametrize(
    "head",
    ["data:image/png;base64,", "data:;base64,", "DATA:IMAGE/PNG;charset=utf-8;BASE64,"],
)
def test_a_data_url(head: str) -> None:
    image = read(PictureReader(10_000, allow_https=False), data_url(png(), head))
    assert image.size == (20, 10)


@pytest.mark.parametrize(
    ("url", "code", "status"),
    [
        ("data:image/png,abc", "invalid_image_url", 400),
        ("data:image/png;base64,a", "invalid_image_url", 400),
        ("data:image/png;base64,ä", "invalid_image_url", 400),
        ("data:image/png;base64,", "empty", 400),
        (data_url(b"<svg/>"), "not_supported", 400),
        (data_url(bytes(10_001)), "too_many_bytes", 413),
        (data_url(bytes(60_000)), "too_many_bytes", 413),
        ("http://example.org/a.png", "invalid_image_url", 400),
        ("https://example.org/a.png", "invalid_image_url", 400),
        ("ftp://example.org/a.png", "invalid_image_url", 400),
        ("picture.png", "invalid_image_url", 400),
        ("", "invalid_image_url", 400),
    ],
)
def test_what_is_no_picture_has_a_code(url: str, code: str, status: int) -> None:
    refusal = refused(PictureReader(10_000, allow_https=False), url).refusal
    assert (refusal.code, refusal.status) == (code, status)


def test_a_picture_of_another_server() -> None:
    web = Web({"example.org": [PUBLIC]}, found)
    assert read(web.reader(), "https://example.org/a.png").size == (20, 10)
    assert web.connected == [(PUBLIC, "https://example.org/a.png")]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.5"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["0.0.0.0"],
        ["224.0.0.1"],
        ["::1"],
        ["fe80::1%eth0"],
        ["fd00::1"],
        ["::ffff:127.0.0.1"],
        ["2002:7f00:1::"],
        ["64:ff9b::7f00:1"],
        [PUBLIC, "127.0.0.1"],  # one of two: a name that means to be chosen from
        [],
        ["nonsense"],
    ],
)
def test_only_public_addresses_are_connected_to(addresses: list[str]) -> None:
    web = Web({"example.org": addresses}, found)
    assert refused(web.reader(), "https://example.org/a.png").refusal.code == "address_refused"
    assert web.connected == []


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/a.png",
        "https://[::1]/a.png",
        "https://2130706433/a.png",
        "https://example.org:8443/a.png",
        "https://user:word@example.org/a.png",
        "https:///a.png",
        "https://",
        "https://unknown.example/a.png",
        "https://exa mple.org/",
        "https://\x00/",
    ],
)
def test_odd_addresses_are_refused(url: str) -> None:
    names = {"example.org": [PUBLIC], "127.0.0.1": ["127.0.0.1"], "::1": ["::1"]}
    names["2130706433"] = ["127.0.0.1"]  # as resolvers read it
    web = Web(names, found)
    assert refused(web.reader(), url).refusal.code in ("address_refused", "fetch_failed")
    assert web.connected == []


def redirecting(steps: Iterable[str]) -> Callable[[httpx.Request], httpx.Response]:
    left = iter(steps)

    def answer(_request: httpx.Request) -> httpx.Response:
        target = next(left, None)
        return (
            found(_request) if target is None else httpx.Response(302, headers={"location": target})
        )

    return answer


def test_a_redirect_is_resolved_and_pinned_anew() -> None:
    names = {"example.org": [PUBLIC], "cdn.example.org": ["1.1.1.1"]}
    web = Web(names, redirecting(["https://cdn.example.org/b.png", "/c.png"]))
    assert read(web.reader(), "https://example.org/a.png")
    assert web.connected == [
        (PUBLIC, "https://example.org/a.png"),
        ("1.1.1.1", "https://cdn.example.org/b.png"),
        ("1.1.1.1", "https://cdn.example.org/c.png"),
    ]


@pytest.mark.parametrize(
    "target",
    [
        "https://inner.example/",
        "http://example.org/b.png",
        "file:///etc/passwd",
        "//inner.example/",
    ],
)
def test_a_redirect_into_the_house_is_refused(target: str) -> None:
    names = {"example.org": [PUBLIC], "inner.example": ["10.0.0.1"]}
    web = Web(names, redirecting([target]))
    assert refused(web.reader(), "https://example.org/a.png").refusal.code == "address_refused"
    assert len(web.connected) == 1


def test_a_name_that_changes_its_address_between_two_looks() -> None:
    """The second look never happens: the connection goes to the address that was checked."""
    web = Web({"example.org": [PUBLIC]}, found)
    read(web.reader(), "https://example.org/a.png")
    assert web.resolved == ["example.org"]


def test_redirects_have_an_end() -> None:
    web = Web({"example.org": [PUBLIC]}, redirecting(["https://example.org/"] * 100))
    assert "redirects" in str(refused(web.reader(), "https://example.org/"))
    assert len(web.connected) == MAX_REDIRECTS + 1


def test_no_more_is_read_than_a_picture_may_be() -> None:
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1000
            yield bytes(1000)

    web = Web({"example.org": [PUBLIC]}, lambda _request: httpx.Response(200, content=endless()))
    assert refused(web.reader(), "https://example.org/").refusal.status == 413
    assert sent <= 12_000


@pytest.mark.parametrize("status", [401, 404, 500, 304])
def test_other_answers_are_no_pictures(status: int) -> None:
    web = Web({"example.org": [PUBLIC]}, lambda _request: httpx.Response(status))
    assert refused(web.reader(), "https://example.org/").refusal.code == "fetch_failed"


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_pictures, "FETCH_SECONDS", 0.05)

    async def slow():
        await asyncio.sleep(30)
        yield b""

    web = Web({"example.org": [PUBLIC]}, lambda _request: httpx.Response(200, content=slow()))
    assert "in time" in str(refused(web.reader(), "https://example.org/"))


def test_the_real_connection_goes_to_the_checked_address() -> None:
    """Host and certificate are the name's, the socket is the address's."""
    reader = PictureReader(1000, allow_https=True)
    transport = reader.transport(PUBLIC)
    seen: list[httpx.Request] = []

    async def ask() -> None:
        async def record(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            raise httpx.ConnectError("no network in tests")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", lambda _, r: record(r))
            async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
                with pytest.raises(httpx.ConnectError):
                    await client.get("https://example.org/a.png")

    asyncio.run(ask())
    (request,) = seen
    assert request.url.host == PUBLIC
    assert request.headers["host"] == "example.org"
    assert request.extensions["sni_hostname"] == "example.org"


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)
