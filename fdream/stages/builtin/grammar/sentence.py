"""HanTa's tags of a sentence, without the work that it does anew for every word.

HanTa's loop over a sentence asks all 64 tags for every word and works out strange words each time
they come. Here a word is worked out once, by HanTa, and only its own few tags are asked. The model,
the sums, the pruning and which of two equals wins are HanTa's, so the tags are the same; a test
holds the two to each other.

Source: HanTa 1.2.1, ``HanoverTagger.tag_sent_viterbi``, after Wartena, "A Probabilistic
Morphology Model for German Lemmatization" (KONVENS 2019).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

# States and tags are HanTa's numbers; these are fixed in it, and are no words' tags.
_BEFORE: Final = (0, 1)
_END: Final = 2
_UNKNOWN: Final = 3

_BEAM: Final = 5
"""States that are followed from word to word, and all that are almost as likely as the last."""

_CUTOFF: Final = 5
"""Tags of a guessed word that are so much less likely than its best are left out."""

_State = tuple[int, int]


def sentence_tags(model: Any, words: list[str]) -> list[str]:
    """Tag the words of a sentence, as ``model.tag_sent(words, taglevel=0)`` does.

    Args:
        model: a ``HanoverTagger``.
        words: at least one.
    """
    follows: dict[_State, dict[int, float]] = model.LP_trans_word
    row: dict[_State, float] = {_BEFORE: 0.0}
    came_from: list[dict[_State, _State]] = []
    for index, word in enumerate(words):
        readings = _readings(model, word, cased=index > 0)
        least = sorted(row.values(), reverse=True)[_BEAM] - 1 if len(row) > _BEAM else None
        reached: dict[_State, float] = {}
        origins: dict[_State, _State] = {}
        for state, so_far in row.items():
            if least is not None and so_far < least:
                continue
            last, following = state[1], follows[state]
            for tag, likelihood in readings:
                total = so_far + following[tag] + likelihood
                new = (last, tag)
                if new not in reached or total > reached[new]:
                    reached[new] = total
                    origins[new] = state
        row = reached
        came_from.append(origins)
    state = max(row, key=lambda state: row[state] + follows[state][_END])
    tags: list[str] = []
    for origins in reversed(came_from):
        tags.append(model.int2tag[state[1]])
        state = origins[state]
    return tags[::-1]


@lru_cache(maxsize=65536)
def _readings(model: Any, word: str, *, cased: bool) -> tuple[tuple[int, float], ...]:
    """Return the tags that a word may have, each with log p(word | tag), in the model's order.

    Args:
        model: a ``HanoverTagger``.
        word: as written.
        cased: whether a capital letter tells anything; at a sentence's beginning it does not.
    """
    known = dict(model._tag_word(word, cutoff=_CUTOFF, casesensitive=cased, conditional=True))
    tags = [tag for tag in next(iter(model.LP_trans_word.values())) if tag != _END]
    if not known or known.keys() == {_UNKNOWN}:
        return tuple((tag, 0.0) for tag in tags)  # a word that says nothing may be anything
    # The order decides between equals: the tag that is met first stays.
    return tuple((tag, float(known[tag])) for tag in tags if tag in known)
