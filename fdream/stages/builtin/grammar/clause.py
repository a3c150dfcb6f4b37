"""A clause and what its words are: which of them move, and where a noun phrase ends."""

from __future__ import annotations

from typing import Final

from fdream.stages.builtin.grammar.reading import (
    ADJECTIVES,
    BE,
    DETERMINERS,
    FINITE,
    NOUNS,
    PARTICIPLES,
    PRONOUNS,
    Form,
    Reading,
)
from fdream.stages.builtin.grammar.tagger import CaptionTagger
from fdream.stages.builtin.grammar.words import (
    ACTIVITIES,
    ATTRIBUTES,
    CROWDS,
    FIRST_PARTS,
    FIXED,
    IMPRESSIONS,
    LIGHTING,
    MAKING,
    MOVING_OBJECTS,
    PATHS,
    PERSONS,
    RISING,
    STATES,
    THINGS_IN_ING,
)

_AFTER_PHRASES: Final = frozenset({"", "PRP", "PRF", "CJC", "CJS", "PUN", "TO0"})
"""Tags of what may follow a phrase that ends without a noun."""


class Clause:
    """Tokens ``start`` to ``end`` of a caption; an index outside has an empty tag."""

    def __init__(self, reading: Reading, tagger: CaptionTagger, start: int, end: int) -> None:
        self.reading = reading
        self.tokens = reading.tokens
        self.tagger = tagger
        self.start = start
        self.end = end
        self.last_form: Form | None = None
        self.retag()

    def tag(self, at: int) -> str:
        return self.tokens[at].tag if self.start <= at < self.end else ""

    def lower(self, at: int) -> str:
        return self.tokens[at].lower if self.start <= at < self.end else ""

    def is_noun(self, at: int) -> bool:
        return at < self.end and self.tokens[at].tag in NOUNS and self.tokens[at].role is None

    def first_part(self, at: int) -> bool:
        """Whether a word begins an activity that is written apart: "*ice* skating"."""
        return self.lower(at) in FIRST_PARTS and self.lower(at + 1) in ACTIVITIES

    def same_phrase(self, at: int) -> bool:
        return at < self.end and self.tokens[at].phrase == self.tokens[at - 1].phrase

    def before(self, at: int) -> int:
        """Return the index of the word before, adverbs and set phrases skipped, or start - 1."""
        at -= 1
        while at >= self.start and (
            self.tokens[at].tag in ("AV0", "XX0")
            or (self.tokens[at].role is not None and self.tokens[at].role != "frame")
        ):
            at -= 1
        return at

    def lemma(self, at: int) -> str:
        token = self.tokens[at]
        if token.tag[:2] in ("VV", "VH", "VD") or not token.lower.endswith("ing"):
            return token.lemma
        return self.tagger.verb_lemma(token.lower)

    def take(self, at: int, span: int, still: str | None = None) -> None:
        token = self.tokens[at]
        if not token.moving:
            token.moving = span
        if still is not None and token.still is None:
            token.still = still

    def retag(self) -> None:
        """Mend tags that a fragment misleads: "formal evening *wear*", "woman's *hand*"."""
        for at in range(self.start, self.end):
            token = self.tokens[at]
            if token.lower.endswith(("'s", "s'", "\u2019s")) and token.tag in NOUNS:
                token.tag = "DPS"
            elif token.lower == "one" and self.tag(at - 1) in ("DT0", "AJ0"):
                token.tag = "NN1"
            elif token.tag == "CRD" and not self.tagger.is_known(token.lower):
                if token.lower.isalpha():
                    token.tag = "NN1"  # "a *corgi*": a word it never met, guessed to be a number
            elif token.lower in ("2d", "3d"):
                token.tag = "AJ0"
            elif token.lower in ("doing", "having"):
                token.tag = "VHG"
            elif token.tag in ("VVB", "VVI") and token.role is None:
                guided = self.tag(at - 1) in ("TO0", "VM0", "XX0", "VDB", "VDZ")
                if not guided and self._finite(at) is None:
                    token.tag = "NN1"

    def noun_phrase(self, at: int) -> int:
        """Return where the noun phrase that begins at ``at`` ends; ``at`` itself if none does."""
        start = at
        noun = False
        while at < self.end and self.tokens[at].role is None:
            tag, lower = self.tag(at), self.lower(at)
            if tag in PRONOUNS:
                return at + 1 if at == start else start if not noun else at
            if tag in NOUNS or (noun is False and tag == "VVG" and self._is_head(at)):
                if noun and self.verb_form(at) is not None:
                    break
                noun = True
            elif noun and tag == "PRF":
                inner = self.noun_phrase(at + 1)
                return inner if inner > at + 1 else at
            elif noun and lower in ("and", "or", "&"):
                inner = self.noun_phrase(at + 1)
                return inner if inner > at + 1 and self.verb_form(at + 1) is None else at
            elif noun and tag == "POS":
                noun = False
            elif noun or not (
                tag in DETERMINERS
                or tag in ADJECTIVES
                or (tag == "VVN" and self._is_modifier(at))
                or (tag in ("VVG", "AV0") and self._is_modifier(at))
            ):
                break
            at += 1
        return at if noun else start

    def complement(self, at: int) -> int:
        """Return where what a verb or preposition governs ends: a noun phrase, or what stands bare.

        The tagger takes many a noun at the end of a phrase for an adjective ("throws *net* into the
        river"), and a number or colour may stand alone ("counting down from *ten*").
        """
        end = self.noun_phrase(at)
        if end > at:
            return end
        while self.tag(end) in ADJECTIVES or self.tag(end) in DETERMINERS:
            end += 1
        bare = self.tag(end - 1) in (*ADJECTIVES, "CRD") and self.tag(end) in _AFTER_PHRASES
        return end if bare else at

    def _is_modifier(self, at: int) -> bool:
        """Whether a participle or adverb stands before a noun: "freshly roasted beef"."""
        if self.tag(at) == "AV0" and not self.lower(at).endswith("ly"):
            return False
        return self.tag(at + 1) in NOUNS or self.tag(at + 1) in (*ADJECTIVES, "VVN")

    def _is_head(self, at: int) -> bool:
        """Whether a verb in -ing is used as a noun: "in a clearing"."""
        previous = self.tag(at - 1)
        return previous in ("AT0", "DPS") and self.tag(at + 1) not in NOUNS

    # -- verbs ----------------------------------------------------------------------------

    def verb_form(self, at: int) -> Form | None:
        """Say whether a motion begins with the verb at ``at``, and in which form."""
        if at >= self.end:
            return None
        token = self.tokens[at]
        form: Form | None = None
        if token.lower == "being":
            suffers = self.tag(at + 1) == "AJ0" and self.lower(at + 1).endswith("ed")
            form = "passive" if suffers or self.tag(at + 1) in ("VVN", "VVD") else None
        elif token.lower.endswith("ing") and len(token.lower) > 4:
            form = self._participle(at)
        elif token.tag in FINITE or token.tag in ("NN1", "NN2", "VVN"):
            form = self._finite(at)
        if form is None or self._is_state(at, form):
            return None
        return form

    def _participle(self, at: int) -> Form | None:
        token = self.tokens[at]
        before, after = self.before(at), self.tag(at + 1)
        previous = self.tag(before)
        lemma = self.lemma(at)
        noun_follows = after in NOUNS or after in ADJECTIVES
        if token.tag not in PARTICIPLES:
            person = before >= self.start and self.tokens[before].lemma in PERSONS
            # "child drawing a house" acts; "child drawing" and "child drawing of a house" do not.
            works = person and after not in ("", "PUN", "PRF")
            acting = previous in BE or (works and self.tagger.may_be_verb(token.lower))
            thing = token.lower in THINGS_IN_ING and not acting
            if thing and after not in DETERMINERS:
                return None
            # No compound goes on with an adjective: "carpenter sanding wooden board".
            alone = not noun_follows or after in ADJECTIVES or (person and not thing)
            acts = after in ("AT0", "DPS", "PNX") or (previous in NOUNS and alone and not thing)
            acts = acts or (before < self.start and self._goes_somewhere(at))
            if not acts and not self.tagger.may_be_verb(token.lower):
                return None
        if previous in BE:
            return "participle"
        follows_thing = previous in NOUNS or previous in PRONOUNS or previous in ("CJS", "VVD")
        if previous == "VVZ" and before == self.start:
            self.tokens[before].tag = "NN2"  # "sparks flying": two verbs cannot stand like this
            follows_thing = True
        if previous == "CJC":
            earlier = self.tokens[self.start : before]
            chained = any(t.tag in PARTICIPLES or t.tag in FINITE for t in earlier)
            follows_thing = chained or self.last_form is not None or not noun_follows
        if previous == "AJ0" and before > self.start and self.tag(before - 1) in NOUNS:
            follows_thing = True
        if follows_thing or (before < self.start and after in PARTICIPLES):
            if token.tag not in PARTICIPLES:
                self.reading.doubted.add(at)
            if token.tag in NOUNS and after in NOUNS and token.lower in THINGS_IN_ING:
                return "participle" if acting else None
            return "participle"
        if before < self.start:
            if not noun_follows:
                leads = after in DETERMINERS or after in ("PRP", "AVP", "AV0", "TO0", "PNX", "PNP")
                return "participle" if leads or (token.tag == "VVG" and not after) else None
            leads = token.tag in PARTICIPLES or self._goes_somewhere(at)
            if leads and lemma not in ATTRIBUTES:
                return "participle"
        if noun_follows and lemma in ATTRIBUTES and token.tag != "NN1":
            return "attribute"
        if noun_follows and lemma in ATTRIBUTES and before < self.start:
            return "attribute"
        gerund = after in DETERMINERS
        leads = previous in ("PRP", "PRF") or self.first_part(at - 1)
        return "participle" if gerund and leads else None

    def _goes_somewhere(self, at: int) -> bool:
        """Whether what follows is moved: "loading containers onto a ship", not "shopping bags"."""
        return self.lower(self.noun_phrase(at + 1)) in ("into", "onto", "through", "from")

    def _one_that(self, at: int) -> bool:
        """Whether a plural ends a phrase that "a" began, and so is a verb: "a horse gallops"."""
        if self.tag(at + 1) not in ("", "PUN", "SENT", "AV0", "PRP"):
            return False
        first = at - 1
        while self.tag(first) == "NN1" or self.tag(first) in ADJECTIVES:
            first -= 1
        stems = {self.lower(at).removesuffix("s"), self.lower(at).removesuffix("es")}
        return self.lower(first) in ("a", "an") and any(map(self.tagger.may_be_base, stems))

    def _finite(self, at: int) -> Form | None:
        token = self.tokens[at]
        before = self.before(at)
        previous, after = self.tag(before), self.tag(at + 1)
        if before < self.start and token.tag == "VVZ" and self.reading.last_form == "finite":
            # "puts a letter into an envelope, seals it"
            return "finite" if after in DETERMINERS or after in PRONOUNS else None
        if before < self.start or token.lower == "close":
            return None
        subject = self.tokens[before]
        leads = after in ("AT0", "DPS", "AVP", "PNX") or self.lower(at + 1) in PATHS
        if token.tag == "NN2":
            # "a dog shakes off water", "opens the door and leaves the room", where the tagger saw
            # several shakes and leaves
            goes_on = previous == "CJC" and self._chained(before)
            if not (goes_on or previous in ("NN1", "NP0")):
                return None
            if after not in ("AVP", "AT0", "DPS", "DT0", "PNX") and not self._one_that(at):
                return None
            if not token.lower.endswith("s") or subject.lower.endswith("s"):
                return None
            self.reading.doubted.add(at)
            return "finite"
        if token.tag == "NN1" or (token.tag == "VVN" and not token.lower.endswith("ed")):
            # "two kids run along the beach", where the tagger saw one run, or what was run
            several = previous == "NN2" and leads
            if token.tag == "NN1" and subject.lemma in PERSONS and after == "PRP":
                several = previous in ("NN0", "NN2")  # "people rush in a subway station"
            if several and self.tagger.may_be_base(token.lower):
                self.reading.doubted.add(at)
                return "finite"
            if token.tag == "NN1":
                return None
        if subject.lemma in FIXED:
            return None
        chained = previous == "CJC" and self._chained(before)
        if token.tag == "VDZ":
            does = previous in NOUNS and (after in NOUNS or after in DETERMINERS)
            return "finite" if does or (chained and after in DETERMINERS) else None
        if token.tag == "VVZ":
            return "finite" if previous in NOUNS or previous in PRONOUNS or chained else None
        if token.tag in ("VVB", "VVI"):
            plural = previous in ("NN2", "NN0", "PNP") or subject.lower in CROWDS
            pair = previous in NOUNS and "and" in [
                t.lower for t in self.tokens[self.start : before]
            ]
            if previous == "VM0" or plural or chained or (pair and leads):
                if not plural:
                    self.reading.doubted.add(at)
                return "finite"
            return None
        if token.tag == "VVD" and (previous in NOUNS or previous in PRONOUNS or chained):
            irregular = not token.lower.endswith("ed")
            if irregular and previous == "NN1" and self.tagger.may_be_base(token.lower):
                return None  # "paper cut out": of one who cuts now it would be "cuts"
            self.reading.doubted.add(at)
            return "finite" if irregular or leads else None
        # "a ship sailed into the harbour", but "a car parked in the yard"
        travels = self.lower(at + 1) in PATHS - {"by", "from", "along", "up"}
        if token.tag == "VVN" and token.lower.endswith("ed") and previous in NOUNS and travels:
            self.reading.doubted.add(at)
            return "finite"
        if token.tag == "VVN" and self.lower(before) in ("get", "gets", "getting"):
            return "finite"
        return None

    def _chained(self, before: int) -> bool:
        """Whether a finite verb stands in the clause before a conjunction."""
        return any(t.tag in FINITE for t in self.tokens[self.start : before])

    def _is_state(self, at: int, form: Form) -> bool:
        lemma = self.lemma(at)
        if lemma in MAKING and form != "passive":
            end = self.noun_phrase(at + 1)
            made = self.tokens[at + 1 : end]
            return any(t.lemma in IMPRESSIONS for t in made)
        if form == "passive" or lemma not in STATES:
            return False
        if lemma == "have":  # having a picnic is done; what has a tail merely has it
            return self.tokens[at].lower != "having"
        if lemma in LIGHTING:
            return self.noun_phrase(at + 1) == at + 1
        after = self.lower(at + 1)
        if lemma in RISING and after in ("up", "down"):
            return False
        if lemma in MOVING_OBJECTS:
            rest = self.tokens[at + 1 : self.end]
            return not any(t.lower in PATHS and t.tag in ("PRP", "AVP") for t in rest)
        return True
