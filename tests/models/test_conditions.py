"""Guidance drops captions and image tokens sample by sample, and never the first frame."""

import torch

from fdream.models.conditions import concatenate

DROPPED = torch.tensor([True, False])


def test_dropped_captions_become_the_empty_caption(tiny):
    condition = tiny.condition(tiny.base("pocket"))
    empty_text, empty_motion = torch.randn(7, 16), torch.randn(5, 10)
    empty_mask = torch.tensor([True, False, False, False, False])
    other = condition.drop_text(DROPPED, empty_text, empty_motion, empty_mask)
    assert torch.equal(other.text[0], empty_text)
    assert torch.equal(other.text[1], condition.text[1])
    assert torch.equal(other.motion_text[0], empty_motion)
    assert torch.equal(other.motion_text[1], condition.motion_text[1])
    assert torch.equal(other.motion_mask[0], empty_mask)
    assert torch.equal(other.motion_mask[1], condition.motion_mask[1])
    assert other.image is condition.image


def test_without_an_empty_motion_caption_its_tokens_are_masked(tiny):
    other = tiny.condition(tiny.base("pocket")).drop_text(DROPPED, torch.randn(1, 7, 16))
    assert not other.motion_mask[0].any()
    assert other.motion_mask[1].all()


def test_pooled_captions_are_dropped_too(tiny):
    condition = tiny.condition(tiny.base("sdxl"))
    empty = {"text_embeds": torch.zeros(12), "time_ids": condition.added["time_ids"]}
    other = condition.drop_text(DROPPED, torch.zeros(7, 16), empty_added=empty)
    assert other.added["text_embeds"][0].abs().sum() == 0
    assert torch.equal(other.added["text_embeds"][1], condition.added["text_embeds"][1])
    assert torch.equal(other.added["time_ids"], condition.added["time_ids"])


def test_dropped_images_are_zeros_and_the_first_frame_stays(tiny):
    base = tiny.base("pocket")
    condition = tiny.motion(base).prepare(tiny.condition(base))
    other = condition.drop_image(DROPPED)
    assert other.image[0].abs().sum() == 0
    assert torch.equal(other.image[1], condition.image[1])
    assert other.first_latent is condition.first_latent
    assert other.first_frame is condition.first_frame
    # What was prepared spoke of the image: it may not be kept.
    assert other.prepared is None


def test_joined_conditions_keep_their_order(tiny):
    base = tiny.base("sdxl")
    one, two = tiny.condition(base, seed=1), tiny.condition(base, seed=2)
    both = concatenate([one, two])
    assert torch.equal(both.text[:2], one.text)
    assert torch.equal(both.motion_mask[2:], two.motion_mask)
    assert torch.equal(both.added["time_ids"][2:], two.added["time_ids"])
    assert both.prepared is None
