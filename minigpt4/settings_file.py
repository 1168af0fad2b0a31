"""Strict settings: a YAML file and overrides in, one frozen dataclass out.

Every problem is told at once, and each names the setting, what was given and what is expected:

    eval_configs/tiny.yaml: device: 'gpu' given; expected auto, cpu, mps, cuda or cuda:N.
    eval_configs/tiny.yaml: generation.temprature: no such setting. Did you mean temperature?
    --set limits.queue_size: 0 given; expected a whole number from 1 to 1000.

The dataclass is the schema. A field may be text, a whole number, a number, true or false, a
``Literal``, a path, a group (another dataclass), a tuple of any of these, or one of them or None; a
rule in its metadata (`within`, `one_of`, `matching`, `some_text`) narrows that down.

Plain YAML lets much pass in silence. So the file is read by YAML 1.2's core rules (``1e-4`` is a
number, ``no`` and a date are text, ``010`` is ten), and a key that stands twice is a problem.
"""

import math
import re
import types
import typing
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast

import yaml

from minigpt4.errors import ConfigError

T = TypeVar("T")
_Kind: TypeAlias = Any
"""The type of a setting, as `typing.get_type_hints` tells it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting may be, besides its type.

    Attributes:
        expected: The end of "expected ..." in a message.
        accepts: Whether a value of the right type will do.
        choices: Names to suggest for one that nearly is one of them.
    """

    expected: str
    accepts: Callable[[Any], bool]
    choices: tuple[str, ...] = ()


def within(low: float, high: float) -> Mapping[str, Rule]:
    """Metadata of a number from ``low`` to ``high``, both included."""
    return {"rule": Rule(f"from {low} to {high}", lambda value: low <= value <= high)}


def one_of(names: Collection[str]) -> Mapping[str, Rule]:
    """Metadata of a text that is one of several names."""
    return {"rule": _choice(names)}


def matching(pattern: str, expected: str, choices: Collection[str] = ()) -> Mapping[str, Rule]:
    """Metadata of a text that matches a regular expression as a whole."""
    accepts = re.compile(pattern)
    return {"rule": Rule(expected, lambda text: bool(accepts.fullmatch(text)), tuple(choices))}


def some_text(expected: str) -> Mapping[str, Rule]:
    """Metadata of a text that is not blank."""
    return {"rule": Rule(expected, lambda text: bool(text.strip()))}


