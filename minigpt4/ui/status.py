"""What the pill at the top of the page says, in plain words."""

from typing import TYPE_CHECKING

from minigpt4.ui.views import Status
from minigpt4.ui.worker import LoadState, Waiting

if TYPE_CHECKING:
    from minigpt4.chat import AnswerPart, ChatStatistics

NOT_LOADED = "could not be loaded"


def rest_status(
    model: str,
    state: LoadState,
    last: "AnswerPart | None" = None,
    statistics: "ChatStatistics | None" = None,
    *,
    opened: bool = False,
) -> Status:
    """Say how things stand while nothing of this chat is being answered.

    Args:
        model: Name of the model.
        state: How far loading is.
        last: The end of this chat's last answer; None before the first.
        statistics: What the model has done and is doing; None before it is loaded.
        opened: Whether the details are shown.
    """
    if state != "ready":
        return Status(state, "loading …" if state == "loading" else NOT_LOADED, model)
    said, more = (_speed(last), _room(last)) if last is not None else ("", "")
    details = (*_own(last), *_everybody(statistics))
    return Status("ready", said or "ready", model, more, details, opened)


def waiting_status(waiting: Waiting) -> Status:
    """Say what a question waits for."""
    if waiting.loading:
        return Status("waiting", "Answers once the model is loaded …")
    if waiting.ahead:
        others = "1 question" if waiting.ahead == 1 else f"{waiting.ahead} questions"
        return Status("waiting", f"Waiting: {others} before yours")
    return Status("answering", "Looking …")


def _speed(part: "AnswerPart") -> str:
    if part.seconds <= 0 or part.tokens < 2:
        return ""
    return f"{part.tokens / part.seconds:.0f} tokens/s"


def _room(part: "AnswerPart") -> str:
    if part.context_tokens <= 0:
        return ""
    left = max(0, part.context_tokens - part.context_used)
    return f"{left / part.context_tokens:.0%} of the context left"


def _own(last: "AnswerPart | None") -> list[tuple[str, str]]:
    """What is to be said of this chat."""
    if last is None:
        return []
    told = [("Last answer", f"{last.tokens:,} tokens in {last.seconds:.1f} s")]
    if last.context_tokens > 0:
        used = f"{last.context_used:,} of {last.context_tokens:,} tokens"
        told.append(("Context used", f"{used}; the oldest turns leave when it is full"))
    return told


def _everybody(statistics: "ChatStatistics | None") -> list[tuple[str, str]]:
    """What is to be said of all chats together."""
    if statistics is None:
        return []
    engine = statistics.engine
    told = [("Answering now", _chats(engine.running)), ("Waiting", _chats(engine.waiting))]
    if engine.tokens_per_second >= 1:
        told.append(("All chats together", f"{engine.tokens_per_second:.0f} tokens/s lately"))
    if engine.answered:
        told.append(("Answered since the start", f"{engine.answered:,}"))
    if engine.batch_size > 1:
        told.append(("Written together", f"{engine.batch_size:.1f} answers at a time lately"))
    if begun := sum(engine.first_token_counts):
        told.append(("First word", f"after {engine.first_token_sum / begun:.2f} s in the mean"))
    if engine.cached_tokens and engine.prompt_tokens:
        share = engine.cached_tokens / engine.prompt_tokens
        told.append(("Known from before", f"{share:.0%} of what was to be read"))
    if engine.cache_share is not None:
        told.append(("Memory for chats", f"{engine.cache_share:.0%} in use"))
    return told


def _chats(count: int) -> str:
    return {0: "no chat", 1: "1 chat"}.get(count, f"{count:,} chats")
