"""axe-core finds nothing serious on the review page, in any of its states and looks."""

import pytest

from tests.train.curation.made import filtered, served
from tests.train.curation.test_review_browser import Reviewer
from tests.ui.driver import chromium_context
from tests.ui.test_accessibility import LOOKS, axe, serious  # noqa: F401 - axe is a fixture

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    # Gradio's own threads warn about pandas; under "error" they would break its queue.
    pytest.mark.filterwarnings("default"),
]


@pytest.mark.parametrize("name", LOOKS)
def test_nothing_serious(tmp_path, axe, name):  # noqa: F811 - the fixture
    window, scheme = LOOKS[name]
    found = {}
    look = {"viewport": window, "color_scheme": scheme, "reduced_motion": "reduce"}
    folder = filtered(tmp_path, ["The image shows a red field.", "The image shows a green field."])
    with served(folder) as url, chromium_context(**look) as context:
        page = Reviewer(context.new_page(), url)
        page.open()
        page.page.keyboard.press("d")
        found["first"] = serious(page, axe)
        page.press("1")
        page.press("ArrowLeft")
        found["rejected"] = serious(page, axe)
        page.press("Enter")
        page.press("Enter")
        assert page.done()
        found["done"] = serious(page, axe)
    assert {state: each for state, each in found.items() if each} == {}
