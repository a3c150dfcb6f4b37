"""What a recipe may say of the video objective."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fdream.models.spatial_adapter import ATTENTION_LAYERS
from fdream.training.objective import ObjectiveOptions

Share = Annotated[float, Field(ge=0, le=1)]


class LoraOptions(BaseModel):
    """A low-rank change of the spatial network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(gt=0)] | None = None
    """Scale times rank; the rank when not set."""
    layers: tuple[str, ...] = ATTENTION_LAYERS
    """Endings of the names of the layers that are changed."""


class DomainAdapterOptions(LoraOptions):
    """AnimateDiff's domain adapter: learns how the clips look, so that motion need not."""

    batches: Annotated[int, Field(ge=1)] = 1000
    """It learns alone for so many batches, of single frames; then it stays as it is."""


class VideoOptions(ObjectiveOptions):
    clips: Annotated[int, Field(ge=1)] = 6000
    """SpriteWorld: different clips; their latents and flow are computed once."""
    frames: Annotated[int, Field(ge=2)] = 8
    """SpriteWorld: frames of a sample, taken from the clip with the stride that spans it."""
    flow_weight: Annotated[float, Field(ge=0)] = 0.1
    changed_weight: Annotated[float, Field(ge=0)] = 0.0
    """How much more a cell counts in the denoising loss that no longer shows what frame 0 shows
    there; 0: all alike."""
    text_dropout: Share = 0.15
    """Share of samples that lose both captions, so that guidance means something."""
    image_dropout: Share = 0.1
    """Share of samples that lose their image tokens; the first frame's latent and pixels stay."""
    both_dropout: Share = 0.0
    """Share of samples that lose captions and image tokens, beside those that lose one of them."""
    density: str = "logit_normal(0.2,1.2)"
    """Of t. Ours: a strong condition leaves motion to be decided at high noise."""
    zero_terminal_snr: bool | None = None
    """Train on a table that ends without signal; when not set: where the base predicts v."""
    time_noise: Annotated[float, Field(ge=0)] = 0.0
    """TimeNoise: most noise on the first frame, in units of a latent; 0 is off."""
    image_share: Share = 0.0
    """Share of batches that are single frames and train what is trained of the spatial network."""
    spatial: Literal["frozen", "lora", "full"] = "frozen"
    lora: LoraOptions = LoraOptions()
    """With ``spatial = "lora"``."""
    domain_adapter: DomainAdapterOptions | None = None
    image_encoder: str | None = None
    """A CLIP model for bases that have none: a folder, or OWNER/NAME on the Hub."""
    motion_text_encoder: str | None = None
    """A T5 model for bases that have none, likewise; it stays frozen."""
    vae: str | None = None
    """An AutoencoderKL in place of the base's own, likewise."""
    motion: dict[str, Any] = Field(default_factory=dict)
    """Options of ``MotionModules`` by name."""
    motion_text_layers: Annotated[int, Field(ge=1)] = 2
    """Of a motion encoder that begins with the run."""
    sheet_steps: Annotated[int, Field(ge=1)] = 15
    sheet_guidance: Annotated[float, Field(ge=0)] = 2.0
    sheet_clips: Annotated[int, Field(ge=1)] = 6
    """Held-out clips that are drawn to look at."""

    @property
    def teaches_space(self) -> bool:
        """Whether single frames teach anything."""
        return self.spatial != "frozen"
