"""Objects and the words for them: which of a list's objects a sentence names.

A list has a line for each object, its name first and then its synonyms, with commas between:

    person, girl, boy, man, woman
    dog, puppy

CHAIR's own for COCO is published in that form as data/synonyms.txt of its repository
(LisaAnne/Hallucination); it is not part of this one. `cartoon` is the list of the picture world.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from minigpt4.errors import ConfigError

BUILT_IN = {"cartoon": Path(__file__).parent / "static" / "cartoon_objects.txt"}
_WORD = re.compile(r"[^\W_]+")
_IRREGULAR_PLURALS = (
    "man/men woman/women child/children person/people foot/feet tooth/teeth goose/geese"
    " mouse/mice knife/knives wife/wives loaf/loaves calf/calves leaf/leaves shelf/shelves"
    " scarf/scarves ski/skis taxi/taxis sheep/sheep fish/fish deer/deer scissors/scissors"
)
_IRREGULAR = dict(pair.split("/") for pair in _IRREGULAR_PLURALS.split())
_ANIMALS = (
    *("animal", "bear", "bird", "cat", "cow", "cub", "dog"),
    *("elephant", "giraffe", "horse", "sheep", "zebra"),
)
# Phrases of COCO in which a word that names an object names another one, or none (""). Only those
# whose words are in the list have an effect.
_PHRASES = {
    **{f"{age} {animal}": animal for age in ("baby", "adult") for animal in _ANIMALS},
    "passenger jet": "jet",
    "passenger train": "train",
    "bow tie": "tie",
    "toilet seat": "toilet",
    "home plate": "",
    "train track": "",
}


class Objects:
    """The objects of a list.

    Attributes:
        names: Their names, in the list's order.
    """

    def __init__(self, lines: Sequence[Sequence[str]]) -> None:
        """Takes the words of each object, its name first.

        Raises:
            ValueError: If a word stands for two objects.
        """
        self.names = tuple(words[0] for words in lines)
        self._object: dict[str, str] = {}
        for words in lines:
            for word in words:
                if self._object.setdefault(word, words[0]) != words[0]:
                    raise ValueError(f"{word!r} stands for {self._object[word]} and {words[0]}.")
        self._phrases: dict[tuple[str, ...], str] = {}
        for word, name in self._object.items():
            for form in (word, *_plurals(word)):
                # As texts are taken apart: a hyphen separates words.
                self._phrases.setdefault(tuple(_WORD.findall(form)), name)
        for phrase, word in _PHRASES.items():
            name = self._object.get(word, "")
            for form in (phrase, *_plurals(phrase)):
                self._phrases[tuple(form.split())] = name
        self._longest = max(len(phrase) for phrase in self._phrases)

    def object_of(self, word: str) -> str | None:
        """The object that a word stands for, if it is one of the list's."""
        return self._object.get(word.strip().lower())

    def mentions(self, text: str) -> list[tuple[str, str]]:
        """Every mention of an object in a text, with the object; the longest phrase counts."""
        words = _WORD.findall(text.lower())
        found = []
        start = 0
        while start < len(words):
            size = self._longest
            while size and tuple(words[start : start + size]) not in self._phrases:
                size -= 1
            if size:
                phrase = tuple(words[start : start + size])
                if name := self._phrases[phrase]:
                    found.append((" ".join(phrase), name))
            start += max(1, size)
        return found


def read_objects(given: str) -> Objects:
    """Reads a list.

    Args:
        given: A file, or the name of a list in `BUILT_IN`.

    Raises:
        ConfigError: If there is no such list, or it is none.
    """
    path = BUILT_IN.get(given, Path(given))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(BUILT_IN)
        problem = f"--objects: {given!r} cannot be read. Give a list of objects, or {known}."
        raise ConfigError([problem]) from error
    lines = [[word.strip().lower() for word in line.split(",")] for line in text.splitlines()]
    lines = [[word for word in words if word] for words in lines if any(words)]
    if not lines:
        raise ConfigError([f"--objects: {path} holds no objects."])
    try:
        return Objects(lines)
    except ValueError as error:
        raise ConfigError([f"--objects: {path}: {error}"]) from error


def _plurals(phrase: str) -> list[str]:
    """How a phrase is written for several; its last word changes."""
    before, _, last = phrase.rpartition(" ")
    if last in _IRREGULAR:
        forms = [_IRREGULAR[last]]
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        forms = [f"{last}es"]
    elif re.search(r"[^aeiou]y$", last):
        forms = [f"{last[:-1]}ies"]
    else:
        forms = [f"{last}s", *([f"{last}es"] if last.endswith("o") else [])]
    return [f"{before} {form}".strip() for form in forms]