def did_you_mean(given: str, known: Collection[str]) -> str:
    """Return a sentence for an unknown name: the nearest known one, or all of them."""
    near = get_close_matches(given, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."


def read_settings(
    kind: type[T],
    path: Path | str,
    overrides: Sequence[str] = (),
    check: Callable[[T], Iterable[str]] = lambda _settings: (),
) -> T:
    """Read a settings file.

    Args:
        kind: The frozen dataclass to fill.
        path: The YAML file.
        overrides: Settings that win over the file's, each as ``generation.temperature=0.5``.
        check: Tells where settings that are right by themselves do not go together.

    Raises:
        ConfigError: With every problem of the file and the overrides. A file that is no YAML has
            one problem only.
    """
    content, twice = _parse(_file_text(Path(path)), where=str(path))
    problems = [f"{path}: {line}" for line in twice]
    reader = _Reader()
    overridden: list[str] = []
    content = {} if content is None else content
    for override in overrides:
        key, equals, text = (part.strip() for part in override.partition("="))
        if not equals or not key:
            problems.append(f"--set {override!r}: expected a setting and its value as key=value.")
            continue
        try:
            value = _override_value(kind, key, text)
        except ConfigError as error:
            problems += error.problems
            continue
        overridden.append(key)
        content = _with_override(content, key.split("."), value)
    settings = reader.group(kind, content, "")
    for key, text in reader.problems:
        if any(f"{key}.".startswith(f"{own}.") for own in overridden):
            problems.append(f"--set {key}: {text}")
        else:
            problems.append(f"{path}: {key}: {text}" if key else f"{path}: {text}")
    if not problems:
        problems += (f"{path}: {line}" for line in check(settings))
    if problems:
        raise ConfigError(problems)
    return settings


def changed(settings: T, changes: Mapping[str, object]) -> T:
    """Return settings with some of them replaced, held to the same rules as a file.

    Raises:
        ConfigError: With every change that is unknown or out of its range.
    """
    whole = {each.name: getattr(settings, each.name) for each in fields(cast("Any", settings))}
    reader = _Reader()
    replaced = reader.group(type(settings), {**whole, **changes}, "")
    if reader.problems:
        raise ConfigError([f"{key}: {text}" for key, text in reader.problems])
    return replaced


class _Reader:
    """Turns what YAML holds into dataclasses and notes what does not fit.

    Attributes:
        problems: Key path and sentence of each problem.
    """

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []

    def group(self, kind: type[T], content: object, key: str) -> T:
        """Return the dataclass; with any problem noted, what is returned is of no use."""
        if content is None:  # a group with nothing in it
            content = {}
        if not isinstance(content, Mapping):
            self._wrong(key, content, "a group of settings")
            return cast("T", None)
        known = {each.name: each for each in fields(cast("Any", kind))}
        for name in content:
            if name not in known:
                suggestion = did_you_mean(str(name), known)
                self.problems.append((_join(key, name), f"no such setting. {suggestion}"))
        hints = typing.get_type_hints(kind)
        values: dict[str, Any] = {}
        for name, each in known.items():
            rule = each.metadata.get("rule")
            if name in content:
                values[name] = self._value(hints[name], content[name], _join(key, name), rule)
            elif each.default is MISSING and each.default_factory is MISSING:
                if is_dataclass(hints[name]):
                    self.group(cast("Any", hints[name]), {}, _join(key, name))
                else:
                    expected = _expected(hints[name], rule)
                    self.problems.append((_join(key, name), f"missing; expected {expected}."))
        return cast("T", None) if self.problems else kind(**values)

    def _value(self, kind: _Kind, given: object, key: str, rule: Rule | None) -> object:
        inner, optional = _optional(kind)
        if optional and given is None:
            return None
        if is_dataclass(inner):
            return self.group(cast("Any", inner), given, key)
        if typing.get_origin(inner) is not tuple:
            return self._single(kind, given, key, rule)
        if not isinstance(given, list):
            self._wrong(key, given, _expected(kind, rule))
            return None
        item = typing.get_args(inner)[0]
        return tuple(
            self._value(item, each, f"{key}[{index}]", rule) for index, each in enumerate(given)
        )

    def _single(self, kind: _Kind, given: object, key: str, rule: Rule | None) -> object:
        """Return a setting that is neither a group nor a list."""
        inner, _ = _optional(kind)
        expected = _expected(kind, rule)
        if typing.get_origin(inner) is Literal:
            inner, rule = str, _choice(typing.get_args(inner))
        if inner is float and type(given) is int:
            given = float(str(given))  # through text: what is too large becomes infinite
        right_type = type(given) is (str if inner is Path else inner)
        finite = not isinstance(given, float) or math.isfinite(given)
        if right_type and finite and (rule is None or rule.accepts(given)):
            return Path(str(given)) if inner is Path else given
        near = get_close_matches(str(given), rule.choices, n=1) if rule else []
        hint = f" Did you mean {near[0]}?" if near else ""
        if inner in (str, Path) and isinstance(given, bool | int | float):
            hint = " In quotes it is text."
        self._wrong(key, given, expected, hint)
        return None

    def _wrong(self, key: str, given: object, expected: str, hint: str = "") -> None:
        self.problems.append((key, f"{_shown(given)} given; expected {expected}.{hint}"))


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core rules, and a note of every key that stands twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.twice: list[str] = []

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002 - PyYAML's signature
    ) -> dict[Hashable, Any]:
        first: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in first:
                self.twice.append(f"line {line}: {key} is set twice, first in line {first[key]}.")
            first.setdefault(key, line)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}  # without those of YAML 1.1


