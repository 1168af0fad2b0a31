"""CIDEr and BLEU of captions, computed by pycocoevalcap.

METEOR and SPICE, and the tokeniser that goes with all of them, are Java programs and are not run.
`tokens` stands in for the tokeniser (Stanford's PTBTokenizer): lower case, contractions split as
the Penn Treebank does, hyphenated words whole, brackets as -lrb- and the like, the punctuation that
the official evaluation drops dropped. docs/evaluation.md says how far it agrees.

CIDEr weighs words by how few pictures' captions have them: over a handful of pictures it says
nothing, and over one it is 0.
"""

import re
from collections.abc import Mapping, Sequence

from minigpt4.evaluation.items import Answer, Item, Judged, Score, Verdict
from minigpt4.evaluation.packages import needed

_CONTRACTION = re.compile(r"(?<=\w)(n't|'(?:s|m|d|re|ve|ll))(?!\w)")
_FUSED = re.compile(r"\b(can)(not)\b|\b(gon|wan)(na)\b|\b(got)(ta)\b|\b(lem|gim)(me)\b")
_BRACKETS = str.maketrans(
    {"(": " -lrb- ", ")": " -rrb- ", "[": " -lsb- ", "]": " -rsb- ", "{": " -lcb- ", "}": " -rcb- "}
)
_TOKEN = re.compile(
    r"n't(?!\w)|'(?:s|m|d|re|ve|ll)(?!\w)"  # the ends of contractions
    r"|(?:[a-z]\.){2,}"  # u.s.
    r"|\d+(?:[.,:/]\d+)+"  # 1,000 and 3.5
    r"|[^\W_]+(?:[-'/][^\W_]+)*"  # words
    r"|[$%#&@*+=/]|[!?]{2,}|-[lr][rsc]b-"
)


def tokens(caption: str) -> str:
    """A caption's tokens with a space between, in lower case and without punctuation."""
    text = re.sub("[\u2018\u2019]", "'", caption.lower()).translate(_BRACKETS)
    text = _FUSED.sub(lambda found: " ".join(part for part in found.groups() if part), text)
    return " ".join(_TOKEN.findall(_CONTRACTION.sub(r" \1", text)))


def judge(items: Sequence[Item], answers: Mapping[str, Answer]) -> Judged:
    """CIDEr and BLEU-1 to BLEU-4 over all captions, and CIDEr of each.

    Raises:
        ConfigError: If pycocoevalcap is not installed.
    """
    cider = needed("pycocoevalcap.cider.cider").Cider()
    bleu = needed("pycocoevalcap.bleu.bleu").Bleu(4)
    if not items:
        return Judged((), {})
    # A caption without a word would divide by nothing.
    given = {item.key: [tokens(answers[item.key].text) or "."] for item in items}
    truth = {item.key: [tokens(each) or "." for each in item.references] for item in items}
    value, each = cider.compute_score(truth, given)
    shares, _ = bleu.compute_score(truth, given, verbose=0)
    scores = [Score("CIDEr", float(value), "number", about="Papers often write it times 100.")]
    scores += [Score(f"BLEU-{n}", float(part)) for n, part in enumerate(shares, start=1)]
    verdicts = {
        item.key: Verdict("scored", float(one), (f"CIDEr {one:.2f}",))
        for item, one in zip(items, each, strict=True)
    }
    return Judged(tuple(scores), verdicts)
