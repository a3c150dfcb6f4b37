"""From a verb on: the particle, object, path and purpose that belong to a motion."""

from __future__ import annotations

from fdream.stages.builtin.grammar.clause import Clause
from fdream.stages.builtin.grammar.reading import NOUNS, Form
from fdream.stages.builtin.grammar.tagger import Token
from fdream.stages.builtin.grammar.wording import participle
from fdream.stages.builtin.grammar.words import (
    AFTER_PARTICLES,
    BECOMING,
    COMPLEMENTS,
    CONNECTIVES,
    DIRECTIONS,
    EVENTS,
    GAZES,
    GOALS,
    OCCASIONS,
    PASSING,
    PATHS,
    PHRASAL,
    PICTURES,
    PLACE_ADVERBS,
    SLIPPING,
    STEPS,
    TIMES,
    TOOLS,
    VEHICLES,
    WAYS,
)


class Walk:
    """The way from a verb over what belongs to it."""

    def __init__(self, clause: Clause, at: int, span: int, form: Form) -> None:
        self.clause = clause
        self.tokens = clause.tokens
        self.verb = at
        self.span = span
        self.form = form
        self.lemma = clause.lemma(at)
        self.keeps_verb = False
        self.particle = ""
        self.others: list[int] = []
        self.places: list[tuple[int, int, str]] = []
        self.first_phrase = True

    def go(self) -> int:
        """Mark everything and return where the motion ends."""
        clause = self.clause
        at = self.verb
        clause.take(at, self.span)
        if self.form == "passive":
            self.tokens[at].still = ""
            at += 1
            clause.take(at, self.span)
            self.lemma, self.keeps_verb = self.tokens[at].lemma, True
        at = self._coordinated(at + 1)
        phrasal = self.lemma in PHRASAL.get(clause.lower(at), ())
        if phrasal and clause.noun_phrase(at + 1) > at + 1:
            clause.take(at, self.span)
            at += 1
        at = self._directions(at)
        becoming = self.lemma in BECOMING and clause.tag(at) in ("AJ0", "AJC", "VVN")
        end = clause.noun_phrase(at) if becoming else clause.complement(at)
        if end > at:
            self.keeps_verb = True
            for index in range(at, end):
                clause.take(index, self.span)
            at = self._directions(self._late_particle(end))
        elif becoming and end == at:
            clause.take(at, self.span, still="")
            at = self._directions(at + 1)
        at = self._tail(at)
        self._still_verb()
        return at

    def _late_particle(self, at: int) -> int:
        """Take "on" of "puts makeup on in front of a mirror"."""
        clause = self.clause
        late = self.lemma in PHRASAL.get(clause.lower(at), ())
        after = clause.tag(at + 1)
        if not late or after not in AFTER_PARTICLES or after == "PRF":
            return at
        clause.take(at, self.span)
        return at + 1

    def _coordinated(self, at: int) -> int:
        """Take "tapping" of "swiping and tapping", where nothing lies between."""
        clause = self.clause
        while clause.lower(at) in ("and", "or", "&") and clause.verb_form(at + 1) == self.form:
            if clause.lower(at + 1)[-3:] != clause.lower(self.verb)[-3:] and self.form != "finite":
                break
            clause.take(at, self.span)
            clause.take(at + 1, self.span)
            self.others += [at, at + 1]
            at += 2
        return at

    def _directions(self, at: int) -> int:
        """Take particles, directions and adverbs that no noun phrase follows."""
        clause = self.clause
        while at < clause.end:
            token = self.tokens[at]
            adverb = token.tag in ("AV0", "AVP") and token.lower not in CONNECTIVES
            leads = token.lower in DIRECTIONS or token.lower in PLACE_ADVERBS
            if token.lower in ("and", "or") and clause.lower(at + 1) in DIRECTIONS:
                leads = clause.lower(at - 1) in DIRECTIONS  # "up and down"
            if leads or token.tag == "AVP":
                after = clause.tag(at + 1)
                before_object = token.tag == "AVP" and after in ("AT0", "DPS")
                leads = after in AFTER_PARTICLES or (before_object and token.lower not in PATHS)
                leads = leads and not (after == "VVG" and token.tag == "PRP")
                adverb, leads = False, leads and clause.lower(at + 1) != "of"
            if token.role == "still" or not (adverb or leads or token.role == "tempo"):
                break
            if token.role == "tempo":
                token.moving = self.span
            elif token.lower in PLACE_ADVERBS:
                clause.take(at, self.span)
            else:
                clause.take(at, self.span, still="")
                if token.lower in PATHS or token.lower in ("away", "off", "out"):
                    self.particle = self.particle or token.lower
            at += 1
        return at

    def _tail(self, at: int) -> int:
        """Go on over prepositional phrases, purposes and adverbs to the end of the motion."""
        clause = self.clause
        last = self.verb
        while at < clause.end:
            token = self.tokens[at]
            if token.role is not None:
                if token.role != "tempo":
                    break
                token.moving = self.span
                at += 1
                continue
            if token.tag == "TO0" and clause.tag(at + 1) in ("VVI", "VVB", "VBI", "VHI", "NN1"):
                return self._purpose(at)
            if self._leads_to_gerund(at) and self._tight(at):
                return self._gerund(at)
            if token.tag in ("PRP", "PRF", "AVP") or token.lower in STEPS:
                after, taken = self._preposition(at, adjacent=last + 1 >= at or self._tight(at))
                if after == at:
                    break
                self.first_phrase = self.first_phrase and token.lower == "with"
                last = after if taken else last
                at = after
                continue
            if token.tag in ("AV0", "AVP") and token.lower not in CONNECTIVES:
                if clause.verb_form(at + 1) is not None:
                    break
                after = self._directions(at)
                if after == at:
                    break
                at = after
                continue
            break
        return at

    def _tight(self, at: int) -> bool:
        """Whether everything between the verb and ``at`` belongs to this motion."""
        return all(t.moving == self.span for t in self.tokens[self.verb : at])

    def _preposition(self, at: int, *, adjacent: bool) -> tuple[int, bool]:
        """Take or pass over one prepositional phrase.

        Returns:
            Where it ends (``at`` itself: the motion ends here), and whether it was taken.
        """
        clause = self.clause
        word = self.tokens[at].lower
        inner = at + 1
        while clause.lower(inner) in STEPS or clause.lower(inner) in ("of", "front", "top"):
            inner += 1  # "out of", "from behind", "up to"
        end = clause.complement(inner)
        if end == inner:
            if word in ("by", "after", "before", "while", "using"):
                return at, False
            return (at, False) if clause.verb_form(inner) is not None else (inner, False)
        last = self.tokens[end - 1]
        if self._follows_absolute(word, end):
            return at, False
        if not self._belongs(word, inner, last, adjacent):
            return end, False
        to_camera = last.lemma in ("camera", "lens", "viewer")
        way = last.lower in WAYS.get(word, DIRECTIONS) or last.lower in DIRECTIONS or to_camera
        for index in range(at, end):
            clause.take(index, self.span, still="" if way else None)
        if not way:
            self._still_preposition(at, inner)
        return end, True

    def _follows_absolute(self, word: str, end: int) -> bool:
        """Whether ``with`` opens a clause of its own: "with smoke billowing out"."""
        clause = self.clause
        return word == "with" and clause.lower(end) != "using" and clause.verb_form(end) is not None

    def _belongs(self, word: str, inner: int, last: Token, adjacent: bool) -> bool:
        """Whether a phrase says how or where to, and not where; ``last`` is its noun."""
        if last.lower in WAYS.get(word, ()):
            return last.lower not in ("air", "line", "lines") or adjacent
        if word in ("on", "in", "at") and last.lemma in TIMES:
            return False
        if word == "by" and self.form != "passive":
            return self.lemma in PASSING and self.tokens[inner].tag != "NP0"
        if word == "over" and self.lemma in EVENTS:
            return False
        if word in PATHS:
            return word != "from" or adjacent or self.lemma in ("take", "pick", "get")
        if word == "to":
            return True
        if word == "between":
            return self.lemma in PASSING
        if word in ("under", "behind", "above", "beneath", "below"):
            return self.lemma in SLIPPING
        if word in ("with", "as", "like"):
            return adjacent
        if word in ("for", "about"):
            return adjacent and last.lemma not in OCCASIONS
        if word == "on" and last.lemma in TOOLS:
            return adjacent
        if word in ("on", "in", "at", "upon", "against"):
            if word == "at" and self.lemma in GAZES:
                return True
            picture = last.lemma in PICTURES or self.tokens[inner - 1].lower == "of"
            return adjacent and self.first_phrase and self.lemma in GOALS and not picture
        return False

    def _still_preposition(self, at: int, inner: int) -> None:
        """Give a path its place: "into the tunnel" is "in the tunnel"."""
        word = self.tokens[at].lower
        if word in COMPLEMENTS or word in ("at", "on", "in"):
            self.keeps_verb = True
            return
        if self.keeps_verb or word not in STEPS:
            return
        place = STEPS[word]
        if word == "from" and self.particle == "off":
            place = "on"
        self.places.append((at, inner, place))

    def _purpose(self, at: int) -> int:
        """Take "to drink water" of "bending down to drink water"."""
        clause = self.clause
        clause.take(at, self.span, still="")
        inner = Walk(clause, at + 1, self.span, "finite")
        inner.keeps_verb = True
        end = inner.go()
        if self.keeps_verb or any(t.tag in NOUNS for t in self.tokens[at:end]):
            self.keeps_verb = True
            for index in range(at, end):
                self.tokens[index].still = None
        else:
            for index in range(at, end):
                if self.tokens[index].moving == self.span:
                    self.tokens[index].still = ""
        return end

    def _leads_to_gerund(self, at: int) -> bool:
        """Whether what follows is done: "in riding a bicycle", not "on cutting board"."""
        clause = self.clause
        thing = clause.tag(at + 2) in NOUNS and self.tokens[at].lower in ("on", "in", "at", "into")
        return self.tokens[at].tag == "PRP" and clause.tag(at + 1) == "VVG" and not thing

    def _gerund(self, at: int) -> int:
        """Take "in riding a bicycle" of "assisting her son in riding a bicycle"."""
        self.clause.take(at, self.span)
        self.keeps_verb = True
        inner = Walk(self.clause, at + 1, self.span, "participle")
        inner.keeps_verb = True
        return inner.go()

    def _still_verb(self) -> None:
        """Decide what of the verb stays in the picture."""
        token = self.tokens[self.verb]
        if self.form == "passive":
            return
        if not self.keeps_verb:
            for at, inner, place in self.places:
                self.tokens[at].still = place
                for index in range(at + 1, inner):
                    self.tokens[index].still = ""
        if self.lemma in VEHICLES or (self.lemma == "ride" and self._rides_wave()):
            one, several, noun = VEHICLES["surf" if self.lemma == "ride" else self.lemma]
            named = any(t.lemma == noun or t.lower == noun for t in self.tokens)
            subject = self.tokens[self.clause.before(self.verb)]
            token.still = "" if named else several if subject.tag == "NN2" else one
            return
        if not self.keeps_verb:
            for index in (self.verb, *self.others):
                self.tokens[index].still = ""
        elif self.form == "finite" and self.clause.tag(self.verb - 1) not in ("TO0", "PNP"):
            token.still = participle(token.lemma, token.lower)

    def _rides_wave(self) -> bool:
        wave = [
            i
            for i in range(self.verb, min(self.verb + 4, self.clause.end))
            if self.tokens[i].lemma == "wave"
        ]
        for index in range(self.verb + 1, wave[0] + 1 if wave else self.verb):
            self.tokens[index].still = ""
        return bool(wave)
