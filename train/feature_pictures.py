"""The pictures of a run's data as a feature cache looks at them: place by place, each once.

Places are counted from 0 in an order that is the same in every process and at every start, and a
picture's key is the one that its samples have.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

from PIL import Image

from minigpt4.images import image_key
from train.errors import TrainingError
from train.feature_cache import pictures_digest
from train.samples import SampleOf, training_seed
from train.settings import CartoonSettings, TrainSettings
from train.stages import Stage
from train.validation import Checked, OwnRow, read_picture
from train.web_data import WebData

_PROBES = 16
"""Generated pictures that are drawn to see whether they are still drawn alike."""
_TEXT_SETTINGS = frozenset({"description_share", "fewest_turns", "most_turns", "instructions"})
"""What of the world's settings leaves its pictures as they are."""


@dataclass(frozen=True, slots=True)
class FeaturePictures:
    """Pictures to look at.

    Attributes:
        name: What the cache's folder is called by default.
        source: Where they come from, for a person.
        count: How many places there are.
        content: Their number, and a digest of their content in order.
        at: Key and RGB picture of a place; raises `train.shards.LostError` where there is none to
            be had.
    """

    name: str
    source: str
    count: int
    content: str
    at: Callable[[int], tuple[str, Image.Image]]


def feature_pictures(settings: TrainSettings, stage: Stage, own: Checked | None) -> FeaturePictures:
    """The pictures that a run learns from.

    Raises:
        TrainingError: If they cannot be cached.
    """
    if own is not None:
        return _own_pictures(own.source.path, own.rows)
    if stage.web is not None:
        return _shard_pictures(stage.web)
    samples = settings.schedule.steps * settings.samples_per_step
    samples = min(samples, settings.data.samples or samples)
    return _generated_pictures(settings.stage, settings.data, samples, stage.sample_of)


def _own_pictures(path: Path, rows: Sequence[OwnRow]) -> FeaturePictures:
    """Those of a user's rows; the check has just read them all, and keys are their content."""
    files = {row.key: row.path for row in rows}
    keys = sorted(files)

    def at(place: int) -> tuple[str, Image.Image]:
        return keys[place], read_picture(files[keys[place]])

    content = f"{len(keys):,} with content {pictures_digest(keys)}"
    return FeaturePictures(f"{path.parent.name}-{path.stem}", str(path), len(keys), content, at)


def _shard_pictures(web: WebData) -> FeaturePictures:
    """All of all shards, the held-out ones too.

    They are told by the headers in the shards, which name every member, its place and its size:
    reading millions of pictures to see whether they changed would cost more than the cache saves.
    """
    remote = [url for url in web.urls if "://" in url]
    if remote:
        message = (
            f"--cache-features looks at every picture of every shard once, and {len(remote):,} of "
            f"{len(web.urls):,} shards lie elsewhere, the first at {remote[0]}. Bring them to this "
            "machine and name the files in shards.sources, or leave --cache-features out: a run "
            "that sees every pair once gains nothing by it."
        )
        raise TrainingError(message)
    contents = web.contents()
    ends = list(accumulate(each.samples for each in contents))
    count = ends[-1]

    def at(place: int) -> tuple[str, Image.Image]:
        shard = bisect_right(ends, place)
        each = contents[shard]
        return web.at(each.source, each.which, place - (ends[shard] - each.samples))

    digest = pictures_digest([each.headers for each in contents])
    source = web.urls[0] if len(web.urls) == 1 else f"{web.urls[0]} and {len(web.urls) - 1:,} more"
    return FeaturePictures("shards", source, count, f"{count:,} with content {digest}", at)


def _generated_pictures(
    stage: int, drawn: CartoonSettings, samples: int, sample_of: SampleOf
) -> FeaturePictures:
    """The first samples of a stage: what another run on the same pictures saves."""

    def at(place: int) -> tuple[str, Image.Image]:
        sample = sample_of(training_seed(stage, place))
        return sample.key, sample.picture

    probes = sorted({number * (samples - 1) // max(1, _PROBES - 1) for number in range(_PROBES)})
    how = {key: value for key, value in asdict(drawn).items() if key not in _TEXT_SETTINGS}
    told = [str(how), *(image_key(at(place)[1]) for place in probes)]
    content = f"{samples:,} with content {pictures_digest(told)}"
    return FeaturePictures(
        f"generated-stage{stage}", f"generated pictures of stage {stage}", samples, content, at
    )
