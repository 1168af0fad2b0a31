"""Conversations as values, and the one renderer that turns them into prompts.

Training and serving both call `render`, so that a model is asked the way it was taught. What
comes out is no string with placeholders in it but a `Prompt`: pieces of text, special tokens and
image slots. Nothing a user types can become a slot, a special token or a separator, because

- slots and special tokens are pieces of their own and are never searched for in text;
- strings that a prompt format reserves ("##", "[INST]") are broken up by a space where they stand
  in a question or an answer, and where they would arise at its border;
- the tokeniser reads every text piece as plain text: no spelling becomes a special token.

How a prompt is tokenised depends on ``PromptFormat.join_text``:

- Joined (all formats of the release): the text between two slots is one piece, earlier answers
  included, and is tokenised as one string; so the release did it, and its weights expect it. Only a
  given answer of the *last* turn is a piece of its own, together with its end symbol
  (``"a red bus.###"``): the release tokenises that string alone in training. So a closed
  conversation is a training sample for its last answer, and its ids up to there are exactly those
  of serving. A dialogue of n turns makes n samples.
- Not joined (TINY): structure, question, answer and end symbol are pieces of their own, each
  tokenised alone. The ids of a piece do not depend on its neighbours, so every answer of a dialogue
  can be trained on at once.

Either way the loss counts the pieces whose ``part`` is "answer" or "end", and no others.

This module is pure text: no torch, no tokeniser, no files.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from minigpt4.errors import ContextOverflowError, PromptError
from minigpt4.prompt_formats import PromptFormat

MAX_QUESTION_CHARACTERS = 2_000

Part: TypeAlias = Literal["structure", "question", "answer", "end"]


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text of a prompt, tokenised as one string.

    In a joined prompt, a piece of part "structure" also holds the questions and earlier answers
    around it, and a piece of part "answer" also holds the end symbol.
    """

    text: str
    part: Part = "structure"


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """A token that no text can spell: the beginning or the end of a sequence."""

    name: Literal["bos", "eos"]
    part: Part = "structure"


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """The place of one picture's visual tokens; ``key`` is the picture's content key."""

    key: str


Piece: TypeAlias = Text | SpecialToken | ImageSlot


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the language model reads, in order."""

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The prompt as a person reads it in a log or a test; never to be tokenised."""
        return "".join(_written(piece) for piece in self.pieces)

    @property
    def image_keys(self) -> tuple[str, ...]:
        """The keys of the image slots in order, one for each slot."""
        return tuple(piece.key for piece in self.pieces if isinstance(piece, ImageSlot))


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer.

    Attributes:
        question: What was asked. Empty only where a caption is all there is (CAPTION).
        answer: None while it is still to be written; the empty string is an answer.
        images: Content keys of the pictures attached to the question, in order.
    """

    question: str
    answer: str | None = None
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order, oldest first; only the last one may be open (without an answer).

    A conversation is a value: every method returns a new one.

    Raises:
        PromptError: A turn before the last one has no answer.
    """

    turns: tuple[Turn, ...] = ()

    def __post_init__(self) -> None:
        for number, turn in enumerate(self.turns[:-1], start=1):
            if turn.answer is None:
                raise PromptError(
                    f"Turn {number} of {len(self.turns)} has no answer; only the last one may be"
                    " open."
                )

    @property
    def open(self) -> bool:
        """Whether the last question waits for its answer."""
        return bool(self.turns) and self.turns[-1].answer is None

    @property
    def image_keys(self) -> tuple[str, ...]:
        """The keys of all pictures in the order they were attached."""
        return tuple(key for turn in self.turns for key in turn.images)

    def with_turn(self, turn: Turn) -> "Conversation":
        """Return this conversation and one more turn."""
        return Conversation((*self.turns, turn))

    def with_question(self, question: str, images: Iterable[str] = ()) -> "Conversation":
        """Return this conversation and one more question, still without an answer."""
        return self.with_turn(Turn(question, None, tuple(images)))

    def with_answer(self, answer: str) -> "Conversation":
        """Return this conversation with its last question answered (again).

        Raises:
            PromptError: There is no question.
        """
        if not self.turns:
            raise PromptError("There is no question to answer yet.")
        return Conversation((*self.turns[:-1], replace(self.turns[-1], answer=answer)))

    def without_last(self) -> "Conversation":
        """Return this conversation without its last turn.

        Raises:
            PromptError: There is no turn.
        """
        if not self.turns:
            raise PromptError("There is nothing to take back yet.")
        return Conversation(self.turns[:-1])


