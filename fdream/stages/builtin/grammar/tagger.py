"""Words of a caption with their parts of speech, from HanTa's model of English.

Source: HanTa (Wartena, Hannover Tagger, LGPL-3.0-or-later), used unmodified. Tags are the BNC's C5.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fdream.core.errors import StageError
from fdream.stages.builtin.grammar.phrases import Role, phrases
from fdream.stages.builtin.grammar.sentence import sentence_tags

_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|[^\w\s]|_")
_MARKUP: Final = re.compile(r"<!--.{0,2000}?-->|</?[A-Za-z][^<>]{0,300}>", re.DOTALL)
# Cc and Cs but for line breaks. Joiners (Cf) stay: emoji and several scripts need them.
_CONTROLS: Final = re.compile("[\x00-\x09\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")
_MODEL: Final = "morphmodel_en.pgz"
_KNOWN: Final = -25.0
"""Log-probability that divides HanTa's lexicon from its guesses, which lie below -30."""

_LONGEST_SENTENCE: Final = 200
_LONGEST_WORD: Final = 40
"""Characters of a word that HanTa is shown: its work grows faster than the word."""

_MARGIN: Final = 1.8
"""How much likelier as a noun an -ing word may be and still count as a verb where one fits."""


_REMEMBERED: Final = 65536
"""Words whose readings are kept; the least used makes room, so that memory stays bounded."""

_GUESSED: Final = 4096
"""Guesses that are kept; the answers drawn from them are remembered for longer."""


@dataclass(slots=True)
class Token:
    """One word or mark, and what becomes of it.

    Attributes:
        text: as written.
        lower: in lower case.
        tag: C5 part of speech; ``PUN`` for marks, ``SENT`` where a sentence ends.
        lemma: dictionary form.
        glued: whether it follows the token before it without a space.
        role: the set phrase it belongs to, if any.
        phrase: number of that phrase.
        moving: number of the motion span it belongs to, or 0.
        still: what stands for it in the appearance half; None for the word itself.
    """

    text: str
    lower: str
    tag: str
    lemma: str
    glued: bool
    role: Role | None = None
    phrase: int = 0
    moving: int = 0
    still: str | None = None

    @property
    def ends_sentence(self) -> bool:
        """Whether a new sentence begins after it."""
        return self.tag == "SENT"


def clean(caption: str) -> str:
    """Return a caption without markup and control characters; a line break ends a sentence."""
    text = caption
    if "&" in text or "<" in text:
        text = html.unescape(_MARKUP.sub(" ", text))
        text = _MARKUP.sub(" ", text)
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    cleaned = ""
    for line in lines:
        if line:
            # A sentence that goes on in lower case was only wrapped.
            cleaned += line if not cleaned else f" {line}" if line[0].islower() else f"\n{line}"
    return cleaned


class CaptionTagger:
    """HanTa, with what fdream wants to know of a word."""

    def __init__(self) -> None:
        """Open the model that HanTa's distribution installed; takes about 0.1 s."""
        self._model = _hanta()

    def tokens(self, text: str) -> list[Token]:
        """Tag a cleaned caption.

        Args:
            text: from ``clean``; its set phrases are marked on the tokens.
        """
        matches = list(_WORD.finditer(text))
        words = [m.group()[:_LONGEST_WORD] for m in matches]
        tagged = self._tag(words)
        tokens: list[Token] = []
        end = 0
        for match, (lemma, tag) in zip(matches, tagged, strict=True):
            word = match.group()
            if "\n" in text[end : match.start()] and tokens:
                tokens.append(Token("\n", "\n", "SENT", "\n", True))
            if word == "&":
                tag = "CJC"
            elif not word[0].isalnum():
                tag = "SENT" if word in ".!?;:" else "PUN"
            glued = match.start() == end and end > 0
            tokens.append(Token(word, word.lower(), tag, lemma, glued))
            end = match.end()
        _mark(tokens, text, matches)
        return tokens

    def may_be_verb(self, word: str) -> bool:
        """Whether an -ing word that was tagged as a noun can as well be a verb."""
        return _verb_margin(self._model, word[:_LONGEST_WORD]) <= _MARGIN

    def may_be_base(self, word: str) -> bool:
        """Whether a word that was tagged as a noun can as well be a verb's plain form."""
        return _may_be_base(self._model, word[:_LONGEST_WORD])

    def verb_lemma(self, word: str) -> str:
        """Return the dictionary form of an -ing word that was tagged as something else."""
        return _lemma(self._model, word, "VVG")

    def is_known(self, word: str) -> bool:
        """Whether HanTa's lexicon has the word as an English one."""
        return _known(self._model, word[:_LONGEST_WORD])

    def _tag(self, words: list[str]) -> list[tuple[str, str]]:
        tagged: list[tuple[str, str]] = []
        # Sentence by sentence: the model knows no memory across a full stop, and its cost is
        # that of the longest piece.
        start = 0
        for index, word in enumerate(words):
            if word in ".!?;:" or index - start >= _LONGEST_SENTENCE:
                tagged += self._tag_sentence(words[start : index + 1])
                start = index + 1
        tagged += self._tag_sentence(words[start:])
        return tagged

    def _tag_sentence(self, words: list[str]) -> list[tuple[str, str]]:
        if not words:
            return []
        tags = sentence_tags(self._model, words)
        return [
            (_lemma(self._model, word.lower(), tag), tag)
            for word, tag in zip(words, tags, strict=True)
        ]


