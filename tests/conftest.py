"""A whole model in miniature, with random weights and a real tokenizer: tests need no assets."""

import atexit
import gc
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from minigpt4.checkpoints.native import save_part
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.presets import TINY, Preset, QFormerConfig, VisionConfig
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from train.tiny.language import LanguageSettings, new_language_model

# Gradio reads it when it is imported. Test processes must not share one: each empties it at its end.
_UPLOADS = tempfile.mkdtemp(prefix="minigpt4-tests-")
os.environ["GRADIO_TEMP_DIR"] = _UPLOADS
atexit.register(shutil.rmtree, _UPLOADS, ignore_errors=True)

# The models of the tests are so small that threads cost more than they give, and tests run side by
# side.
torch.set_num_threads(1)

# A shell starts what it runs in the background deaf to Ctrl-C, and every process under it; tests
# that interrupt something would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# The same examples in every run, however long one takes: CI must not fail by chance.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests be tried again that a loaded machine can fail: those marked browser or load.

    Twice at most, and the summary tells. What fails three times in a row has a cause of its own.
    """
    for item in items:
        if any(item.get_closest_marker(name) for name in ("browser", "load")):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """What a failed try held is collected here, and does not warn in whatever test runs next."""
    yield
    if getattr(item, "execution_count", 1) > 1:  # of pytest-rerunfailures
        gc.collect()


@pytest.fixture(autouse=True)
def _chance() -> None:
    """What a test draws without a seed of its own is the same in every run."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the state that libraries share
    torch.manual_seed(0)


SMALLER = Preset(
    name="smaller",
    vision=VisionConfig(
        architecture="vit", image_size=32, patch_size=16, width=32, depth=1, heads=2, mlp_ratio=2.0
    ),
    qformer=QFormerConfig(
        queries=4, width=32, depth=1, heads=2, intermediate=64, cross_attention_every=1
    ),
)
_TOKENIZER = Path(__file__).with_name("tokenizer")
_LANGUAGE = LanguageSettings(width=64, depth=2, heads=2, intermediate=128)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of the picture world's sentences, as they once were.

    It is kept, not trained: what random weights say depends on every piece, and the world's
    wordings grow. `train_tokenizer` with 400 scenes made it.
    """
    folder = tmp_path_factory.mktemp("tokenizer")
    shutil.copytree(_TOKENIZER, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def tiny_model(tokenizer_folder: Path) -> MiniGPT4:
    """A model with random weights, the same in every test; each test may change its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vision = VisionEncoder(SMALLER.vision)
        qformer = QFormer(SMALLER.qformer, SMALLER.vision.width)
        language = new_language_model(tokenizer_folder, _LANGUAGE)
        return MiniGPT4(SMALLER, vision, qformer, language)


@pytest.fixture(scope="session")
def parts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random parts of the tiny preset as files: vision, qformer and the folder language."""
    folder = tmp_path_factory.mktemp("parts")
    shutil.copytree(_TOKENIZER, folder / "language")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vision = VisionEncoder(TINY.vision)
        qformer = QFormer(TINY.qformer, TINY.vision.width)
        language = new_language_model(folder / "language", _LANGUAGE)
    save_part(folder / "vision.safetensors", vision, "vision", preset=TINY.name)
    save_part(folder / "qformer.safetensors", qformer, "qformer", preset=TINY.name)
    language.model.save_pretrained(folder / "language")
    return folder