def render(conversation: Conversation, prompt_format: PromptFormat) -> Prompt:
    """Write a conversation down as a prompt, for training and for serving.

    An open conversation ends with the assistant role, ready for the model to go on. In a closed one
    the last answer follows, with its end symbol: a training sample. An empty answer keeps its
    separator, so that the turns around it stay apart (the release lost it).

    Raises:
        PromptError: The format has no place for a question, and there is one.

    Source: Conversation.get_prompt and MiniGPTBase.prompt_wrap of the release.
    """
    pieces: list[Piece] = [SpecialToken("bos")]
    opening = prompt_format.system + prompt_format.system_separator
    if not conversation.turns:
        pieces.append(Text(opening))
    for index, turn in enumerate(conversation.turns):
        if turn.question and not prompt_format.takes_question:
            raise PromptError(
                f"The prompt format {prompt_format.name!r} has no place for a question, and got"
                f" {turn.question[:40]!r}. Leave it empty, or choose a chat format."
            )
        pieces += _user_pieces(turn, prompt_format, opening if index == 0 else "")
        if turn.answer is not None:
            pieces += _answer_pieces(
                turn.answer, prompt_format, last=index == len(conversation.turns) - 1
            )
    filled = (piece for piece in pieces if not (isinstance(piece, Text) and not piece.text))
    return Prompt(tuple(_joined(filled) if prompt_format.join_text else filled))


def fit(
    conversation: Conversation,
    prompt_format: PromptFormat,
    length_of: Callable[[Prompt], int],
    limit: int,
) -> tuple[Conversation, int]:
    """Drop the oldest turns until the prompt has at most ``limit`` tokens.

    Only whole turns are dropped, never a part of a text or of a picture. The pictures of the
    dropped turns move to the front of the first turn that is kept: the model still sees them all.

    Args:
        conversation: The conversation to shorten.
        prompt_format: How it will be rendered.
        length_of: The number of tokens of a prompt, visual tokens included.
        limit: The most tokens the prompt may have.

    Returns:
        The conversation that fits, and how many turns it lost.

    Raises:
        ContextOverflowError: The last turn does not fit even alone.
    """

    def length(dropped: int) -> int:
        return length_of(render(_without_oldest(conversation, dropped), prompt_format))

    if length(0) <= limit:
        return conversation, 0
    dropped = bisect_left(
        range(len(conversation.turns)), x=True, key=lambda count: length(count) <= limit
    )
    if dropped == len(conversation.turns):
        raise ContextOverflowError(length(max(0, dropped - 1)), limit)
    return _without_oldest(conversation, dropped), dropped


def clean_question(text: str, limit: int = MAX_QUESTION_CHARACTERS) -> str:
    """Return a question as it may enter a conversation: cleaned by `clean_text`, and stripped.

    Raises:
        PromptError: There is nothing to read in it, or it has more than ``limit`` characters.
    """
    question = clean_text(text).strip()
    if all(_is_invisible(character) for character in question):
        raise PromptError("Please type a question.")
    if len(question) > limit:
        raise PromptError(
            f"The question has {len(question):,} characters; the limit is {limit:,}."
            " Please shorten it."
        )
    return question


def clean_text(text: str) -> str:
    """Return text from outside without what could deceive a reader or break a tokeniser.

    Control characters other than line breaks and tabs are removed, and so are the characters that
    reorder text for the eye (bidirectional controls). Every kind of line break becomes a line feed;
    a lone surrogate becomes U+FFFD.
    """
    lines = _LINE_BREAK.sub("\n", _well_formed(text))
    return _REMOVED.sub("", lines)