@cache
def _hanta() -> Any:
    found = find_spec("HanTa")
    if found is None or not found.submodule_search_locations:
        raise StageError(
            "splitter 'grammar' needs HanTa, not installed here; pip install HanTa, or choose "
            "another splitter (`fdream plugins --kind splitter`)."
        )
    model = Path(found.submodule_search_locations[0]) / _MODEL
    if not model.is_file():
        raise StageError(f"HanTa lacks its model {model}; reinstall it: pip install HanTa")
    from HanTa.HanoverTagger import HanoverTagger

    # The model is a pickle, and HanTa would prefer a file of that name in the working folder:
    # an absolute path into the installed distribution is the only thing opened.
    tagger = HanoverTagger(str(model))
    # A word that its lexicon lacks is guessed letter by letter, which takes most of a millisecond,
    # and each of the questions below asks for it: the guess is kept until all have asked.
    tagger.analyze_forward = lru_cache(maxsize=_GUESSED)(tagger.analyze_forward)
    return tagger


@lru_cache(maxsize=_REMEMBERED)
def _verb_margin(model: Any, word: str) -> float:
    readings: dict[str, float] = {}
    for tag, likelihood in model.tag_word(word.lower(), casesensitive=False):
        readings.setdefault(tag, float(likelihood))
    best = max(readings.values(), default=-99.0)
    if best < _KNOWN:
        return 0.0  # unknown to the lexicon: "surfing" is as good a verb as any
    verb = readings.get("VVG", -99.0)
    return readings.get("NN1", -99.0) - verb


@lru_cache(maxsize=_REMEMBERED)
def _lemma(model: Any, word: str, tag: str) -> str:
    return str(model.analyze(word, pos=tag)[0]).lower()


@lru_cache(maxsize=_REMEMBERED)
def _may_be_base(model: Any, word: str) -> bool:
    readings = dict(model.tag_word(word, casesensitive=False))
    return bool(max(readings.get("VVB", -99.0), readings.get("VVI", -99.0)) > _KNOWN)


@lru_cache(maxsize=_REMEMBERED)
def _known(model: Any, word: str) -> bool:
    readings = model.tag_word(word, casesensitive=False)
    return bool(readings) and readings[0][1] > _KNOWN and readings[0][0] != "UNC"


def _mark(tokens: list[Token], text: str, matches: list[re.Match[str]]) -> None:
    """Write the roles of set phrases onto the tokens they cover."""
    spoken = iter([t for t in tokens if t.text != "\n"])
    placed = [(m.start(), m.end(), next(spoken)) for m in matches]
    index = 0
    for number, phrase in enumerate(phrases(text), 1):
        while index < len(placed) and placed[index][1] <= phrase.start:
            index += 1
        while index < len(placed) and placed[index][0] < phrase.end:
            placed[index][2].role = phrase.role
            placed[index][2].phrase = number
            index += 1
