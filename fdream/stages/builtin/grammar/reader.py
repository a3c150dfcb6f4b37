"""Which words of a tagged caption tell of motion: the rule of docs/captions.md as a small grammar.

A caption is read clause by clause. In each clause verbs are found, states are left alone, and from
every other verb a ``Walk`` goes on over what belongs to it. Each token learns the number of its
motion span and what stands for it in the still picture.
"""

from __future__ import annotations

from typing import Final

from fdream.stages.builtin.grammar.clause import Clause
from fdream.stages.builtin.grammar.reading import (
    ADJECTIVES,
    BE,
    DETERMINERS,
    NOUNS,
    PRONOUNS,
    Form,
    Reading,
)
from fdream.stages.builtin.grammar.tagger import CaptionTagger, Token
from fdream.stages.builtin.grammar.walk import Walk
from fdream.stages.builtin.grammar.words import CAMERA_PATHS, DIRECTIONS, PERSONS, PICTURES

_LONGEST_CLAUSE: Final = 120
"""Tokens; longer ones, which are no language, are read in pieces."""


def read(tokens: list[Token], tagger: CaptionTagger) -> Reading:
    """Find the motion words of a caption.

    Args:
        tokens: from ``CaptionTagger.tokens``; changed in place.
        tagger: answers what else a word may be.
    """
    reading = Reading(tokens)
    _take_set_phrases(reading)
    start = 0
    for index in range(len(tokens) + 1):
        ends = index == len(tokens) or tokens[index].tag == "SENT" or _is_comma(tokens, index)
        if not ends and index - start < _LONGEST_CLAUSE:
            continue
        if index > start:
            clause = Clause(reading, tagger, start, index)
            _ClauseReader(clause).read()
            reading.last_form = clause.last_form or reading.last_form
        start = index + 1 if ends else index
        if ends and index < len(tokens) and tokens[index].text == ":":
            reading.forget()  # "Rome, Italy - June 2017: tourists ..."
    return reading


def _is_comma(tokens: list[Token], index: int) -> bool:
    token = tokens[index]
    if token.tag != "PUN":
        return False
    if token.text in ',()[]{}"|/\u2013\u2014\u2026':
        return True
    return token.text == "-" and not token.glued and index > 0


def _take_set_phrases(reading: Reading) -> None:
    """Open a span for each phrase of camera or tempo; drop stock."""
    tokens = reading.tokens
    opened: dict[int, int] = {}
    for index, token in enumerate(tokens):
        if token.role not in ("camera", "tempo", "stock"):
            continue
        token.still = ""
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        if following is not None and following.phrase != token.phrase and following.lower == "of":
            following.still = ""  # "time lapse of clouds": clouds
        if token.role != "stock":
            if token.phrase not in opened:
                opened[token.phrase] = reading.open_span()
            token.moving = opened[token.phrase]


