"""More frames than were trained: windows that overlap, and noise that comes again."""

from itertools import pairwise

import pytest
import torch
from einops import rearrange

from fdream.models.free_noise import mix_in_windows, repeat_noise, windows
from fdream.models.temporal import TemporalAttention


@pytest.mark.parametrize(("frames", "length"), [(17, 16), (32, 16), (100, 16), (3, 2), (9, 4)])
def test_windows_have_the_trained_length_and_miss_no_frame(frames: int, length: int) -> None:
    found = windows(frames, length)
    assert all(len(window) == len(set(window)) == length for window in found)
    assert all(window[0] == 0 for window in found)
    assert sorted({frame for window in found for frame in window}) == list(range(frames))
    if length > 2:
        assert all(set(a[1:]) & set(b[1:]) for a, b in pairwise(found))


def test_windows_are_fused_frame_by_frame() -> None:
    video = torch.randn(2, 3, 20, 5)
    fused = mix_in_windows(lambda part: rearrange(part, "b c f s -> b f s c"), video, 8)
    torch.testing.assert_close(fused, rearrange(video, "b c f s -> b f s c"))


def test_a_frame_goes_over_from_one_window_to_the_next() -> None:
    number = 0

    def count(part: torch.Tensor) -> torch.Tensor:
        nonlocal number
        number += 1
        return torch.full((1, 8, 1, 1), float(number))

    said = mix_in_windows(count, torch.zeros(1, 1, 15, 1), 8).flatten().tolist()
    assert said[:4] == [1.0] * 4  # one window alone, and frame 0 is the first one's
    assert said == sorted(said)
    assert any(value != int(value) for value in said)


def test_no_more_frames_than_a_window_are_mixed_at_once() -> None:
    seen = []

    def mix(part: torch.Tensor) -> torch.Tensor:
        seen.append(part.shape)
        return part

    video = torch.randn(1, 2, 8, 3)
    assert mix_in_windows(mix, video, 8) is video
    assert seen == [video.shape]


def test_attention_over_time_looks_no_farther_than_its_windows() -> None:
    torch.manual_seed(0)
    layer = TemporalAttention(8, 8, 2, None, 8, 2.0, 4)
    torch.nn.init.normal_(layer.proj_out.weight)
    features, level = torch.randn(24, 8, 2, 2), torch.randn(1, 8)
    changed = features.clone()
    changed[20] += 1

    def reach(window: int | None) -> list[int]:
        with torch.no_grad():
            answers = [layer(x, 24, level, None, None, window) for x in (features, changed)]
        moved = (answers[0] - answers[1]).abs().amax((1, 2, 3)) > 1e-6
        return moved.nonzero().flatten().tolist()

    assert reach(None) == list(range(24))
    near = [frames for frames in windows(24, 8) if 20 in frames]
    assert reach(8) == sorted({frame for frames in near for frame in frames if frame})
    assert min(reach(8)) > 12


def test_later_noise_is_earlier_noise_in_another_order() -> None:
    noise = torch.randn(2, 3, 40, 2, 2)
    repeated = repeat_noise(noise, 16, [5, 6])
    assert torch.equal(repeated[:, :, :16], noise[:, :, :16])
    for sample, source in zip(repeated, noise, strict=True):
        origin = [
            next(k for k in range(16) if torch.equal(sample[:, f], source[:, k])) for f in range(40)
        ]
        for start in range(16, 34, 7):  # a stride at a time, each frame of it once
            later, earlier = origin[start : start + 7], origin[start - 16 : start - 9]
            assert sorted(later) == sorted(earlier)
        assert origin[16:23] != origin[:7]


def test_repeated_noise_belongs_to_the_sample() -> None:
    noise = torch.randn(2, 3, 30, 2, 2)
    both = repeat_noise(noise, 16, [5, 6])
    assert torch.equal(both[1:], repeat_noise(noise[1:], 16, [6]))
    assert not torch.equal(both[1:], repeat_noise(noise[1:], 16, [7]))
    assert repeat_noise(noise[:, :, :16], 16, [5, 6]).shape[2] == 16
