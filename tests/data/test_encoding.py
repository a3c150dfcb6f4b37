"""An option that a format would ignore is refused, with a format that takes it."""

from __future__ import annotations

import pytest

from fdream.core.errors import UsageError
from fdream.data.encoding import IMAGE_FORMATS, VIDEO_FORMATS, Encoding

LOSSY = {"mp4", "webm", "gif", "webp"}
LOOPING = {"gif", "webp", "apng"}


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_quality_is_for_videos_with_loss(kind: str) -> None:
    if kind in LOSSY:
        assert Encoding.choose(kind, moving=True, quality=50) == Encoding(kind, 50)
        return
    with pytest.raises(UsageError, match="--format mp4 or webm or gif or webp"):
        Encoding.choose(kind, moving=True, quality=50)


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
@pytest.mark.parametrize("plays", [0, 3])
def test_loop_is_for_animations(kind: str, plays: int) -> None:
    if kind in LOOPING:
        assert Encoding.choose(kind, moving=True, loop=plays) == Encoding(kind, None, plays)
        return
    with pytest.raises(UsageError, match="--format gif or webp or apng"):
        Encoding.choose(kind, moving=True, loop=plays)


def test_a_codec_is_for_the_containers_that_hold_it() -> None:
    assert Encoding.choose("webm", moving=True, codec="av1") == Encoding("webm", codec="av1")
    assert Encoding.choose("mp4", moving=True, codec="h264").codec == "h264"
    for kind, codec in (("mp4", "av1"), ("gif", "vp9"), ("webm", "theora"), (None, "vp9")):
        with pytest.raises(UsageError, match="webm holds vp9 or av1"):
            Encoding.choose(kind, moving=True, codec=codec)
    with pytest.raises(UsageError, match="--codec vp9: not for webp"):
        Encoding.choose("webp", moving=False, codec="vp9")


def test_a_picture_takes_a_quality_only_as_webp() -> None:
    assert Encoding.choose("webp", moving=False, quality=50).quality == 50
    with pytest.raises(UsageError, match="--format webp"):
        Encoding.choose("png", moving=False, quality=50)


@pytest.mark.parametrize("moving", [True, False])
def test_unknown_formats_are_told_the_known(moving: bool) -> None:
    known = VIDEO_FORMATS if moving else IMAGE_FORMATS
    with pytest.raises(UsageError, match=", ".join(known)):
        Encoding.choose("tiff", moving=moving)
    assert Encoding.choose(None, moving=moving).kind == ("mp4" if moving else "png")


def test_the_record_tells_what_was_asked_for_and_nothing_else() -> None:
    assert Encoding("mp4").record() == {"format": "mp4"}
    assert Encoding("gif", 50, 0).record() == {"format": "gif", "quality": 50, "loop": 0}
    assert Encoding("webm", codec="av1").record() == {"format": "webm", "codec": "av1"}
