"""What the grammar makes of a caption, and the sets of tags that it reads by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from fdream.stages.builtin.grammar.tagger import Token

NOUNS: Final = frozenset({"NN0", "NN1", "NN2", "NP0", "UNC", "ZZ0"})
DETERMINERS: Final = frozenset({"AT0", "DPS", "DT0", "CRD", "ORD"})
ADJECTIVES: Final = frozenset({"AJ0", "AJC", "AJS"})
PRONOUNS: Final = frozenset({"PNP", "PNX", "PNI"})
BE: Final = frozenset({"VBZ", "VBB", "VBD"})
PARTICIPLES: Final = frozenset({"VVG", "VHG", "VDG"})
FINITE: Final = frozenset({"VVB", "VVI", "VVZ", "VVD", "VDZ"})

Form = Literal["participle", "finite", "passive", "attribute"]


@dataclass(slots=True)
class Reading:
    """What the grammar makes of a caption.

    Attributes:
        tokens: with ``moving`` and ``still`` filled in.
        doubted: tokens where a decision went against, or without, the tagger.
        spans: how many motion spans there are.
        main: the token of the caption's main thing, once met.
        main_lemma: its dictionary form, else empty.
        last_form: of the last motion in the clauses before.
    """

    tokens: list[Token]
    doubted: set[int] = field(default_factory=set)
    spans: int = 0
    main: int = -1
    main_lemma: str = ""
    last_form: Form | None = None

    def open_span(self) -> int:
        """Return the number of a new motion span."""
        self.spans += 1
        return self.spans

    def meet(self, at: int) -> None:
        """Remember the caption's main thing: it goes without saying in the motion half."""
        self.main, self.main_lemma = at, self.tokens[at].lemma

    def forget(self) -> None:
        """Forget the main thing: what came so far was no more than a place and a date."""
        self.main, self.main_lemma = -1, ""
