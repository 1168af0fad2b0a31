"""Sentences and words of an English text, and whether it is English."""

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_END = re.compile(r"(?<=[.!?])[\"'\u201d\u2019)\]]*\s+(?=\S)")
_ENDED = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]]*$")


def words(text: str) -> list[str]:
    """The words of a text in lower case, in their order."""
    return _WORD.findall(text.lower())


_SHORT_FORMS = frozenset({"mr.", "mrs.", "ms.", "dr.", "st.", "e.g.", "i.e.", "vs.", "no.", "u.s."})
"""A point after these ends no sentence."""
_DANGLING = frozenset(
    words(
        """
        a an and are as at because but by for from has in into is its of on or that the their to was
        were which while who with
        """
    )
)
"""No sentence ends with these."""
_ENGLISH = frozenset(
    words(
        """
        a about across all also an and another appears are around as at back be behind being below
        beside between both but by can for from front has have he her him his holding i image in
        inside into is it its large left looking near next no not of on one or other over picture
        right seen several she showing shows sitting small some standing that the their them there
        these they this those to top two under up was wearing were what which while who with you
        """
    )
)
_FOREIGN = frozenset(
    words(
        """
        aan au aux avec bei bir che com con da dan dans das de del dem den der des det di die dos du
        een ein eine einem einen einer el elle en er es est est et ett för het hij i il ils im ist
        je jest kita la las le les lo los mais med met mit na nicht nie não och of og op os på para
        pas pod por que qui se sein seu sich sie sin sono su sua sul sur też um uma un una unas und
        une uno unos van ve voor w wie y yang z zu zum à è é
        """
    )
) - frozenset({"i", "of"})
"""Frequent words of other languages that are written in Latin letters, none of them English."""
_SAY_NOTHING = frozenset(
    words(
        """
        a an and are as at be being by for from has have image in is it its of on photo picture
        shown shows that the there this to with
        """
    )
)
_LEAST_LATIN = 0.9
_FEWEST_JUDGED = 6
_ONE_IN = 10


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, each with its punctuation; a line ends a sentence too."""
    pieces: list[str] = []
    for line in text.splitlines():
        begin = 0
        for gap in _END.finditer(line):
            before = line[begin : gap.start()].rsplit(maxsplit=1)
            if before and before[-1].lower() in _SHORT_FORMS:
                continue
            pieces.append(line[begin : gap.end()])
            begin = gap.end()
        pieces.append(line[begin:])
    return [piece.strip() for piece in pieces if piece.strip()]


def ended(sentence: str) -> bool:
    """Whether a sentence, or a text, ends as sentences do."""
    return bool(_ENDED.search(sentence.rstrip()))


def without_dangling(sentence: str) -> str:
    """A sentence that breaks off, without the last words that need another one."""
    said = sentence.split()
    while said and (not (last := words(said[-1])) or last[-1] in _DANGLING):
        said.pop()
    return " ".join(said)


def content_of(sentence: str) -> frozenset[str]:
    """The words of a sentence that say something, in no order: same words, same statement."""
    return frozenset(words(sentence)) - _SAY_NOTHING


def repeated_share(text: str, size: int = 4) -> float:
    """The share of a text's runs of words that have stood there before, 0 to 1.

    Args:
        text: Any.
        size: Words of a run.
    """
    said = words(text)
    runs = [tuple(said[at : at + size]) for at in range(len(said) - size + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def repeated_sentences(text: str) -> int:
    """How many sentences have stood in a text before."""
    said = [each for sentence in split_sentences(text) if (each := tuple(words(sentence)))]
    return len(said) - len(set(said))


def is_latin(character: str) -> bool:
    """Whether a character is no letter, or one of the Latin script."""
    return not character.isalpha() or "LATIN" in unicodedata.name(character, "")


def latin_share(text: str) -> float:
    """The share of Latin letters among the letters of a text; 1 if it has none."""
    letters = [each for each in text if each.isalpha()]
    return sum(map(is_latin, letters)) / len(letters) if letters else 1.0


def looks_english(text: str) -> bool:
    """Whether a text is English, as far as its letters and its frequent words tell.

    Below six words, every text in Latin letters is. Nothing is downloaded for this, and nothing
    learned: descriptions are full of such words.
    """
    if latin_share(text) < _LEAST_LATIN:
        return False
    said = words(text)
    if len(said) < _FEWEST_JUDGED:
        return True
    english = sum(word in _ENGLISH for word in said)
    foreign = sum(word in _FOREIGN for word in said)
    return english * _ONE_IN >= len(said) and english > foreign
