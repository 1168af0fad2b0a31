"""Pictures on their way to visual tokens: checked, looked at together, and remembered.

Looking at a picture is one large step of the vision part, which must not hold up answers that are
being written. So it happens in a thread of its own, several waiting pictures in one forward pass;
a picture that was seen lately, in whatever chat, is not looked at again; and one that two people
bring at the same moment is looked at once.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from minigpt4.engines.base import as_engine_error
from minigpt4.errors import EngineError
from minigpt4.images import image_key, load_image, to_pixel_values
from minigpt4.models.minigpt4 import MiniGPT4

MAX_BATCH = 8
"""Most pictures of one forward pass: more would gain little, and keep answers waiting."""
CACHE_BYTES = 64 * 2**20
"""Visual tokens that are remembered unless something else is said."""
_CANCEL_SECONDS = 0.05
"""How often who waits for a picture looks whether it is still wanted."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImage:
    """A picture as the language model sees it.

    Attributes:
        key: Identifies the picture by its content.
        visual_tokens: `(Q, D)` on the CPU.
        size: Width and height of the picture in pixels.
        query_output: `(Q, Dq)` on the CPU; kept if there are other projections to look through.
    """

    key: str
    visual_tokens: torch.Tensor
    size: tuple[int, int]
    query_output: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderStatistics:
    """The encoder at one moment. Counts are since it was built.

    Attributes:
        encoded: Pictures that were looked at.
        cached: Pictures that had been, and were not looked at again.
        failed: Pictures on which the model failed.
        waiting: Pictures that wait to be looked at.
        batches: Forward passes.
        seconds: Time spent in them.
        cache_bytes: Memory of what is remembered.
        cache_share: Share of the memory for it that is taken, 0 to 1.
    """

    encoded: int = 0
    cached: int = 0
    failed: int = 0
    waiting: int = 0
    batches: int = 0
    seconds: float = 0.0
    cache_bytes: int = 0
    cache_share: float = 0.0


@dataclass(slots=True, eq=False)
class _Look:
    """A picture that is to be looked at, for all who asked for it.

    Attributes:
        pixel_values: `(3, S, S)`; None until they are made.
        wanted: How many still wait for it.
    """

    key: str
    size: tuple[int, int]
    pixel_values: torch.Tensor | None = None
    wanted: int = 0
    future: "Future[EncodedImage]" = field(default_factory=Future)