_LINE_BREAK = re.compile(r"\r\n?")
_REMOVED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0, DEL and C1 but for tab and line feed
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # Unicode property Bidi_Control
)
_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
_BLANK = (
    re.compile(  # letters and marks of Default_Ignorable_Code_Point, and the empty Braille cell
        "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
        "\U000e0000-\U000e0fff]"
    )
)
_SPECIAL_TOKENS = {"bos": "<s>", "eos": "</s>"}


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE or _BLANK.match(character) is not None


def _written(piece: Piece) -> str:
    match piece:
        case Text():
            return piece.text
        case SpecialToken():
            return _SPECIAL_TOKENS[piece.name]
        case ImageSlot():
            return "<ImageHere>"


def _user_pieces(turn: Turn, prompt_format: PromptFormat, opening: str) -> Iterator[Piece]:
    """Yield everything of a turn up to and including the assistant role."""
    yield from _role_pieces(prompt_format, opening)
    for number, key in enumerate(turn.images, start=1):
        yield Text(prompt_format.image_open)
        yield ImageSlot(key)
        if number == len(turn.images):
            yield Text(prompt_format.image_close + (" " if turn.question else ""))
        elif prompt_format.message_per_image:
            yield Text(prompt_format.image_close + prompt_format.user_separator)
            yield from _role_pieces(prompt_format, "")
        elif prompt_format.image_close:
            yield Text(prompt_format.image_close + " ")
    reply = prompt_format.user_separator + prompt_format.assistant_role
    before = " " if turn.images else prompt_format.user_role
    yield Text(_plain(turn.question, prompt_format, before, reply), "question")
    yield Text(reply)


def _role_pieces(prompt_format: PromptFormat, opening: str) -> Iterator[Piece]:
    if prompt_format.bos_before_user:
        yield Text(opening)
        yield SpecialToken("bos")
        yield Text(prompt_format.user_role)
    else:
        yield Text(opening + prompt_format.user_role)


def _answer_pieces(answer: str, prompt_format: PromptFormat, *, last: bool) -> Iterator[Piece]:
    """Yield an answer and its end; in a joined prompt only the last one is trained on."""
    end = prompt_format.assistant_separator
    text = _plain(answer, prompt_format, prompt_format.assistant_role, end)
    if not prompt_format.join_text:
        yield Text(text, "answer")
        yield Text(end, "end")
    elif last:
        yield Text(text + end, "answer")
    else:
        yield Text(prompt_format.answer_space + text + end)
    if prompt_format.eos_after_answer:
        trained = last or not prompt_format.join_text
        yield SpecialToken("eos", "end" if trained else "structure")


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Merge neighbouring texts, except for the answer that is trained on."""
    waiting = ""
    for piece in pieces:
        if isinstance(piece, Text) and piece.part != "answer":
            waiting += piece.text
            continue
        if waiting:
            yield Text(waiting)
            waiting = ""
        yield piece
    if waiting:
        yield Text(waiting)


def _plain(text: str, prompt_format: PromptFormat, before: str, after: str) -> str:
    """Break up what the format reserves, inside the text and where it meets its neighbours."""
    text = _well_formed(text)
    for reserved in prompt_format.reserved:
        first, rest = reserved[0], reserved[1:]
        text = re.sub(f"{re.escape(first)}(?={re.escape(rest)})", f"{first} ", text)
        if _meet(before, text, reserved):
            text = f" {text}"
        if _meet(text, after, reserved):
            text = f"{text} "
    return text


def _meet(left: str, right: str, reserved: str) -> bool:
    """Whether ``reserved`` stands across the border of two texts."""
    return any(
        left.endswith(reserved[:size]) and right.startswith(reserved[size:])
        for size in range(1, len(reserved))
    )


def _well_formed(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates, which no tokeniser accepts."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _without_oldest(conversation: Conversation, count: int) -> Conversation:
    """Drop the ``count`` oldest turns and hand their pictures to the first one kept."""
    dropped, kept = conversation.turns[:count], conversation.turns[count:]
    if not dropped or not kept:
        return conversation
    images = tuple(key for turn in dropped for key in turn.images)
    first = replace(kept[0], images=(*images, *kept[0].images))
    return Conversation((first, *kept[1:]))
