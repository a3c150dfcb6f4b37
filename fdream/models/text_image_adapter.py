"""The text-image adapter: text tokens learn what the first frame shows before the base reads them.

"T2I adapter" of the paper joins text and image embeddings; it is not Tencent's T2I-Adapter.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from fdream.models.zero_init import zeroed


class CrossAttention(nn.Module):
    """Pre-norm cross attention of one token sequence onto another.

    Args:
        width: D of the queries.
        context_width: width of what is attended to.
        inner: width of queries, keys and values.
        heads: N, dividing inner.
        silent: whether the last layer starts at zero.
    """

    def __init__(
        self, width: int, context_width: int, inner: int, heads: int, *, silent: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(context_width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(context_width, 2 * inner, bias=False)
        out = nn.Linear(inner, width)
        self.to_out = zeroed(out) if silent else out

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """(B, L, D) tokens plus what they see in (B, M, context_width)."""
        q = rearrange(self.to_q(self.norm(tokens)), "b l (n d) -> b n l d", n=self.heads)
        keys, values = rearrange(
            self.to_kv(self.norm_context(context)),
            "b l (two n d) -> two b n l d",
            two=2,
            n=self.heads,
        )
        seen = F.scaled_dot_product_attention(q, keys, values)
        return tokens + self.to_out(rearrange(seen, "b n l d -> b l (n d)"))


class ImageResampler(nn.Module):
    """A few learned queries that gather all image tokens.

    Args:
        image_width: Di of the image tokens.
        width: width of the queries and of the result.
        num_tokens: how many queries.
        depth: how many rounds of attention and feed-forward.
        head_width: channels of one head.

    Source: the resampler of IP-Adapter-plus (arXiv 2308.06721) and VideoCrafter1 (arXiv 2310.19512:
    16 queries, depth 4).
    """

    def __init__(
        self, image_width: int, width: int, num_tokens: int, depth: int, head_width: int
    ) -> None:
        super().__init__()
        heads = max(1, width // head_width)
        inner = heads * head_width
        self.queries = nn.Parameter(torch.randn(num_tokens, width) / width**0.5)
        self.proj_in = nn.Linear(image_width, width)
        self.attentions = nn.ModuleList(
            CrossAttention(width, width, inner, heads, silent=False) for _ in range(depth)
        )
        self.hidden = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.GELU(),
                nn.Linear(4 * width, width),
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        """(B, N, Di) image tokens to (B, num_tokens, width)."""
        context = self.proj_in(image)
        tokens = repeat(self.queries, "n d -> b n d", b=image.shape[0])
        for attention, hidden in zip(self.attentions, self.hidden, strict=True):
            tokens = attention(tokens, torch.cat([context, tokens], dim=1))
            tokens = tokens + hidden(tokens)
        return self.norm(tokens)


class TextImageAdapter(nn.Module):
    """Joins image tokens into the text tokens that the frozen spatial layers read.

    Args:
        text_width: D of the text tokens.
        image_width: Di of the image tokens.
        mode: `attention`: text tokens plus a cross attention onto the image, same length, silent at
            first. `concat`: image tokens appended to the text (an ablation: it changes a fresh
            network, since the base attends to tokens it has never seen).
        num_tokens: image tokens after resampling.
        depth: depth of the resampler.
        head_width: channels of one head.

    Source: the abstract names the part; secondary summaries say CLIP image features joined with
    text embeddings. Ours: attention, because a frozen base was trained on text tokens alone.
    """

    def __init__(
        self,
        text_width: int,
        image_width: int,
        mode: str,
        num_tokens: int,
        depth: int,
        head_width: int,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.resampler = ImageResampler(image_width, text_width, num_tokens, depth, head_width)
        self.attention: CrossAttention | None = None
        if mode == "attention":
            heads = max(1, text_width // head_width)
            self.attention = CrossAttention(
                text_width, text_width, heads * head_width, heads, silent=True
            )

    def forward(self, text: Tensor, image: Tensor | None) -> Tensor:
        """Adapt the text tokens of a batch.

        Args:
            text: (B, L, D).
            image: (B, N, Di), zeros where unknown; None leaves the text as it is.

        Returns:
            (B, L, D), or (B, L + num_tokens, D) for `concat`.
        """
        if image is None:
            return text
        seen = self.resampler(image)
        if self.attention is None:
            return torch.cat([text, seen], dim=1)
        return self.attention(text, seen)
