"""Stage 1 on millions of pairs: several sources of shards, mixed by their shares.

Which sample is shown at a step is a function of its number alone, as everywhere in training, so a
run that is resumed, or continued by another number of processes, reads what it would have read.
Nothing has to be counted first, however many shards there are:

- Sample `n` belongs to the source whose turn it is in a fixed pattern of all shares.
- A source's samples come from up to `OPEN` shards in turn, so that a batch mixes shards; after
  `VISIT` samples of each, the next ones follow, in an order drawn anew for every pass over them.
- Within a shard, samples follow one order; each visit goes on where the one before ended.

A sample that cannot be used is counted by its cause, and the next of its shard takes its place.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from PIL import Image

from minigpt4.conversation import Conversation, Turn
from train.errors import TrainingError
from train.query_outputs import Cache
from train.samples import Sample, training_seed
from train.settings import ShardsSettings
from train.shards import Entry, LostError, Shard, expand, fetched, index_shard

OPEN = 8
"""Shards of a source that are read at a time."""
VISIT = 1000
"""Samples that are taken of a shard before the next one is opened; fewer where a source's first
shard has fewer."""
_JUDGE_FROM = 200
"""So many samples are read before the share of lost ones can stop a run."""
_HELD_OUT = 64
"""Samples that no step shows: the first of the first source's first shard."""


@dataclass(frozen=True, slots=True)
class _Source:
    urls: tuple[str, ...]
    share: int


@dataclass(frozen=True, slots=True)
class ShardContent:
    """What the headers of a shard tell.

    Attributes:
        source: Which source it belongs to.
        which: Its number there.
        samples: How many it has, usable or not.
        headers: Its source, its number there, its name and its members', with places and sizes.
    """

    source: int
    which: int
    samples: int
    headers: str


@dataclass(slots=True)
class Counts:
    """What was read.

    Attributes:
        read: Samples that could be used.
        lost: Others, by cause.
        shards: What of shards as a whole is lost, by source and number; told by whoever opens one,
            and counted once.
    """

    read: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    shards: dict[tuple[int, int], Counter[str]] = field(default_factory=dict)


