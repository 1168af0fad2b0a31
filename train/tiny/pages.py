"""Reads a web page that a model wrote, and refuses what is no whole, well-formed document."""

from dataclasses import dataclass
from html.parser import HTMLParser

_VOID = frozenset({"img"})
_ELEMENTS = {"h1": "title", "button": "button", "ul": "list", "img": "image"}
# Which elements each element may stand in.
_PARENTS = {
    "html": {""},
    "head": {"html"},
    "body": {"html"},
    "title": {"head"},
    "li": {"ul"},
    **{name: {"body"} for name in _ELEMENTS},
}


@dataclass(frozen=True, slots=True)
class WebPage:
    """What a page says.

    Attributes:
        title: The text of its title.
        heading: The text of its headings.
        kinds: Its elements in their order, as `train.cartoon.scene.PAGE_KINDS` calls them.
    """

    title: str
    heading: str
    kinds: tuple[str, ...]


def read_page(answer: str) -> WebPage | None:
    """Reads an answer that is a web page from its first character to its last.

    Returns:
        None where it is no such page: it lacks its doctype, head, title or body, an element is not
        closed, closed twice or stands where it may not, a list is empty, or text is astray.
    """
    reader = _Reader()
    reader.feed(answer.strip())
    reader.close()
    return reader.page()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._seen: list[str] = []
        self._texts: dict[str, str] = {}
        self._wrong = False

    def page(self) -> WebPage | None:
        once = ("!doctype", "html", "head", "title", "body")
        whole = [self._seen.count(name) for name in once] == [1] * len(once)
        if self._wrong or self._open or not whole or self._seen[0] != "!doctype":
            return None
        kinds = tuple(_ELEMENTS[name] for name in self._seen if name in _ELEMENTS)
        return WebPage(self._texts.get("title", ""), self._texts.get("h1", ""), kinds)

    def handle_decl(self, decl: str) -> None:
        self._wrong |= decl.lower() != "doctype html"
        self._seen.append("!doctype")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        parent = self._open[-1] if self._open else ""
        self._wrong |= parent not in _PARENTS.get(tag, ())
        self._wrong |= tag == "img" and {"alt", "src"} != {name for name, _ in attrs}
        self._seen.append(tag)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self._wrong = True
        elif tag == "ul":
            self._wrong |= self._seen[-1] != "li"

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside in {"title", "h1", "li", "button"}:
            self._texts[inside] = self._texts.get(inside, "") + data
        else:
            self._wrong |= bool(data.strip())
