"""Which part of an answer is a web page."""

import time

import pytest

from minigpt4.ui.web_pages import find_pages

PAGE = """<!doctype html>
<html lang="en">
<head><title>TERZ</title></head>
<body>
<h1>TERZ</h1>
<img alt="a picture">
<ul><li>one</li><li>two</li></ul>
<button>OK</button>
</body>
</html>"""


def pages(answer: str) -> list[str]:
    return [answer[begin:end] for begin, end in find_pages(answer)]


@pytest.mark.parametrize(
    "answer",
    [
        PAGE,
        f"\n  {PAGE}\n",
        f"Here is the page: {PAGE} It has a button.",
        f"```html\n{PAGE}\n```",
        f"```HTML title=x\n\n{PAGE}\n\n```\nThe button does nothing.",
        f"Sure!\n\n~~~~html\n{PAGE}\n~~~~",
        f"  ```html\n{PAGE}\n  `````  ",
        f"```\n{PAGE}\n```",
        f"```html\n{PAGE}",  # the end of the document is enough
        f"```python\nprint()\n```\n{PAGE}",
        f"In <b>bold</b>: {PAGE}",
    ],
)
def test_a_whole_document_is_found_wherever_it_stands(answer):
    assert pages(answer) == [PAGE]


@pytest.mark.parametrize(
    "page",
    [
        "<html><body>x</body></html>",
        "<HTML LANG='en'>\n<!-- made by hand -->\n<p>x</HTML >",
        "<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0 Strict//EN' 'x.dtd'><html><p>x</html>",
        '<!doctype html><script>if (1 < 2) document.title = "a"</script></html>',
    ],
)
def test_documents_are_written_in_many_ways(page):
    assert pages(page) == [page]
    assert pages(f"First.\n{page}\nThen.") == [page]


@pytest.mark.parametrize(
    "fragment", ["<h1>Jokes</h1>\n<button>More</button>", "<!-- page -->\n<p>x", "<div\n>a</div>"]
)
def test_a_block_that_says_it_is_html_needs_no_whole_document(fragment):
    assert pages(f"So:\n```html\n{fragment}\n```\nDone.") == [fragment]
    assert pages(f"So:\n```\n{fragment}\n```") == []
    assert pages(f"So:\n```xml\n{fragment}\n```") == []
    assert pages(f"So:\n```html\n{fragment}") == []
    assert pages(f"So:\n````html\n{fragment}\n```") == []
    assert pages(fragment) == []


def test_no_beginning_of_a_document_is_one():
    answer = f"Sure:\n\n```html\n{PAGE}\n```"
    whole = answer.index("</html>") + len("</html>")
    for length in range(whole):
        assert find_pages(answer[:length]) == ()
    for length in range(whole, len(answer) + 1):
        assert pages(answer[:length]) == [PAGE]


def test_each_of_several_is_a_page_of_its_own():
    other = PAGE.replace("TERZ", "MOLB")
    assert pages(f"{PAGE}\n{other}") == [PAGE, other]
    assert pages(f"```html\n{PAGE}\n```\nor\n```html\n<p>x</p>\n```\nor {other}") == [
        PAGE,
        "<p>x</p>",
        other,
    ]
    assert pages(f"{PAGE}\n<!doctype html>\n<html>\n<body>") == [PAGE]


@pytest.mark.parametrize(
    "prose",
    [
        "",
        "There is no page in this picture.",
        "<html> is the root of a page, and </html> ends it.",
        "A page begins with <!doctype html>, then <html>, then <body>, and ends with </html>.",
        "Write `<!doctype html>` first and `</html>` last.",
        "Inline <html><body>x</body></html> within a sentence is an example.",
        "In HTML, <h1>this</h1> is a heading, and <script>alert(1)</script> runs.",
        "```html\nThe tag <html> comes first.\n```",
        "```html\n\n```",
        "The sign says HTML. 1 < 2 and 3 > 2.",
        "</html><!doctype html>",
        "<html><body>half",
        "<htmlx>\n<p>x</html>",
    ],
)
def test_prose_about_tags_is_no_page(prose):
    assert find_pages(prose) == ()


@pytest.mark.parametrize(
    "piece",
    ["<!doctype html", "<!doctype html> ", "\n<html>", "<html <", "```", "\n```html", "</html>"],
)
def test_time_grows_with_length_only(piece):
    begin = time.process_time()
    find_pages(piece * (400_000 // len(piece)))
    find_pages("```" + piece * (400_000 // len(piece)) + "`")
    find_pages("```" + " " * 400_000 + "`")
    assert time.process_time() - begin < 10  # takes 0.2 s; hours if it grew with the square
