"""The motion caption: its T5 tokens, and how the temporal layers read them.

Spatial layers read the appearance caption through the base's own text encoder; temporal layers read
the motion caption through T5. The encoder is transformers' `T5EncoderModel`, whole and frozen where
it comes pretrained.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel


def fresh_motion_encoder(
    vocabulary: int, width: int = 128, layers: int = 2, heads: int = 4
) -> T5EncoderModel:
    """A small T5 encoder with random weights, which trains with the motion modules.

    Args:
        vocabulary: number of token ids; 0 is padding and 1 the end.
        width: Dm of its tokens.
        layers: how many.
        heads: N, dividing width.

    Returns:
        The encoder in T5 v1.1's form (gated GELU).

    Ours: pocket has no pretrained T5, so its motion encoder learns inside the video stage.
    """
    config = T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=width // heads,
        d_ff=2 * width,
        num_layers=layers,
        num_heads=heads,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        is_encoder_decoder=False,
        use_cache=False,
    )
    return T5EncoderModel(config)


def with_empty_token(
    empty: Tensor, batch: int, text: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Put a learned token before the motion text, always visible.

    It stands for "no caption", and keeps the softmax defined where every token is padding.

    Args:
        empty: (1, 1, Dm), the learned token.
        batch: B.
        text: (B, Lm, Dm), or None for no caption.
        mask: (B, Lm) bool, true where a token counts; None means all do.

    Returns:
        (B, 1 + Lm, Dm) tokens, and their mask (B, 1, 1, 1 + Lm) as attention takes it.
    """
    tokens = empty.expand(batch, -1, -1)
    visible = torch.ones((batch, 1), dtype=torch.bool, device=empty.device)
    if text is not None:
        given = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device)
        given = given if mask is None else mask.bool()
        tokens = torch.cat([tokens.to(text.dtype), text], dim=1)
        visible = torch.cat([visible, given], dim=1)
    return tokens, visible[:, None, None]


class MotionCrossAttention(nn.Module):
    """Attention of all frames and positions to the tokens of the motion caption.

    Args:
        inner: width of the queries.
        heads: N, dividing inner.
        motion_width: Dm of the motion text.
    """

    def __init__(self, inner: int, heads: int, motion_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(inner)
        self.norm_text = nn.LayerNorm(motion_width)
        self.to_q = nn.Linear(inner, inner, bias=False)
        self.to_kv = nn.Linear(motion_width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, inner)

    def project(self, motion_text: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the caption, once per clip: (B, Lm, Dm) to two (B, N, Lm, d)."""
        keys, values = rearrange(
            self.to_kv(self.norm_text(motion_text)),
            "b l (two n d) -> two b n l d",
            two=2,
            n=self.heads,
        )
        return keys, values

    def forward(self, tokens: Tensor, keys: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """(B, F, S, inner) tokens, keys and values as `project` gives them, to the same shape."""
        num_frames = tokens.shape[1]
        q = rearrange(self.to_q(self.norm(tokens)), "b f s (n d) -> b n (f s) d", n=self.heads)
        seen = F.scaled_dot_product_attention(q, *keys, attn_mask=mask)
        return self.out(rearrange(seen, "b n (f s) d -> b f s (n d)", f=num_frames))