class PictureEncoder:
    """Encodes pictures for any number of threads.

    1. The caller's thread decodes, makes the content key, and looks into the cache.
    2. A picture somebody else waits for already is waited for together.
    3. Otherwise the caller's thread makes the pixel values, and they join the queue.
    4. The encoder's thread, which lives while there is work, takes up to `max_batch` of them, runs
       the vision part once, and remembers what came out.
    """

    def __init__(
        self,
        model: MiniGPT4,
        *,
        cache_bytes: int = CACHE_BYTES,
        max_batch: int = MAX_BATCH,
        keep_query_output: bool = False,
    ) -> None:
        """Makes an encoder; nothing runs yet.

        Args:
            model: Its picture side is used.
            cache_bytes: Memory for visual tokens seen lately; the longest unused go first.
            max_batch: Most pictures of one forward pass.
            keep_query_output: For other projections than the model's own, which read it.
        """
        self._model = model
        self._keep_query_output = keep_query_output
        self._cache_bytes = cache_bytes
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, EncodedImage] = OrderedDict()
        self._seen_bytes = 0
        self._looks: dict[str, _Look] = {}
        self._queue: deque[_Look] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._stream: torch.cuda.Stream | None = None
        self._encoded = self._cached = self._failed = self._batches = 0
        self._seconds = 0.0

    def encode(
        self,
        pictures: Sequence[bytes | Path | Image.Image],
        cancel: threading.Event | None = None,
    ) -> tuple[EncodedImage, ...]:
        """Looks at pictures, together where it can.

        Args:
            pictures: Files' bytes, their paths, or opened pictures.
            cancel: Gives the wait up when set; nobody is made to wait for what nobody wants.

        Returns:
            One for each, in order.

        Raises:
            ImageError: If one is no picture we read.
            EngineError: If the model fails on one.
            CancelledError: If `cancel` was set (of concurrent.futures).
        """
        images = [load_image(picture) for picture in pictures]  # a bad one is told before any work
        looks: list[_Look] = []
        try:
            for image in images:  # one by one: those before a failure are let go
                looks.append(self._look(image))  # noqa: PERF401
            return tuple(_result(look.future, cancel) for look in looks)
        finally:
            self._let_go(looks)

    def statistics(self) -> EncoderStatistics:
        """What it has done and is doing."""
        with self._lock:
            return EncoderStatistics(
                encoded=self._encoded,
                cached=self._cached,
                failed=self._failed,
                waiting=len(self._queue),
                batches=self._batches,
                seconds=self._seconds,
                cache_bytes=self._seen_bytes,
                cache_share=self._seen_bytes / self._cache_bytes if self._cache_bytes else 0.0,
            )

    def close(self) -> None:
        """Refuses what waits, ends with the batch that runs, and forgets everything."""
        with self._lock:
            self._closed = True
            refused = list(self._queue)
            self._queue.clear()
            thread = self._thread
        for look in refused:
            self._settle(look, _closed())
        if thread is not None:
            thread.join()
        with self._lock:
            self._seen.clear()
            self._seen_bytes = 0

    def _look(self, image: Image.Image) -> _Look:
        """What will hold the encoded picture; done already if it was seen."""
        key = image_key(image)
        with self._lock:
            if self._closed:
                raise _closed()
            seen = self._seen.get(key)
            if seen is not None:
                self._seen.move_to_end(key)
                self._cached += 1
                look = _Look(key, image.size)
                look.future.set_result(seen)
                return look
            look = self._looks.get(key) or _Look(key, image.size)
            look.wanted += 1
            if key in self._looks:
                self._cached += 1
                return look
            self._looks[key] = look
        try:
            preset = self._model.preset
            look.pixel_values = to_pixel_values(
                image, preset.vision.image_size, preset.mean, preset.std
            )
            self._enqueue(look)
        except BaseException as error:
            self._settle(look, as_engine_error(error))
            raise
        return look

    def _enqueue(self, look: _Look) -> None:
        with self._lock:
            if self._closed:
                raise _closed()
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="vision")
                thread.start()  # may fail; then the next picture tries
                self._thread = thread
            self._queue.append(look)

    def _let_go(self, looks: Sequence[_Look]) -> None:
        """Takes pictures that nobody waits for any more out of the queue."""
        with self._lock:
            for look in looks:
                look.wanted -= 1
                if look.wanted <= 0 and look in self._queue:
                    self._queue.remove(look)
                    self._looks.pop(look.key, None)
                    look.future.cancel()

    def _work(self) -> None:
        """Looks at what waits until nothing does."""
        while True:
            with self._lock:
                if not self._queue:
                    self._thread = None
                    return
                count = min(self._max_batch, len(self._queue))
                batch = [self._queue.popleft() for _ in range(count)]
            self._encode(batch)

    def _encode(self, batch: Sequence[_Look]) -> None:
        """Looks at a batch; if that fails, at each picture by itself, so that one fails alone."""
        try:
            encoded = self._forward(batch)
        except Exception as error:  # noqa: BLE001 - it is told to whoever waits for the picture
            if len(batch) > 1:
                for look in batch:
                    self._encode([look])
            else:
                self._failed += 1
                self._settle(batch[0], as_engine_error(error))
            return
        for look, outcome in zip(batch, encoded, strict=True):
            self._failed += isinstance(outcome, EngineError)
            self._settle(look, outcome)

    @torch.no_grad()
    def _forward(self, batch: Sequence[_Look]) -> list[EncodedImage | EngineError]:
        """What the model makes of each picture of a batch."""
        begun = time.monotonic()
        values = torch.stack([each.pixel_values for each in batch if each.pixel_values is not None])
        device = self._model.device
        if device.type == "cuda" and self._stream is None:
            # Beside the stream on which answers are written: neither waits for the other.
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            output = self._model.query_output(values)
            tokens, output = self._model.project(output).cpu(), output.cpu()
        self._batches += 1
        self._seconds += time.monotonic() - begun
        return [
            self._encoded_image(look, *each)
            for look, *each in zip(batch, tokens, output, strict=True)
        ]

    def _encoded_image(
        self, look: _Look, tokens: torch.Tensor, output: torch.Tensor
    ) -> EncodedImage | EngineError:
        if not torch.isfinite(tokens).all():
            message = "The model could make nothing of this picture. Please try another one."
            return EngineError(message)
        # Copies: a row would keep the whole batch in memory.
        kept = output.clone() if self._keep_query_output else None
        return EncodedImage(look.key, tokens.clone(), look.size, kept)

    def _settle(self, look: _Look, outcome: EncodedImage | BaseException) -> None:
        """Tells everybody who waits for a picture, and remembers it."""
        with self._lock:
            self._looks.pop(look.key, None)
            if isinstance(outcome, EncodedImage):
                self._encoded += 1
                self._remember(outcome)
        if isinstance(outcome, EncodedImage):
            look.future.set_result(outcome)
        else:
            look.future.set_exception(outcome)

    def _remember(self, encoded: EncodedImage) -> None:
        size = _bytes(encoded)
        if size > self._cache_bytes or self._closed:
            return
        self._seen[encoded.key] = encoded
        self._seen_bytes += size
        while self._seen_bytes > self._cache_bytes:
            _, oldest = self._seen.popitem(last=False)
            self._seen_bytes -= _bytes(oldest)


def _result(future: "Future[EncodedImage]", cancel: threading.Event | None) -> EncodedImage:
    while cancel is not None and not wait([future], _CANCEL_SECONDS).done:
        if cancel.is_set():
            raise CancelledError
    return future.result()


def _bytes(encoded: EncodedImage) -> int:
    held = (encoded.visual_tokens, encoded.query_output)
    return sum(each.numel() * each.element_size() for each in held if each is not None)


def _closed() -> EngineError:
    return EngineError("The model has been put away and sees no more pictures.")
