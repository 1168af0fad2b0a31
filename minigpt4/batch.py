"""Many questions at once: rows of a JSONL file, or a folder of pictures, in; answers out.

A row of the input is one question, and one picture or several:

    {"image": "photos/harbour.png", "question": "What color is the boat?", "id": 17}

Its row of the output has all of that, the number of its line, and the answer:

    {"image": ..., "question": ..., "id": 17, "line": 1, "answer": "The boat is red.", "tokens": 6,
     "seconds": 0.02, "finish": "stop"}

With a folder, every picture in it gets the same question; `image` is its path in the folder, and no
line is told.

Many rows are answered at a time, and each answer is written when it is there: in the order in which
they end, not in that of the input. So nothing waits for a long answer, and a run that was
interrupted, however hard, has lost only what was being written and goes on from there. Rows that
cannot be answered are told and left out; the next run tries them again.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias

from minigpt4.api import LoadedChat
from minigpt4.batch_rows import Row, Shard, Work, plan, told
from minigpt4.config import Config
from minigpt4.errors import BusyError, ConfigError, EngineError, ImageError, PromptError

if TYPE_CHECKING:
    from minigpt4.chat import AnswerPart

    _Ended: TypeAlias = tuple[Row, AnswerPart | str | BaseException]
    """A row with the last part of its answer, the reason why there is none, or an error that ends
    everything."""

AT_ONCE = 64
"""Answers written at a time unless something else is said; how many pay: benchmarks/batch.py."""
_AT_ONCE_KEY = "engine.max_answers"
_BUSY_SECONDS = 0.2
"""Others may use the model too: a row that was refused is asked again so much later."""
_LISTEN_SECONDS = 0.2
"""How often the reader of answers looks up."""
_OPENED_PICTURES = 8
"""Rows whose pictures are in memory at a time; an encoder looks at no more of them together."""


def with_many_answers(overrides: Sequence[str]) -> list[str]:
    """Settings' overrides for a batch: nobody waits for a first word, so more rows share a step."""
    given = any(each.partition("=")[0].strip() == _AT_ONCE_KEY for each in overrides)
    return [*overrides, *([] if given else [f"{_AT_ONCE_KEY}={AT_ONCE}"])]


def in_flight(config: Config) -> int:
    """How many rows to ask about at a time: as many as the engine writes and lets wait."""
    if config.engine.kind == "generate":
        return 1 + min(config.limits.queue_size, _OPENED_PICTURES)
    return config.engine.max_answers + min(config.limits.queue_size, config.engine.max_answers)


def answer(
    chat: LoadedChat, work: Work, output: TextIO, report: Callable[[Row, str], None]
) -> Iterator[bool]:
    """Answers the rows, many at a time.

    Closing the iterator stops the model; answers that were not whole are not written.

    Args:
        chat: Answers.
        work: What `plan` returned.
        output: Gets a line for each answer, in the order in which they end.
        report: Is told each row that cannot be answered, and the reason.

    Yields:
        After each row, whether it was answered.
    """
    asking = _Asking(chat, work)
    try:
        for _ in work.rows:
            row, outcome = asking.next_ended()
            if isinstance(outcome, BaseException):
                raise outcome
            if isinstance(outcome, str):
                report(row, outcome)
                yield False
                continue
            output.write(told(row, outcome))
            output.flush()
            yield True
    finally:
        asking.stop()


class _Asking:
    """Threads that ask about row after row."""

    def __init__(self, chat: LoadedChat, work: Work) -> None:
        self._ended: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
        self._chat = chat
        self._rows = iter(work.rows)
        self._taking = threading.Lock()
        self._opening = threading.BoundedSemaphore(_OPENED_PICTURES)
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"row {number}")
            for number in range(min(len(work.rows), in_flight(chat.config)))
        ]
        for thread in self._threads:
            thread.start()

    def next_ended(self) -> "_Ended":
        """The next row that has ended, whenever that is."""
        while True:
            # Not without a limit: what waits for ever in a lock is deaf to Ctrl-C on some systems.
            with suppress(queue.Empty):
                return self._ended.get(timeout=_LISTEN_SECONDS)

    def stop(self) -> None:
        """Stops what is being answered, and waits for the threads' end."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stopped.is_set():
            with self._taking:
                row = next(self._rows, None)
            if row is None:
                return
            try:
                last = self._answered(row)
            except (ImageError, PromptError, EngineError) as error:
                self._ended.put((row, str(error)))
            except BaseException as error:  # noqa: BLE001 - it is raised again by the reader
                self._ended.put((row, error))
            else:
                if last is not None:
                    self._ended.put((row, last))

    def _answered(self, row: Row) -> "AnswerPart | None":
        """The last part of a row's answer; None if it was stopped."""
        with self._opening:
            conversation = self._chat.conversation(*row.pictures)
        while not self._stopped.is_set():
            try:
                *_, last = conversation.parts(row.question, self._stopped)
            except BusyError:
                self._stopped.wait(_BUSY_SECONDS)
            else:
                if last.finish != "cancelled":
                    return last
                if not self._stopped.is_set():
                    raise EngineError("The model was put away before this answer's end.")
        return None


def run(
    source: Path,
    target: Path,
    load: Callable[[], LoadedChat],
    say: Callable[[str], None],
    *,
    question: str | None = None,
    shard: Shard | None = None,
) -> bool:
    """Does all of it, with a progress bar where a person watches.

    Args:
        source: The questions, or a folder of pictures.
        target: Where the answers go; what is there already is kept. A shard's go into a file of
            its own, `Shard.file`.
        load: Called if there is anything to answer.
        say: Gets sentences for the person.
        question: What is asked about every picture of a folder.
        shard: The part that is to be answered here; None is all of it.

    Returns:
        Whether every row is answered now.

    Raises:
        MiniGPT4Error: If the files or the model are not right.
    """
    from tqdm import tqdm  # noqa: PLC0415 - --help needs none

    if shard is not None:
        target = shard.file(target)
    work = plan(source, target, question, shard)
    for line, reason in work.bad:
        say(f"{source}, line {line}: {reason}")
    failed = len(work.bad)
    if work.rows:
        with (
            _opened(target) as output,  # before the model: what is wrong with it is told at once
            tqdm(total=len(work.rows), unit=f" {work.unit}s", disable=None) as progress,
        ):
            chat = load()

            def report(row: Row, reason: str) -> None:
                with progress.external_write_mode():
                    say(f"{source}, {row.place}: {reason}")

            for answered in answer(chat, work, output, report):
                failed += not answered
                progress.update()
    answered_now = len(work.rows) + len(work.bad) - failed
    earlier = f", answered before: {work.done:,}" if work.done else ""
    skipped = f", bad and skipped: {failed:,}" if failed else ""
    say(f"Rows answered: {answered_now:,}{earlier}{skipped}. The answers are in {target}")
    return not failed


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written ({error.strerror})."]) from error
