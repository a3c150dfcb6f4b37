"""The networks and their mathematics: no files, no devices, no prompts, only tensors.

Shape legend, used by every docstring below this folder:

    B  videos in the batch      C  channels            F  frames
    H  height in pixels         W  width in pixels     h, w  the same on the latent grid
    L  text tokens              D  token width         N  attention heads, or image tokens

Video tensors are (B, C, F, H, W) and latents (B, C, F, h, w). Inside the spatial walk frames are
folded into the batch, "(b f) c h w", because that is what a two-dimensional network takes and what
keeps the channels_last memory format. Captions have an appearance half (CLIP-style tokens, spatial
layers) and a motion half (T5-style tokens, temporal layers).

Evidence marks: `Source:` names where a part comes from, `Ours:` a choice of this project. Only
the abstract of Factorized-Dreamer (arXiv 2408.10119) could be read, so no equation here is claimed
to be the paper's.
"""
