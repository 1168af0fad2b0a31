"""What a chat completion may ask for: OpenAI's fields that mean something here, and no others.

A field that would change nothing is accepted (``null``, ``n=1``, ``presence_penalty=0``, ``user``);
every other one that this server does not carry out is refused by its name. Nothing is passed over.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from minigpt4.config import GenerationSettings
from minigpt4.conversation import clean_question, clean_text
from minigpt4.errors import ConfigError, PromptError
from minigpt4.server.openai_errors import RequestError
from minigpt4.settings_file import changed

# Values of OpenAI's other fields that ask for what happens anyway.
_ASKS_NOTHING: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True, False),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
}
# Notes for whoever runs a server; no answer depends on them.
_NOTES = ("prompt_cache_key", "safety_identifier", "user")
_ROLES = {
    "system": "there is no system message here: the model was trained with one fixed text. Say it "
    "in the first user message.",
    "developer": "there is no developer message here: the model was trained with one fixed text. "
    "Say it in the first user message.",
    "tool": "this model uses no tools.",
    "function": "this model uses no tools.",
}
_RENAMED = {"max_new_tokens": "max_completion_tokens"}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, content: Any) -> Any:  # noqa: ANN401 - pydantic's signature
        """Drop nulls: clients write them for what they do not set, and send answers back so."""
        if isinstance(content, dict):
            return {name: value for name, value in content.items() if value is not None}
        return content


class TextPart(_Strict):
    """Words of a message."""

    type: Literal["text"]
    text: str


class ImageUrl(_Strict):
    """Where a picture is."""

    url: str
    detail: Literal["auto", "low"] = "auto"
    """The model sees every picture at one size; "high" would promise more."""


class ImagePart(_Strict):
    """A picture of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Message(_Strict):
    """One message of the conversation."""

    role: Literal["user", "assistant"]
    content: list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]

    @model_validator(mode="before")
    @classmethod
    def _known_role_and_parts(cls, content: Any) -> Any:  # noqa: ANN401 - pydantic's signature
        role = content.get("role") if isinstance(content, dict) else None
        if isinstance(role, str) and role in _ROLES:
            raise PydanticCustomError("unsupported_role", _ROLES[role].removesuffix("."))
        if isinstance(content, dict) and isinstance(content.get("content"), str):
            return {**content, "content": [{"type": "text", "text": content["content"]}]}
        return content

    @property
    def text(self) -> str:
        """The words, a part a line."""
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def pictures(self) -> tuple[tuple[int, str], ...]:
        """The pictures in order: which part of the message, and its address."""
        return tuple(
            (number, part.image_url.url)
            for number, part in enumerate(self.content)
            if isinstance(part, ImagePart)
        )


