import random

import pytest

from minigpt4.engines.blocks import PAGE, BlockPool


def written(pool, ids, length=None):
    """A sequence that was read, recorded and given back."""
    lease = pool.reserve(ids, length or len(ids))
    assert lease is not None
    pool.record(lease, ids, len(ids))
    pool.release(lease)


def pages(count, start=0):
    return list(range(start, start + count * PAGE))


def test_what_was_read_is_found_again_up_to_the_last_whole_page():
    pool = BlockPool(8)
    ids = [*pages(2), 7, 8, 9]
    written(pool, ids)
    lease = pool.reserve([*ids, 1], len(ids) + 1)
    assert lease.shared == 2 * PAGE
    other = pool.reserve([*pages(1), 99, *pages(1)], 3 * PAGE)
    assert other.shared == PAGE
    assert other.blocks[0] == lease.blocks[0]
    assert set(other.blocks[1:]).isdisjoint(lease.blocks)


@pytest.mark.parametrize(("length", "shared"), [(PAGE, 0), (PAGE + 1, PAGE), (2 * PAGE, PAGE)])
def test_one_position_is_always_left_to_run(length, shared):
    pool = BlockPool(8)
    ids = pages(2)[:length]
    written(pool, ids)
    assert pool.reserve(ids, length).shared == shared


def test_a_page_counts_only_behind_the_same_beginning():
    pool = BlockPool(8)
    written(pool, [*pages(1, 100), *pages(1, 200), 0])
    assert pool.reserve([*pages(1, 300), *pages(1, 200), 0], 40).shared == 0
    assert pool.reserve([*pages(1, 200), *pages(1, 200), 0], 40).shared == 0


def test_a_reservation_that_cannot_be_met_takes_nothing():
    pool = BlockPool(4)
    written(pool, pages(2))
    first = pool.reserve(pages(2, 500), 2 * PAGE)
    assert pool.held == 2
    assert (
        pool.reserve([*pages(2), 0], 4 * PAGE) is None
    )  # one page is known, three more are not free
    assert pool.held == 2
    pool.release(first)
    assert pool.held == 0
    assert pool.reserve([*pages(2), 0], 4 * PAGE) is not None


def test_the_least_recently_used_is_forgotten_first_and_from_its_end():
    pool = BlockPool(6)
    old, new = pages(3, 1000), pages(3, 2000)
    written(pool, [*old], 3 * PAGE)
    written(pool, [*new], 3 * PAGE)
    written(pool, [*old[:PAGE], 5], PAGE + 1)  # uses old's first page once more, and forgets one
    written(pool, pages(1, 3000))
    kept = pool.reserve([*new, 0], 3 * PAGE + 1)
    assert kept.shared == 3 * PAGE
    pool.release(kept)
    assert pool.reserve([*old, 0], 3 * PAGE + 1).shared == PAGE


def test_a_chat_grows_in_place():
    pool = BlockPool(64)
    history: list[int] = []
    for turn in range(6):
        history += [*pages(1, 100 * turn), turn]
        lease = pool.reserve(history, len(history) + 20)
        assert lease.adjacent
        pool.record(lease, history, len(history))
        pool.release(lease)


def test_whatever_happens_a_page_found_holds_what_was_asked_for():
    chance = random.Random(5)
    pool = BlockPool(24)
    memory: dict[int, tuple[int, ...]] = {}  # what a cache would hold: all ids up to a block's end
    texts = [[chance.randrange(3) for _ in range(6 * PAGE)] for _ in range(4)]
    live = []
    hits = 0
    for _ in range(4000):
        if live and chance.random() < 0.5:
            pool.release(live.pop(chance.randrange(len(live))))
            continue
        text = chance.choice(texts)
        ids = text[: chance.randrange(1, len(text))] + [
            chance.randrange(3) for _ in range(chance.randrange(1, 20))
        ]
        lease = pool.reserve(ids, len(ids) + chance.randrange(40))
        if lease is None:
            continue
        hits += lease.shared > 0
        for page, block in enumerate(lease.blocks[: lease.shared // PAGE]):
            assert memory[block] == tuple(ids[: (page + 1) * PAGE])
        held = [block for other in live for block in other.blocks[other.shared // PAGE :]]
        assert set(lease.blocks[lease.shared // PAGE :]).isdisjoint(held)
        end = chance.randrange(lease.shared, len(ids) + 1)
        for page in range(lease.shared // PAGE, end // PAGE):
            memory[lease.blocks[page]] = tuple(ids[: (page + 1) * PAGE])
        pool.record(lease, ids, end)
        live.append(lease)
    assert hits > 300
    for lease in live:
        pool.release(lease)
    assert pool.held == 0
    assert pool.reserve([9] * PAGE, 24 * PAGE) is not None


def test_the_end_of_a_text_is_forgotten_before_its_beginning():
    pool = BlockPool(4)
    text = list(range(4 * PAGE))
    lease = pool.reserve(text, 4 * PAGE)
    pool.record(lease, text, 4 * PAGE)
    pool.release(lease)
    other = pool.reserve([-1], 2 * PAGE)
    pool.release(other)
    assert pool.reserve([*text, 7], 4 * PAGE + 1) is None
    assert pool.reserve(text, 4 * PAGE).shared == 2 * PAGE
