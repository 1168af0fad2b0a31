"""Who holds which block of the KV cache, and which blocks may serve a later prompt.

Pure bookkeeping, without torch. A block holds the keys and values of `PAGE` positions. A prompt
first takes over the blocks of its longest known beginning, whoever read it before, then gets blocks
of its own for the rest and for the longest answer it may get. Because all it can ever need is set
aside before it starts, answers that are being written never compete for blocks: none has to be
thrown back, and none can wait for another for ever.

Blocks that nobody holds any more keep their content until the room is needed; then the least
recently used go first.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

PAGE = 16
"""Positions of a block."""
_ROOT = 0


@dataclass(slots=True)
class Lease:
    """The blocks of one sequence, in order.

    Attributes:
        blocks: Block ids.
        shared: So many positions were read before, perhaps for someone else.
        adjacent: The blocks lie behind one another, so that the sequence is one slice of the cache.
        recorded: So many blocks at the beginning are known to the pool by their content.
        prefix: Names the content up to there.
    """

    blocks: list[int]
    shared: int
    adjacent: bool
    recorded: int
    prefix: int


class BlockPool:
    """Hands out blocks and remembers what stands in them.

    A block's content is known by the content before it and by its own ids, compared in full, so no
    two contents can be mistaken for each other.
    """

    def __init__(self, blocks: int) -> None:
        """Takes over an empty cache.

        Args:
            blocks: How many there are; their ids begin at 1. Block 0 is nobody's.
        """
        self.blocks = blocks
        self._taken = bytearray(b"\1") + bytearray(blocks)  # held or remembered
        self._free = blocks
        self._holders = [0] * (blocks + 1)
        # Content is named by a number that is never given twice. What stands behind a forgotten
        # block can so never be found again by mistake; it goes when its turn comes.
        self._names = _ROOT
        self._known: dict[tuple[int, tuple[int, ...]], tuple[int, int]] = {}
        self._contents: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # remembered, not held; oldest first

    @property
    def held(self) -> int:
        """Blocks of the sequences that are being written."""
        return self.blocks - self._free - len(self._idle)

    @property
    def remembered(self) -> int:
        """Blocks that nobody holds and that may serve again."""
        return len(self._idle)

    def fits(self, length: int) -> bool:
        """Whether a sequence of that length could be held if it were the only one."""
        return _pages(length) <= self.blocks

    def reserve(self, ids: Sequence[int], length: int) -> Lease | None:
        """Blocks for a sequence, or None if too many are held at the moment.

        Args:
            ids: The prompt. At least its last position is never taken as read: something has to
                be run to go on from.
            length: The most positions that the sequence will ever have.
        """
        shared, prefix = self._match(ids)
        for block in shared:
            self._hold(block)
        wanted = _pages(length) - len(shared)
        if wanted > self._free + len(self._idle):
            self._let_go(shared)
            return None
        while self._free < wanted:
            self._forget()
        blocks = shared + self._take(wanted, shared[-1] if shared else None)
        adjacent = all(after == block + 1 for block, after in pairwise(blocks))
        return Lease(blocks, len(shared) * PAGE, adjacent, len(shared), prefix)

    def record(self, lease: Lease, ids: Sequence[int], written: int) -> None:
        """Remembers what was written into a sequence's blocks.

        Args:
            lease: The sequence's blocks.
            ids: The sequence.
            written: So many of its positions stand in the cache.
        """
        while (lease.recorded + 1) * PAGE <= written:
            block = lease.blocks[lease.recorded]
            start = lease.recorded * PAGE
            content = (lease.prefix, tuple(ids[start : start + PAGE]))
            known = self._known.get(content)
            if known is None:
                self._names += 1
                known = (block, self._names)
                self._known[content] = known
                self._contents[block] = content
            # Else someone read the same at the same time. Ours is forgotten with the answer.
            lease.prefix = known[1]
            lease.recorded += 1

    def release(self, lease: Lease) -> None:
        """Gives a sequence's blocks back; what was recorded is kept while there is room."""
        self._let_go(lease.blocks)
        lease.blocks = []

    def _match(self, ids: Sequence[int]) -> tuple[list[int], int]:
        blocks: list[int] = []
        prefix = _ROOT
        for start in range(0, len(ids) - PAGE, PAGE):
            known = self._known.get((prefix, tuple(ids[start : start + PAGE])))
            if known is None:
                break
            block, prefix = known
            blocks.append(block)
        return blocks, prefix

    def _hold(self, block: int) -> None:
        self._holders[block] += 1
        self._idle.pop(block, None)

    def _let_go(self, blocks: Sequence[int]) -> None:
        # The last first: of blocks let go at once, the end of a text is forgotten before its
        # beginning, without which it could not be found.
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._contents:
                self._idle[block] = None
            else:
                self._taken[block] = 0
                self._free += 1

    def _forget(self) -> None:
        block, _ = self._idle.popitem(last=False)
        del self._known[self._contents.pop(block)]
        self._taken[block] = 0
        self._free += 1

    def _take(self, count: int, before: int | None) -> list[int]:
        """Free blocks, behind `before` or at least behind one another if that can be."""
        start = self._place(count, before)
        if start is None:
            blocks = [at for at, taken in enumerate(self._taken) if not taken][:count]
        else:
            blocks = list(range(start, start + count))
        for block in blocks:
            self._taken[block] = 1
            self._holders[block] = 1
        self._free -= count
        return blocks

    def _place(self, count: int, before: int | None) -> int | None:
        nothing = bytes(count)
        if before is not None and self._taken[before + 1 : before + 1 + count] == nothing:
            return before + 1
        gap = max(re.finditer(rb"\0+", self._taken), key=_length, default=None)
        if gap is None or _length(gap) < count:
            return None
        # In the middle of the widest gap: whoever stands before it has room to grow in place.
        spare = _length(gap) - count
        return gap.start() + (0 if gap.start() == 1 else spare // 2)


def _length(gap: re.Match[bytes]) -> int:
    return gap.end() - gap.start()


def _pages(length: int) -> int:
    return -(-length // PAGE)
