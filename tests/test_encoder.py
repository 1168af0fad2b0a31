"""The picture encoder: together, once, remembered; and failures of one picture alone."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from minigpt4.encoder import EncodedImage, PictureEncoder
from minigpt4.errors import EngineError, ImageError
from minigpt4.images import load_image, to_pixel_values
from minigpt4.models.minigpt4 import MiniGPT4
from tests.waiting import until

SIZE_BYTES = 4 * 64 * 4
"""Visual tokens of the model of the tests: 4 of width 64, float32."""


class Gate:
    """Stands before the vision part, counts its batches, and lets them in when it is open."""

    def __init__(self, model: MiniGPT4, monkeypatch) -> None:
        self.batches: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.inside = threading.Event()
        self.broken: object = None
        self._forward = model.vision.forward
        monkeypatch.setattr(model.vision, "forward", self._enter)

    def _enter(self, values: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(values))
        self.inside.set()
        assert self.open.wait(100)
        if self.broken is not None and any(torch.equal(each, self.broken) for each in values):
            raise RuntimeError("/secret: device-side assert")
        return self._forward(values)


@pytest.fixture
def gate(tiny_model, monkeypatch) -> Gate:
    return Gate(tiny_model, monkeypatch)


@pytest.fixture
def encoder(tiny_model) -> Iterator[PictureEncoder]:
    encoder = PictureEncoder(tiny_model, max_batch=4)
    yield encoder
    encoder.close()


def picture(number: int) -> Image.Image:
    return Image.new("RGB", (40, 30), (number * 20, 255 - number * 20, 100))


def values_of(model: MiniGPT4, image: Image.Image) -> torch.Tensor:
    preset = model.preset
    return to_pixel_values(load_image(image), preset.vision.image_size, preset.mean, preset.std)


def test_a_picture_is_what_the_model_makes_of_it(encoder, tiny_model):
    (encoded,) = encoder.encode([picture(1)])
    expected = tiny_model.encode_images(values_of(tiny_model, picture(1))[None])[0]
    assert torch.equal(encoded.visual_tokens, expected)
    assert encoded.size == (40, 30)
    assert encoded.query_output is None
    # No more memory than its own: no row of a batch.
    assert encoded.visual_tokens.untyped_storage().nbytes() == SIZE_BYTES


def test_pictures_that_wait_are_looked_at_together(encoder, gate, tiny_model):
    gate.open.clear()
    with ThreadPoolExecutor(11) as pool:
        first = pool.submit(encoder.encode, [picture(0)])
        assert gate.inside.wait(60)
        others = [pool.submit(encoder.encode, [picture(number)]) for number in range(1, 11)]
        until(lambda: encoder.statistics().waiting == 10)
        gate.open.set()
        told = [future.result(60)[0] for future in [first, *others]]
    assert gate.batches == [1, 4, 4, 2]
    for number, encoded in enumerate(told):
        expected = tiny_model.encode_images(values_of(tiny_model, picture(number))[None])[0]
        # Other sizes of a batch sum in another order.
        assert torch.allclose(encoded.visual_tokens, expected, atol=1e-5)
    assert len({encoded.key for encoded in told}) == 11


def test_pictures_of_one_question_go_together(encoder, gate):
    gate.open.clear()
    with ThreadPoolExecutor(2) as pool:
        blocker = pool.submit(encoder.encode, [picture(0)])
        assert gate.inside.wait(60)
        others = pool.submit(encoder.encode, [picture(number) for number in (1, 2, 3)])
        until(lambda: encoder.statistics().waiting == 3)
        gate.open.set()
        told = others.result(60)
        blocker.result(60)
    assert gate.batches == [1, 3]
    assert len({encoded.key for encoded in told}) == 3


def test_two_uploads_of_one_picture_are_looked_at_once(encoder, gate):
    gate.open.clear()
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(encoder.encode, [picture(1)]) for _ in range(4)]
        until(lambda: encoder.statistics().cached == 3)
        gate.open.set()
        told = [future.result(60)[0] for future in futures]
    assert gate.batches == [1]
    assert all(encoded is told[0] for encoded in told)


def test_what_was_seen_lately_costs_nothing(encoder, gate, tmp_path):
    (first,) = encoder.encode([picture(1)])
    picture(1).save(tmp_path / "again.bmp")
    content = (tmp_path / "again.bmp").read_bytes()
    for again in (picture(1), tmp_path / "again.bmp", content):
        assert encoder.encode([again]) == (first,)
    assert gate.batches == [1]
    statistics = encoder.statistics()
    assert (statistics.encoded, statistics.cached) == (1, 3)
    assert statistics.cache_bytes == SIZE_BYTES


def test_the_longest_unused_goes_first(tiny_model, gate):
    encoder = PictureEncoder(tiny_model, cache_bytes=3 * SIZE_BYTES)
    for number in (0, 1, 2, 0, 3):  # 1 is now the longest unused, and gone
        encoder.encode([picture(number)])
    assert sum(gate.batches) == 4
    assert encoder.statistics().cache_share == 1
    encoder.encode([picture(0), picture(2), picture(3)])
    assert sum(gate.batches) == 4
    encoder.encode([picture(1)])
    assert sum(gate.batches) == 5


def test_without_memory_everything_is_looked_at_again(tiny_model, gate):
    encoder = PictureEncoder(tiny_model, cache_bytes=0)
    for _ in range(2):
        encoder.encode([picture(1)])
    assert sum(gate.batches) == 2
    assert encoder.statistics().cache_bytes == 0


def test_a_failure_is_of_one_picture(encoder, gate, tiny_model, caplog):
    gate.broken = values_of(tiny_model, picture(2))
    gate.open.clear()
    with ThreadPoolExecutor(4) as pool:
        blocker = pool.submit(encoder.encode, [picture(0)])
        assert gate.inside.wait(60)
        futures = [pool.submit(encoder.encode, [picture(number)]) for number in (1, 2, 3)]
        until(lambda: encoder.statistics().waiting == 3)
        gate.open.set()
        assert isinstance(futures[0].result(60)[0], EncodedImage)
        with pytest.raises(EngineError, match="Please try again") as told:
            futures[1].result(60)
        assert isinstance(futures[2].result(60)[0], EncodedImage)
        blocker.result(60)
    assert "secret" not in str(told.value)
    assert "device-side assert" in caplog.text
    assert encoder.statistics().failed == 1
    gate.broken = None
    assert encoder.encode([picture(2)])  # a failure is not remembered


def test_numbers_that_are_none_are_refused(encoder, tiny_model, monkeypatch):
    monkeypatch.setattr(
        tiny_model, "project", lambda output: torch.full((len(output), 4, 64), torch.nan)
    )
    with pytest.raises(EngineError, match="try another one"):
        encoder.encode([picture(1)])
    assert encoder.statistics().cache_bytes == 0


def test_a_bad_picture_is_told_before_any_work(encoder, gate):
    with pytest.raises(ImageError):
        encoder.encode([picture(1), b"no picture"])
    assert gate.batches == []


def test_what_nobody_wants_is_not_looked_at(encoder, gate):
    gate.open.clear()
    with ThreadPoolExecutor(4) as pool:
        blocker = pool.submit(encoder.encode, [picture(0)])
        assert gate.inside.wait(60)
        cancel = threading.Event()
        alone = pool.submit(encoder.encode, [picture(1)], cancel)
        shared = [
            pool.submit(encoder.encode, [picture(2)], each) for each in (cancel, threading.Event())
        ][1:]
        until(lambda: encoder.statistics().waiting == 2)
        until(lambda: encoder.statistics().cached == 1)
        cancel.set()
        with pytest.raises(CancelledError):  # although the eye is still busy
            alone.result(60)
        until(lambda: encoder.statistics().waiting == 1)
        gate.open.set()
        assert blocker.result(60)
        assert shared[0].result(60)
    assert gate.batches == [1, 1]


def test_query_output_is_kept_where_it_is_wanted(tiny_model):
    encoder = PictureEncoder(tiny_model, keep_query_output=True)
    (encoded,) = encoder.encode([picture(1)])
    expected = tiny_model.query_output(values_of(tiny_model, picture(1))[None])[0]
    assert torch.equal(encoded.query_output, expected)
    assert encoder.statistics().cache_bytes == SIZE_BYTES + expected.nbytes


def test_closing_refuses_what_waits_and_forgets(encoder, gate):
    gate.open.clear()
    with ThreadPoolExecutor(3) as pool:
        inside = pool.submit(encoder.encode, [picture(0)])
        assert gate.inside.wait(60)
        waiting = pool.submit(encoder.encode, [picture(1)])
        until(lambda: encoder.statistics().waiting == 1)
        closing = pool.submit(encoder.close)
        with pytest.raises(EngineError, match="put away"):
            waiting.result(60)
        gate.open.set()
        assert inside.result(60)
        closing.result(60)
    with pytest.raises(EngineError, match="put away"):
        encoder.encode([picture(2)])
    assert encoder.statistics().cache_bytes == 0
    assert encoder._thread is None


def test_decoding_is_not_held_up(encoder, gate, tiny_model):
    """While the vision part works, the language model can be run from another thread."""
    gate.open.clear()
    with ThreadPoolExecutor(1) as pool:
        seeing = pool.submit(encoder.encode, [picture(0)])
        assert gate.inside.wait(60)
        causal = tiny_model.language.model
        ids = causal.generate(
            torch.tensor([[1, 5, 6]]), max_new_tokens=5, do_sample=False, pad_token_id=2
        )
        assert ids.shape[1] > 3
        assert not seeing.done()
        gate.open.set()
        seeing.result(60)


def test_a_thread_that_cannot_start_is_tried_again(encoder, monkeypatch):
    def fails(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", fails)
        with pytest.raises(RuntimeError, match="can't start"):
            encoder.encode([picture(1)])
    with ThreadPoolExecutor(1) as pool:
        cancel = threading.Event()
        seen = pool.submit(encoder.encode, [picture(1)], cancel)
        try:
            assert seen.result(60)
        finally:
            cancel.set()


def test_no_memory_for_what_was_seen_is_a_failure_like_others(encoder, monkeypatch):
    isfinite, failures = torch.isfinite, [MemoryError()]

    def fails(tensor):
        if failures:
            raise failures.pop()
        return isfinite(tensor)

    monkeypatch.setattr(torch, "isfinite", fails)
    with ThreadPoolExecutor(1) as pool:
        cancel = threading.Event()
        try:
            with pytest.raises(EngineError, match="try again"):
                pool.submit(encoder.encode, [picture(1)], cancel).result(60)
            assert pool.submit(encoder.encode, [picture(2)], cancel).result(60)
        finally:
            cancel.set()
    assert encoder.statistics().failed == 1