class _ClauseReader:
    """Reads one clause, from after a comma to before the next."""

    def __init__(self, clause: Clause) -> None:
        self.clause = clause
        self.reading = clause.reading
        self._stilled = False

    def read(self) -> None:
        """Go over the clause once, from left to right."""
        clause = self.clause
        at = clause.start
        if self.reading.spans and all(clause.tag(i) == "AV0" for i in range(at, clause.end)):
            self._afterthought()
        while at < clause.end:
            token = clause.tokens[at]
            form = None if token.role is not None else clause.verb_form(at)
            if token.role == "camera" and not clause.same_phrase(at + 1):
                at = self._camera_path(at)
            elif form == "attribute":
                at = self._attribute(at)
            elif form is not None:
                at = self._motion(at, form)
            else:
                self._meet(at)
                at += 1

    def _afterthought(self) -> None:
        """Take a clause that is no more than an adverb: "a cat jumps, *slowly*"."""
        words = range(self.clause.start, self.clause.end)
        if all(self.clause.lower(at).endswith("ly") for at in words):
            span = self.reading.open_span()
            for at in words:
                self.clause.take(at, span, still="")

    def _meet(self, at: int) -> None:
        """Take the first thing of the caption for its main one."""
        token = self.clause.tokens[at]
        speaks_of_it = token.lemma not in PICTURES and not self.clause.first_part(at)
        if self.reading.main_lemma or token.role is not None or token.tag not in NOUNS:
            return
        compound = self.clause.is_noun(at + 1) and self.clause.verb_form(at + 1) is None
        if speaks_of_it and not compound:
            self.reading.meet(at)

    # -- verbs ---------------------------------------------------------------------------------

    def _motion(self, at: int, form: Form) -> int:
        """Mark the span that begins with the verb at ``at``; return where to read on."""
        clause = self.clause
        span = self.reading.open_span()
        head = at
        while head - 1 >= clause.start and self._leads_in(head - 1):
            head -= 1
        self._name_mover(head, span)
        for index in range(head, at):
            clause.take(index, span, still="")
        if clause.tag(head - 1) in BE:
            clause.tokens[head - 1].still = ""
        clause.last_form = form
        end = Walk(clause, at, span, form).go()
        stilled, self._stilled = self._stilled, clause.tokens[at].still == ""
        self._untie(head - 1, stilled)
        return end

    def _untie(self, at: int, stilled: bool) -> None:
        """Drop from the picture what tied a motion on, and now ties nothing.

        Args:
            at: the word before the motion.
            stilled: whether the motion before it in the clause left the picture.
        """
        clause = self.clause
        if clause.tag(at) == "CJC" and (stilled or self._stilled):
            clause.tokens[at].still = ""  # "spins and falls to the floor"
        if clause.tag(at) == "PNP" and self._stilled:
            clause.tokens[at].still = ""  # "as he plays"
            if clause.tag(at - 1) == "CJS":
                clause.tokens[at - 1].still = ""

    def _leads_in(self, at: int) -> bool:
        """Whether a word before the verb belongs to it: "slowly rising", "is hula hooping"."""
        clause, token = self.clause, self.clause.tokens[at]
        if token.role is not None:
            return False
        if token.tag in NOUNS or token.tag in ADJECTIVES:
            first = at
            while first > clause.start and clause.tag(first - 1) in NOUNS:
                first -= 1
            # Between auxiliary and participle stands no subject.
            return clause.tag(first - 1) in BE or clause.first_part(at)
        return token.tag == "XX0" or (token.tag == "AV0" and token.lower.endswith("ly"))

    def _attribute(self, at: int) -> int:
        """Mark "flashing", and "lights" with it where they are not the caption's main thing."""
        clause = self.clause
        span = self.reading.open_span()
        clause.take(at, span, still="")
        at += 1
        main = not self.reading.main_lemma
        while clause.tag(at) in ADJECTIVES or clause.is_noun(at):
            if clause.verb_form(at) is not None:
                break
            if main:
                self._meet(at)
            else:
                clause.take(at, span)
            at += 1
        while not main and clause.tag(at) == "CJC" and clause.is_noun(at + 1):
            if clause.verb_form(at + 1) is not None:
                break
            clause.take(at, span)
            clause.take(at + 1, span)
            at += 2
        clause.last_form = "attribute"
        return at

    # -- movers --------------------------------------------------------------------------------

    def _name_mover(self, head: int, span: int) -> None:
        """Take the mover's name into the motion half, unless it is the caption's main thing."""
        clause = self.clause
        subject = head - 2 if clause.tag(head - 1) in BE else head - 1
        first = self._subject_start(subject)
        goes_on = clause.last_form in ("participle", "finite", "passive")
        if goes_on and (first is None or clause.tag(first - 1) != "CJS"):
            return  # the one who moved already moves on
        if first is None or first <= self.reading.main <= subject:
            return
        name = clause.tokens[subject]
        if not self.reading.main_lemma:
            self.reading.meet(subject)
        elif name.tag not in PRONOUNS and name.lemma != self.reading.main_lemma:
            having = clause.lower(first - 1) == "with"
            if having and self.reading.main_lemma in PERSONS and self.reading.main == first - 2:
                return  # "a girl with long hair running": the girl runs
            absolute = having or clause.tag(first - 1) == "CJS"
            if first == clause.start or absolute or self._opens(first):
                for index in range(first, subject + 1):
                    clause.take(index, span)

    def _opens(self, first: int) -> bool:
        """Whether nothing but set phrases and connecting words comes before, in this clause."""
        return all(
            t.role is not None or t.tag in ("CJC", "CJS", "AV0", "DT0")
            for t in self.clause.tokens[self.clause.start : first]
        )

    def _subject_start(self, last: int) -> int | None:
        """Return where the noun phrase that ends at ``last`` begins, or None if there is none."""
        clause = self.clause
        if not clause.is_noun(last):
            return None
        at = last
        while at - 1 >= clause.start:
            tag, token = clause.tag(at - 1), clause.tokens[at - 1]
            joins = tag == "CJC" and clause.tag(at - 2) in NOUNS
            inside = tag in NOUNS or tag in ADJECTIVES or tag in DETERMINERS or tag == "POS"
            if token.role is not None or token.moving or not (inside or joins):
                break
            at -= 1
        return at

    # -- camera --------------------------------------------------------------------------------

    def _camera_path(self, at: int) -> int:
        """Go on from a camera move along its path: "tilt up *to the tower*"."""
        clause = self.clause
        span = clause.tokens[at].moving
        done = clause.lower(at) in ("shot", "view", "effect", "focus", "perspective")
        at += 1
        while clause.tag(at) == "AV0" and clause.lower(at).endswith("ly"):
            clause.take(at, span, still="")
            at += 1
        begin = at
        while not done and clause.lower(at) in CAMERA_PATHS:
            if at > begin and clause.lower(at) in ("on", "above"):
                break  # "along the row *on the table*" is where the row is
            end = clause.noun_phrase(at + 1)
            if end == at + 1:
                break
            # "from left to right" shows nothing; "to the tower" shows a tower.
            directions = clause.lower(at + 1) in DIRECTIONS
            clause.take(at, span, still="")
            for index in range(at + 1, end):
                clause.take(index, span, still="" if directions else None)
                self._meet(index)
            at = end
        return at
