"""`make torture` at a small share of its repeated work: every promise that has a measurement of its own.

Those that are measured by other tests are not run twice here. What a promise says of seconds is
measured by `make torture`; here, beside other tests, it may take a multiple.
"""

import pytest

from tests.torture import chats, pictures, supply, texts, training
from tests.torture.__main__ import PROMISES
from tests.torture.promise import ROOT, SLACK

MEASURED = {
    "pictures": (pictures.measure, 0.02),
    "texts": (texts.measure, 1),
    "trainings": (training.measure, 0.1),
    "cross-talk": (chats.measured("cross_talk"), 0.2),
    "stopping": (chats.measured("cancelling"), 0.3),
    "full queue": (chats.measured("full_queue"), 1),
    "growth": (chats.measured("growth"), 0.1),
    "failing step": (chats.measured("failing_step"), 1),
    "supply chain": (supply.measure, 1),
}


@pytest.mark.load
@pytest.mark.parametrize("name", MEASURED)
def test_promise_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SLACK, "20")
    measure, share = MEASURED[name]
    finding = measure(share)
    assert finding.held, finding.figure


def test_every_promise_of_the_security_page_is_measured() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8").lower()
    assert len({promise.name for promise in PROMISES}) == len(PROMISES) >= 13
    for promise in PROMISES:
        assert promise.name.lower().partition(":")[0].partition(";")[0] in page, promise.name


def test_files_named_by_the_promises_exist() -> None:
    for promise in PROMISES:
        for cell in promise.measure.__closure__ or ():
            for name in cell.cell_contents if isinstance(cell.cell_contents, tuple) else ():
                assert (ROOT / name).exists(), name
