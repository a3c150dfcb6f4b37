"""Train the CLIP-style pair: a text and an image encoder that agree on what a picture shows.

Captions are few and repeat, so a batch holds several pictures with one caption: all of them are
positives for it (multi-positive contrastive loss), where the plain loss would push equals apart.

Source: Radford et al., arXiv 2103.00020 (the pair and its symmetric loss); Khosla et al.,
arXiv 2004.11362 (several positives).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.clip.configuration_clip import CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import (
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

from fdream.core.device import DeviceManager
from fdream.core.report import Reporter
from fdream.data.spriteworld.captions import vocabulary
from fdream.data.spriteworld.chance import Chance
from fdream.data.spriteworld.world import Still
from fdream.models.bundle import Bundle
from fdream.models.word_tokenizer import word_tokenizer
from fdream.stages.builtin.condition_tokens import Conventions, clip_pixels
from fdream.stages.builtin.pixels import to_unit
from fdream.training.objective import Batch, Drawing, Objective, ObjectiveOptions, Share
from fdream.training.pictures import StillSource, contact_sheet


class ContrastiveOptions(ObjectiveOptions):
    width: int = 128
    text_layers: int = 2
    image_layers: int = 3
    heads: int = 4
    max_words: int = 24
    image_size: int = 64
    """Pixels; the image encoder reads a reduced copy."""
    image_patch: int = 8


@dataclass(frozen=True)
class PairBatch(Batch):
    """Captions and the pictures they belong to.

    Attributes:
        ids: (B, L) token ids.
        pictures: (B, 3, H, W) in [-1, 1].
        same: (B, B) bool, whether a caption and a picture belong together.
    """

    ids: Tensor
    pictures: Tensor
    same: Tensor


class ContrastiveObjective(Objective[PairBatch]):
    """Bring captions and their pictures together, and both away from the others of the batch."""

    Options = ContrastiveOptions

    def __init__(
        self,
        options: ContrastiveOptions,
        stills: StillSource,
        base: Bundle,
        device: DeviceManager,
    ) -> None:
        self.options = options
        self.stills = stills
        self.device = device
        self.base = base
        self.tokenizer = word_tokenizer(vocabulary(stills.options.sprites), options.max_words)
        shape: dict[str, Any] = {
            "hidden_size": options.width,
            "intermediate_size": 4 * options.width,
            "num_attention_heads": options.heads,
            "projection_dim": options.width,
            "hidden_act": "gelu",
        }
        self.text_encoder = CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=len(self.tokenizer),
                max_position_embeddings=options.max_words,
                num_hidden_layers=options.text_layers,
                bos_token_id=self.tokenizer.bos_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
                **shape,
            )
        )
        self.image_encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                image_size=options.image_size,
                patch_size=options.image_patch,
                num_hidden_layers=options.image_layers,
                **shape,
            )
        )
        self.agreement = Agreement()
        self.modules = {
            "text_encoder": self.text_encoder,
            "image_encoder": self.image_encoder,
            "agreement": self.agreement,
        }

    def prepare(self, cache: Path, share: Share, reporter: Reporter) -> None:
        self.held_out = self.stills.held_out()

    def draw(
        self, step: int, batch_size: int, share: Share, generator: torch.Generator
    ) -> PairBatch:
        indices = range(step * batch_size, (step + 1) * batch_size)
        stills = [self.stills.draw(i) for i in indices]
        captions = [
            _wording(still, Chance(f"wording/{i}"))
            for still, i in zip(stills, indices, strict=True)
        ]
        # What two captions mean decides whether they are equals: wordings of one meaning must not
        # repel.
        meanings = [_meaning(still) for still in stills]
        same = torch.tensor([[a == b for b in meanings] for a in meanings])
        names = [f"still {i}" for i in indices]
        pictures = to_unit(np.stack([still.frame for still in stills]))
        return PairBatch(names, self._ids(captions), pictures, same)

    def loss(self, batch: PairBatch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self._logits(batch.ids, batch.pictures)
        loss = self.agreement.loss(logits, batch.same)
        right = batch.same.gather(1, logits.argmax(1, keepdim=True)).float().mean()
        return loss, {"matched": right, "scale": self.agreement.scale.detach().exp()}

    def validate(self) -> dict[str, float]:
        captions = [still.pair.appearance for still in self.held_out]
        logits = self._compare(captions, np.stack([s.frame for s in self.held_out]))
        things = np.array([(s.facts.thing, s.facts.scene) for s in self.held_out])
        best = logits.argmax(1).cpu().numpy()
        return {
            "object_matched": float((things[best, 0] == things[:, 0]).mean()),
            "scene_matched": float((things[best, 1] == things[:, 1]).mean()),
        }

    def drawing(self) -> Drawing:
        captions = [still.pair.appearance for still in self.held_out[:8]]
        pictures = np.stack([s.frame for s in self.held_out])
        found = self._compare(captions, pictures).argmax(1).cpu()
        return Drawing(contact_sheet([to_unit(pictures[:8]), to_unit(pictures[found.numpy()])]))

    def components(self) -> Mapping[str, Any]:
        carried = {name: self.base.folder(name) for name in self.base.component_names}
        return {
            **carried,
            "tokenizer": self.tokenizer,
            "text_encoder": self.text_encoder,
            "image_encoder": self.image_encoder,
        }

    def information(self) -> Mapping[str, Any]:
        return {**self.base.information, "name": "contrastive"}

    def _compare(self, captions: list[str], frames: np.ndarray) -> Tensor:
        device = self.device.torch_device
        return self._logits(self._ids(captions).to(device), to_unit(frames).to(device))

    def _ids(self, captions: list[str]) -> Tensor:
        tokens = self.tokenizer(
            captions, padding="max_length", truncation=True, return_tensors="pt"
        )
        ids: Tensor = tokens["input_ids"]
        return ids

    def _logits(self, ids: Tensor, pictures: Tensor) -> Tensor:
        """Return scaled cosine similarities, (captions, pictures)."""
        text = self.text_encoder(input_ids=ids).text_embeds
        pixels = clip_pixels(pictures, self.options.image_size, Conventions())
        image = self.image_encoder(pixel_values=pixels).image_embeds
        return self.agreement(F.normalize(text, dim=-1) @ F.normalize(image, dim=-1).T)


class Agreement(nn.Module):
    """CLIP's learned temperature and the symmetric loss with several positives."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.6593))  # log(1 / 0.07), CLIP's start

    def forward(self, similarities: Tensor) -> Tensor:
        return similarities * self.scale.exp().clamp(max=100)

    def loss(self, logits: Tensor, same: Tensor) -> Tensor:
        """Cross entropy to the uniform distribution over positives, both ways.

        Args:
            logits: (N, N), captions by pictures, in the same order.
            same: (N, N) bool, symmetric, True where caption and picture belong together.

        Returns:
            A scalar: the mean of both directions.

        Source: Khosla et al., arXiv 2004.11362 (several positives), applied to CLIP's two
        directions.
        """
        wanted = same.float() / same.float().sum(1, keepdim=True)
        both = F.log_softmax(logits, 1) * wanted + F.log_softmax(logits.T, 1) * wanted
        return -0.5 * both.sum(1).mean()


def _wording(still: Still, chance: Chance) -> str:
    return still.caption if chance.happens(0.5) else still.pair.appearance


def _meaning(still: Still) -> tuple[object, ...]:
    """Return what a still shows; motion words hardly show in it, so they make no difference."""
    return still.facts.thing, still.facts.scene, still.facts.on_board
