"""What a measurement says of its sets: the protocol that figures share, warnings, facts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

from fdream.core.errors import CheckFailed
from fdream.core.eval_recipe import EvalRecipe
from fdream.evals.clips import ClipRule
from fdream.evals.measuring import Measured
from fdream.evals.results import SetFacts
from fdream.pipelines.eval_plan import GENERATED


def shared_protocol(
    recipe: EvalRecipe, sides: tuple[ClipRule, ClipRule], real: Measured | None, fake: Measured
) -> dict[str, str]:
    """Say what all figures of a run share."""
    said = dict(sides[1].protocol())
    sets = {"generated": fake} if real is None else {"real": real, "generated": fake}
    starts = {"real": sides[0], "generated": sides[1]}
    said["start"] = "; ".join(f"{title} {starts[title].protocol()['start']}" for title in sets)
    said["codec"] = "; ".join(f"{t} {'+'.join(sorted(s.codecs))}" for t, s in sets.items())
    said["rate"] = "; ".join(f"{t} {_one(s.fps)} fps" for t, s in sets.items())
    if recipe.clips.native:
        said["native"] = "; ".join(f"{t} {_one(s.sizes)}" for t, s in sets.items())
    said["conditioning"] = {
        "unknown": "not said",
        "none": "no frame of the reference set",
        "reference": "first frames of the reference set",
    }[_conditioning(recipe)]
    said["repeats"] = "1"
    return said


def _conditioning(recipe: EvalRecipe) -> str:
    if recipe.sets.fake == GENERATED:
        return "reference" if recipe.generated.from_reference else "none"
    return recipe.sets.conditioning


def _one(counted: Counter[str]) -> str:
    return next(iter(counted)) if len(counted) == 1 else "mixed"


def set_warnings(
    recipe: EvalRecipe, sides: tuple[ClipRule, ClipRule], real: Measured | None, fake: Measured
) -> list[str]:
    """Say what about the sets moves figures, or makes them of fewer videos."""
    warnings = []
    sets = [("generated", fake)] + ([] if real is None else [("reference", real)])
    for title, measured in sets:
        count, asked = len(measured.keys), recipe.sets.num
        if asked is not None and count < asked:
            warnings.append(
                f"{title} set: {asked} videos were asked for and {count} could be measured; none "
                "is counted twice, so the figures are of fewer."
            )
        if measured.rejected:
            first = measured.rejected[0]
            warnings.append(
                f"{title} set: {len(measured.rejected)} videos left out, the first because "
                f"{first.reason.rstrip('.')} (all are listed in the JSON; --strict refuses)."
            )
    if real is None:
        return warnings
    if real.content_hash() == fake.content_hash():
        warnings.append(
            "both sets hold the same videos, from the same windows: distances between them are 0."
            if sides[0] == sides[1]
            else "both sets hold the same videos, from other windows; distances between them are "
            "not 0 (-s clips.real_start=first makes them so)."
        )
    for what, before, after in (("codec", real.codecs, fake.codecs), ("rate", real.fps, fake.fps)):
        if before.keys() != after.keys() and recipe.clips.fps is None:
            warnings.append(
                f"{what}: reference videos have {_listed(before)}, generated ones "
                f"{_listed(after)}; the difference alone moves figures"
                + ("; -s clips.fps=8 takes both at one rate." if what == "rate" else ".")
            )
    return warnings


def _listed(counted: Counter[str]) -> str:
    most = [name for name, _ in counted.most_common(3)]
    return ", ".join(most) + (" and others" if len(counted) > 3 else "")


def refuse_rejected(real: Measured | None, fake: Measured) -> None:
    """Refuse sets of which a video could not be measured.

    Raises:
        CheckFailed: names every such video.
    """
    rejected = [*fake.rejected, *([] if real is None else real.rejected)]
    if rejected:
        listed = "\n".join(f"  {found.reason}" for found in rejected)
        raise CheckFailed(f"eval --strict: {len(rejected)} videos cannot be measured:\n{listed}")


def set_facts(source: str, measured: Measured) -> SetFacts:
    """Return what a result keeps of a set; of where it lies, the last name alone."""
    keys = hashlib.sha256(json.dumps(measured.keys).encode()).hexdigest()
    return SetFacts(
        source=Path(source).name,
        count=len(measured.keys),
        content=measured.content_hash(),
        keys=keys,
        fps=measured.fps,
        codecs=measured.codecs,
        sizes=measured.sizes,
        rejected={found.key: found.reason for found in measured.rejected},
    )