class StreamOptions(_Strict):
    """What a stream holds besides the answer."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False
    """Characters that would hide the lengths of chunks; there are none."""


class ChatRequest(_Strict):
    """The body of a chat completion."""

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    num_beams: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_what_asks_nothing(cls, content: Any) -> Any:  # noqa: ANN401 - pydantic's
        if not isinstance(content, dict):
            return content
        for name in content.keys() & _ASKS_NOTHING.keys():
            nothing = _ASKS_NOTHING[name]
            if content[name] is not None and not any(_same(content[name], one) for one in nothing):
                known = " or ".join(json.dumps(one) for one in nothing)
                raise PydanticCustomError(
                    "unsupported_parameter",
                    "this server takes only {known}. Leave it out",
                    {"param": name, "known": known},
                )
        for name in _NOTES:
            if not isinstance(content.get(name), str | None):
                raise PydanticCustomError("string_type", "expected a text", {"param": name})
        passed = _ASKS_NOTHING.keys() | _NOTES
        return {name: value for name, value in content.items() if name not in passed}

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """What ends the answer.

        Raises:
            RequestError: There are more than four, or one is empty.
        """
        given = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if len(given) > 4 or not all(given):
            raise RequestError("stop: expected one to four texts, none empty.", param="stop")
        return given

    def settings(self, defaults: GenerationSettings) -> GenerationSettings:
        """Return the configuration's settings with those of this request.

        An answer can be made shorter than the configured length, not longer: that much the model's
        context was chosen to hold.

        Raises:
            RequestError: A value is out of its range.
        """
        longest = [each for each in (self.max_tokens, self.max_completion_tokens) if each]
        if len(set(longest)) > 1:
            raise RequestError(
                f"max_tokens is {self.max_tokens} and max_completion_tokens is "
                f"{self.max_completion_tokens}; give one of them.",
                param="max_tokens",
            )
        values = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "repetition_penalty": self.repetition_penalty,
            "num_beams": self.num_beams,
            "max_new_tokens": self.max_completion_tokens
            if self.max_tokens is None
            else self.max_tokens,
        }
        if longest and longest[0] > defaults.max_new_tokens:
            name = "max_tokens" if self.max_tokens else "max_completion_tokens"
            raise RequestError(
                f"{name}: {longest[0]} given; this server writes at most "
                f"{defaults.max_new_tokens} tokens.",
                param=name,
            )
        try:
            return changed(defaults, {n: value for n, value in values.items() if value is not None})
        except ConfigError as error:
            name, _, said = error.problems[0].partition(": ")
            name = _RENAMED.get(name, name)
            if name == "max_completion_tokens" and self.max_tokens is not None:
                name = "max_tokens"
            raise RequestError(f"{name}: {said}", param=name) from error


@dataclass(frozen=True, slots=True)
class AskedTurn:
    """A question of a conversation, with the addresses of its pictures.

    Attributes:
        question: As it may enter a conversation.
        pictures: The address of each picture, and where in the request it stands.
        answer: None for the last question.
    """

    question: str
    pictures: tuple[tuple[str, str], ...]
    answer: str | None = None


def asked_turns(
    messages: list[Message], *, max_question_characters: int, max_pictures: int
) -> tuple[AskedTurn, ...]:
    """Read messages as turns; user messages that follow each other are one question.

    Within a question the pictures come before the words, as the model was trained.

    Raises:
        RequestError: Questions and answers do not alternate, or there are too many pictures.
        PromptError: A question is empty or too long.
    """
    turns: list[AskedTurn] = []
    open_texts: list[str] = []
    open_pictures: list[tuple[str, str]] = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if message.role == "user":
            open_texts += [message.text] if message.text else []
            open_pictures += [(url, f"{place}.content[{at}]") for at, url in message.pictures]
            continue
        if message.pictures:
            raise RequestError(f"{place}: an answer holds no pictures.", param=place)
        if not open_texts and not open_pictures:
            raise RequestError(
                f"{place}: an assistant message stands where a user message is expected.",
                param=place,
            )
        question = _question(open_texts, max_question_characters, place)
        turns.append(AskedTurn(question, tuple(open_pictures), clean_text(message.text)))
        open_texts, open_pictures = [], []
    if messages[-1].role != "user":
        raise RequestError("messages: the last one must be the user's.", param="messages")
    question = _question(open_texts, max_question_characters, "messages")
    turns.append(AskedTurn(question, tuple(open_pictures)))
    pictures = sum(len(turn.pictures) for turn in turns)
    if pictures > max_pictures:
        raise RequestError(
            f"messages: {pictures} pictures given; the limit is {max_pictures}.",
            param="messages",
            code="too_many_pictures",
        )
    return tuple(turns)


def _question(texts: list[str], limit: int, place: str) -> str:
    try:
        return clean_question("\n".join(texts), limit)
    except PromptError as error:
        raise RequestError(f"{place}: {error}", param=place) from error


def _same(value: object, nothing: object) -> bool:
    # True is no 1 here: JSON keeps them apart.
    return value == nothing and isinstance(value, bool) == isinstance(nothing, bool)