class WebData:
    """Training samples by seed, and what was lost on the way."""

    def __init__(self, settings: ShardsSettings, *, stage: int, seed: int) -> None:
        """Finds the shards; none is opened yet.

        Args:
            settings: Sources and what may be lost.
            stage: Seeds are counted from this stage's first.
            seed: Decides every order.

        Raises:
            TrainingError: If a source has no shards.
        """
        self._sources = tuple(
            _Source(expand(source.urls), source.share) for source in settings.sources
        )
        for source, given in zip(self._sources, settings.sources, strict=True):
            if not source.urls:
                raise TrainingError(f"shards.sources: {given.urls!r} names no shard.")
        self._settings = settings
        self._folder = Path(settings.cache).expanduser()
        self._first = training_seed(stage, 0)
        self._seed = seed
        self._pattern = _pattern([source.share for source in self._sources])
        self._file = lru_cache(maxsize=4 * OPEN * len(self._sources))(self._file_of)
        self._shard = lru_cache(maxsize=4 * OPEN * len(self._sources))(self._indexed)
        self._order = lru_cache(maxsize=4 * OPEN * len(self._sources))(self._order_of)
        self._visits = lru_cache(maxsize=4 * len(self._sources))(self._visits_of)
        self._features: Cache | None = None
        self._counts = Counts()
        self._known_shards: set[tuple[int, int]] = set()
        self._judges = True

    @property
    def urls(self) -> tuple[str, ...]:
        """All shards, source by source."""
        return tuple(url for source in self._sources for url in source.urls)

    @property
    def read(self) -> int:
        """Samples that could be used so far."""
        return self._counts.read

    @property
    def lost(self) -> Counter[str]:
        """Others, by cause."""
        return sum(self._counts.shards.values(), self._counts.lost)

    def sample_of(self, seed: int) -> Sample:
        """The training sample that belongs to a seed.

        Raises:
            TrainingError: If more than `most_lost` of the samples so far could not be used.
        """
        number = seed - self._first
        block, place = divmod(number, len(self._pattern))
        source, rank = self._pattern[place]
        return self._usable(source, block * self._sources[source].share + rank)

    def held_out(self, number: int) -> tuple[Sample, ...]:
        """Samples that no step shows.

        Raises:
            TrainingError: If there are not so many.
        """
        samples = []
        shard = self._opened(0, 0)
        for entry in shard.entries[:_HELD_OUT]:
            try:
                picture, caption = shard.read(entry)
            except LostError:
                continue
            samples.append(_sample(partial(_itself, picture), caption, _key(0, 0, entry)))
            if len(samples) == number:
                return tuple(samples)
        message = (
            f"{number} samples are to be held out, and the first {_HELD_OUT} of {shard.path.name} "
            f"have {len(samples)} that can be used. Lower check_samples or check_pictures."
        )
        raise TrainingError(message)

    def check(self) -> Iterator[str]:
        """Reads everything once; yields a line for each shard with faults, then totals."""
        total: Counter[str] = Counter()
        usable = 0
        for url in dict.fromkeys(url for source in self._sources for url in source.urls):
            lost: Counter[str] = Counter()
            try:
                shard = index_shard(fetched(url, self._folder))
            except LostError as error:
                lost[error.cause] += 1
            else:
                lost += shard.lost
                for entry in shard.entries:
                    try:
                        shard.read(entry)
                        usable += 1
                    except LostError as error:
                        lost[error.cause] += 1
            if lost:
                yield f"{url}: {_listed(lost)}"
            total += lost
        yield f"{usable:,} samples can be used." + (
            f" Lost: {_listed(total)}." if total else " None is lost."
        )

    def contents(self) -> list[ShardContent]:
        """What the headers of all shards tell; nothing is counted.

        Raises:
            TrainingError: If no shard can be read.
        """
        found = []
        for source, each in enumerate(self._sources):
            for which, url in enumerate(each.urls):
                # Keys count sources and shards, so a shard of another source has other keys.
                name = f"{source} {which} {Path(url).name}"
                try:
                    entries = self._file(source, which).entries
                except LostError as error:
                    found.append(ShardContent(source, which, 0, f"{name}: {error.cause}"))
                    continue
                headers = f"{name}: {entries!r}"
                digest = hashlib.sha256(headers.encode()).hexdigest()
                found.append(ShardContent(source, which, len(entries), digest))
        if not any(each.samples for each in found):
            raise TrainingError("None of the shards can be read. Look with --check-data.")
        return found

    def at(self, source: int, which: int, number: int) -> tuple[str, Image.Image]:
        """Key and RGB picture of a sample by its place in its shard; nothing is counted.

        Raises:
            LostError: If it cannot be used.
        """
        shard = self._file(source, which)
        entry = shard.entries[number]
        return _key(source, which, entry), shard.read(entry)[0]

    def read_from(self, features: Cache) -> None:
        """Leaves pictures unread that the eye has seen; a sample that it has not is no longer one.

        So the samples and their order are those of a run without a feature cache.
        """
        self._features = features

    def apart(self) -> None:
        """See `train.samples.Tally`."""
        self._judges = False
        self._counts = Counts()

    def taken(self) -> Counts:
        """See `train.samples.Tally`."""
        counts, self._counts = self._counts, Counts()
        return counts

    def add(self, taken: Counts) -> None:
        """See `train.samples.Tally`.

        Raises:
            TrainingError: If more than `most_lost` of the samples so far could not be used.
        """
        self._counts.read += taken.read
        self._counts.lost += taken.lost
        for key, lost in taken.shards.items():
            self._counts.shards.setdefault(key, lost)
        if taken.lost or taken.shards:
            self._judge()

    def said(self) -> str:
        """What was read and lost so far, for a person."""
        if not self.lost:
            return f"{self.read:,} samples read, none lost."
        return f"{self.read:,} samples read; lost: {_listed(self.lost)}."

    def _usable(self, source: int, index: int) -> Sample:
        """The sample at a source's index, or the next of its shard that can be used."""
        shards = len(self._sources[source].urls)
        open_shards, visited = min(OPEN, shards), self._visited(source)
        group, within = divmod(index, open_shards * visited)
        nth, column = divmod(within, open_shards)
        visit = group * open_shards + column
        for turn in range(shards):  # a shard that is lost as a whole is passed over
            passed, at = divmod(visit + turn, shards)
            which = self._visits(source, passed)[at]
            try:
                shard = self._opened(source, which)
            except LostError:
                continue
            order = self._order(source, which)
            for further in range(len(order)):
                entry = shard.entries[order[(passed * visited + nth + further) % len(order)]]
                try:
                    sample = self._sample(shard, entry, _key(source, which, entry))
                except LostError as error:
                    self._counts.lost[error.cause] += 1
                    self._judge()
                    continue
                self._counts.read += 1
                return sample
        raise TrainingError(f"No sample of the shards can be used: {_listed(self.lost)}.")

    def _visited(self, source: int) -> int:
        """Samples that are taken of a shard at a time: a constant of the source."""
        for which in range(len(self._sources[source].urls)):
            try:
                return min(VISIT, len(self._order(source, which)))
            except LostError:
                continue
        raise TrainingError(f"None of the shards can be read: {_listed(self.lost)}.")

    def _opened(self, source: int, which: int) -> Shard:
        found = self._shard(source, which)
        if isinstance(found, LostError):
            raise found
        return found

    def _indexed(self, source: int, which: int) -> "Shard | LostError":
        """Cached, a fault too: it is counted once."""
        found: Shard | LostError
        try:
            found = self._file(source, which)
            lost = found.lost
        except LostError as error:
            found, lost = error, Counter([error.cause])
        if lost and (source, which) not in self._known_shards:
            self._known_shards.add((source, which))
            self._counts.shards[source, which] = lost
            self._judge()
        return found

    def _file_of(self, source: int, which: int) -> Shard:
        return index_shard(fetched(self._sources[source].urls[which], self._folder))

    def _sample(self, shard: Shard, entry: Entry, key: str) -> Sample:
        features = self._features
        if features is not None and key in features:
            return _sample(partial(shard.read_picture, entry), shard.read_caption(entry), key)
        picture, caption = shard.read(entry)
        if features is not None:
            message = (
                f"Sample {entry.key} of {shard.path.name} can be read now, and could not when the "
                "feature cache was built. Delete the cache to have it built anew."
            )
            raise TrainingError(message)
        return _sample(partial(_itself, picture), caption, key)

    def _order_of(self, source: int, which: int) -> Sequence[int]:
        """The order of a shard's samples, without those that are held out."""
        shard = self._opened(source, which)
        first = _HELD_OUT if (source, which) == (0, 0) and len(shard.entries) > _HELD_OUT else 0
        order = list(range(first, len(shard.entries)))
        random.Random(f"shard-{self._seed}-{source}-{which}").shuffle(order)
        return order

    def _visits_of(self, source: int, passed: int) -> Sequence[int]:
        """The order of a source's shards in a pass over all of them."""
        order = list(range(len(self._sources[source].urls)))
        random.Random(f"shards-{self._seed}-{source}-{passed}").shuffle(order)
        return order

    def _judge(self) -> None:
        lost, most = self.lost.total(), self._settings.most_lost
        enough = self._judges and self.read + lost >= _JUDGE_FROM
        if enough and lost > most * (self.read + lost):
            message = (
                f"{lost:,} of {self.read + lost:,} samples were lost, more than the "
                f"{100 * most:g} % that shards.most_lost allows: {_listed(self.lost)}. Look with "
                "--check-data."
            )
            raise TrainingError(message)


def _sample(load: Callable[[], Image.Image], caption: str, key: str) -> Sample:
    return Sample(key, Conversation((Turn("", caption, (key,)),)), load)


def _itself(picture: Image.Image) -> Image.Image:
    return picture


def _key(source: int, which: int, entry: Entry) -> str:
    """A sample's key: img2dataset gives the same keys in every source."""
    return f"{source} {which} {entry.key}"


def _pattern(shares: Sequence[int]) -> list[tuple[int, int]]:
    """One turn of all shares, spread evenly: for each place a source, and its rank among its own.

    >>> _pattern([2, 1])
    [(0, 0), (1, 0), (0, 1)]
    """
    places = [
        ((2 * rank + 1) / (2 * share), source, rank)
        for source, share in enumerate(shares)
        for rank in range(share)
    ]
    return [(source, rank) for _, source, rank in sorted(places)]


def _listed(lost: Counter[str]) -> str:
    return ", ".join(f"{number:,} x {cause}" for cause, number in lost.most_common())