def _scalar(tag: str, pattern: str, value: Callable[[str], Any]) -> None:
    full_tag = f"tag:yaml.org,2002:{tag}"
    _Loader.add_implicit_resolver(full_tag, re.compile(f"(?:{pattern})$"), None)
    _Loader.add_constructor(full_tag, lambda _loader, node: value(str(node.value)))


_scalar("null", "~|null|Null|NULL|", lambda _text: None)
_scalar("bool", "true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true")
_scalar("int", "[-+]?[0-9]+", int)
_scalar("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", float)


def _parse(text: str, where: str) -> tuple[Any, list[str]]:
    """Return what YAML text holds, and a sentence for every key that stands twice."""
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data(), loader.twice
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError([f"{where}: {line}this is no YAML: {error.problem}."]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError([f"{where}: this is no YAML: {reason}."]) from error
    finally:
        if loader is not None:
            loader.dispose()


def _file_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        others = [str(other) for other in sorted(path.parent.glob("*.y*ml"))]
        hint = did_you_mean(str(path), others) if others else "Is the current directory right?"
        raise ConfigError([f"{path}: there is no such file. {hint}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: this is no UTF-8 text. Save it as UTF-8."]) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})."]) from error


def _override_value(kind: _Kind, key: str, text: str) -> object:
    """Return an override's value: as it is for a text, else as YAML has it.

    Raises:
        ConfigError: It is no YAML, or a part of the key is a setting and no group of settings.
    """
    names = key.split(".")
    for index, name in enumerate(names):
        group, _ = _optional(kind)
        if not is_dataclass(group):
            raise ConfigError([f"--set {key}: {'.'.join(names[:index])} is no group of settings."])
        hints = typing.get_type_hints(group)
        if name not in hints:
            break  # the reader tells what there is
        kind = hints[name]
    inner, optional = _optional(kind)
    if optional and text in ("", "null"):
        return None
    if inner in (str, Path) or typing.get_origin(inner) is Literal:
        return text
    return _parse(text, where=f"--set {key}")[0]


def _with_override(content: object, names: list[str], value: object) -> object:
    """Return ``content`` with one setting replaced; what is no group on the way stays as it is."""
    if not names:
        return value
    if not isinstance(content, Mapping | None):
        return content
    group = dict(content or {})
    group[names[0]] = _with_override(group.get(names[0]), names[1:], value)
    return group


def _optional(kind: _Kind) -> tuple[Any, bool]:
    """Return X and True for the type ``X | None``, else the type itself and False."""
    origin: object = typing.get_origin(kind)
    if origin is types.UnionType or origin is typing.Union:
        inner = [each for each in typing.get_args(kind) if each is not types.NoneType]
        return inner[0], True
    return kind, False


def _choice(names: Collection[str]) -> Rule:
    *others, last = names
    expected = f"{', '.join(others)} or {last}" if others else last
    return Rule(expected, lambda name: name in names, tuple(names))


def _expected(kind: _Kind, rule: Rule | None) -> str:
    inner, optional = _optional(kind)
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "a path",
    }.get(inner, "a list")
    if typing.get_origin(inner) is Literal:
        words = _choice(typing.get_args(inner)).expected
    elif rule is not None:
        words = f"{words} {rule.expected}" if inner in (int, float) else rule.expected
    return f"{words}, or null" if optional else words


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case list():
            return "a list"
        case dict():
            return "a group of settings"
        case _:
            written = repr(value)
            short = len(written) <= _SHOWN_CHARACTERS
            return written if short else f"{written[:_SHOWN_CHARACTERS]}..."


_SHOWN_CHARACTERS = 60


def _join(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)
