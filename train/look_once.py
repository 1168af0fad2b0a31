"""Whether and where a run keeps what the frozen eye sees: on disk, in memory, or not at all."""

from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator

from minigpt4.models.minigpt4 import MiniGPT4
from train.errors import TrainingError
from train.feature_build import open_or_build
from train.feature_cache import MadeOf, eye_digest, transform_words
from train.feature_pictures import FeaturePictures, feature_pictures
from train.own_data import keep_pictures
from train.prefetch import check_workers
from train.samples import Batches
from train.settings import TrainSettings
from train.stages import Stage
from train.validation import Checked

FEATURES = Path("runs/features")
"""Where caches lie that are given no folder of their own."""


def look_once(
    settings: TrainSettings,
    stage: Stage,
    model: MiniGPT4,
    batches: Batches,
    accelerator: Accelerator,
    *,
    own: Checked | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> str:
    """Lets the eye look at the pictures that come back, before training begins.

    Args:
        settings: `cache_features` names the folder of a feature cache; without one a user's own
            pictures are kept in memory, if there is room.
        stage: Where samples come from.
        model: Its eye looks.
        batches: Reads what is kept.
        accelerator: Processes that share the work.
        own: A user's own data, if it is those.
        say: Told what takes a while, before it begins.

    Returns:
        What is kept, a line for a person; empty if nothing could be.

    Raises:
        TrainingError: If the cache in the folder is another one, or cannot be built.
    """
    check_workers(settings.workers)
    if not settings.cache_features:
        rows = own.rows if own else ()
        return keep_pictures(batches.query_outputs, rows, settings.own_data.keep_mb)
    pictures = feature_pictures(settings, stage, own)
    folder = feature_folder(settings, pictures)
    made_of = MadeOf(
        eye=eye_digest(model),
        transform=transform_words(model),
        pictures=pictures.content,
        source=pictures.source,
        shape=model.frozen_output_shape,
    )
    cache = open_or_build(
        folder,
        made_of,
        pictures,
        batches.query_outputs,
        accelerator,
        workers=settings.workers,
        say=say,
    )
    batches.query_outputs.read_from(cache)
    if stage.web is not None:
        stage.web.read_from(cache)
    size = len(cache) * made_of.picture_bytes / 2**20
    return f"Features of {len(cache):,} pictures are read from {folder} ({size:,.1f} MB).\n"


def feature_folder(settings: TrainSettings, pictures: FeaturePictures) -> Path:
    """The folder of a run's feature cache.

    Raises:
        TrainingError: If the name given is a file's.
    """
    if settings.cache_features == "auto":
        return FEATURES / pictures.name
    folder = Path(settings.cache_features).expanduser()
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"--cache-features: {folder} is a file; expected a folder.")
    return folder
