"""Short names for models that are often asked for, and what to know before fetching one.

Sizes are those of the files that are fetched, memory is what the weights take in half precision,
both rounded and from the models' own pages; licences are named as their pages name them.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal

from fdream.core.fit import Demand

Kind = Literal["prior", "generator"]
_FILES: Final = (".safetensors", ".ckpt")


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model on the Hub.

    Attributes:
        name: what the user may write in place of the repository.
        kind: which stage it serves.
        repository: on the Hub.
        licence: of the weights.
        size_gb: to be fetched, in units of 10^9 bytes.
        memory_gb: of the weights in half precision.
        largest_gb: of those of the largest component.
        good_at: one line for people.
        steps: sampling steps where the pipeline's own default does not fit the model.
        guidance: likewise.
    """

    name: str
    kind: Kind
    repository: str
    licence: str
    size_gb: float
    memory_gb: float
    largest_gb: float
    good_at: str
    steps: int | None = None
    guidance: float | None = None

    @property
    def demand(self) -> Demand:
        """What its weights need of memory, before any file of it is here; no work space."""
        component = int(self.largest_gb * 1e9 / 2)
        # Large networks have some twenty blocks of some ten layers.
        return Demand(
            weights=int(self.memory_gb * 1e9 / 2),
            component=component,
            block=component // 20,
            layer=component // 200,
            work=0,
            work_tiled=0,
            offloads=frozenset({"none", "model", "group", "sequential"}),
        )


MODELS: Final = (
    KnownModel(
        "sdxl-turbo",
        "prior",
        "stabilityai/sdxl-turbo",
        "sai-nc-community",
        6.9,
        6.9,
        5.1,
        "512x512 pictures in one to four steps; not for commercial use",
        steps=2,
        guidance=0.0,
    ),
    KnownModel(
        "sdxl",
        "prior",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "openrail++",
        6.9,
        6.9,
        5.1,
        "1024x1024 pictures of any kind",
    ),
    KnownModel(
        "sd15",
        "prior",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "creativeml-openrail-m",
        2.7,
        2.7,
        1.7,
        "512x512 pictures on small GPUs; most fine-tunes start here",
    ),
    KnownModel(
        "flux-schnell",
        "prior",
        "black-forest-labs/FLUX.1-schnell",
        "apache-2.0",
        33.7,
        33.7,
        23.8,
        "1024x1024 pictures in four steps, exact about the caption",
        steps=4,
        guidance=0.0,
    ),
    KnownModel(
        "svd",
        "generator",
        "stabilityai/stable-video-diffusion-img2vid-xt",
        "stable-video-diffusion-community",
        4.5,
        4.5,
        3.0,
        "25 frames of gentle motion from a picture; takes no caption",
    ),
    KnownModel(
        "wan2.2-5b",
        "generator",
        "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        "apache-2.0",
        34.0,
        24.0,
        11.4,
        "1280x704 at 24 fps, motion as the caption says",
    ),
    KnownModel(
        "ltx",
        "generator",
        "Lightricks/LTX-Video",
        "ltx-video-open-weights",
        28.0,
        14.0,
        9.5,
        "the quickest of the large ones",
    ),
    KnownModel(
        "cogvideox-5b",
        "generator",
        "THUDM/CogVideoX-5b-I2V",
        "cogvideox",
        21.6,
        21.6,
        11.2,
        "49 frames of 720x480 at 8 fps, motion as the caption says",
    ),
)


def known(source: str) -> KnownModel | None:
    """Return the model of a short name or of a repository; None where it is another."""
    return next((m for m in MODELS if source in (m.name, m.repository)), None)


def short_names(kind: Kind) -> tuple[str, ...]:
    """Return the short names of models that serve a stage."""
    return tuple(model.name for model in MODELS if model.kind == kind)


def misnamed(source: str, kind: Kind | None = None) -> str | None:
    """Say why a name cannot be meant, before anything is sought or fetched for it.

    Args:
        source: as the user wrote it: a short name, a repository, a folder or a file.
        kind: the stage it is for; None where either will do.

    Returns:
        What is wrong and what may be meant; None where nothing is.
    """
    found = known(source)
    if found is not None:
        if kind in (None, found.kind):
            return None
        does = "draws images" if found.kind == "prior" else "animates images"
        return (
            f"{source} {does}, so it is for --{found.kind}; short names for --{kind} are "
            f"{', '.join(short_names(kind))}."
        )
    # Repositories have an owner, and what looks like a path is one.
    is_path = source.startswith((".", "~")) or Path(source).suffix in _FILES
    if "/" in source or is_path or (source and Path(source).exists()):
        return None
    names = [model.name for model in MODELS if kind in (None, model.kind)]
    near = get_close_matches(source, names, n=1)
    meant = f"did you mean {near[0]}?" if near else f"short names are {', '.join(names)}."
    return f"{source!r} is no short name, no folder here and no owner/name of the Hub; {meant}"
