"""Which of SpriteWorld's scenes are trained, and how often."""

import pytest
from pydantic import ValidationError

from fdream.data.spriteworld.strangers import stranger
from fdream.data.spriteworld.world import held_out
from fdream.training.pictures import ClipSource, SpriteWorldOptions, StillSource

SAMPLES = 1500


def share(source: ClipSource, **wanted: str) -> float:
    facts = [source.words(index).facts for index in range(SAMPLES)]
    return sum(all(getattr(f, k) == v for k, v in wanted.items()) for f in facts) / SAMPLES


def source(emphasis: dict[str, float], seed: int = 0) -> ClipSource:
    return ClipSource(SpriteWorldOptions(emphasis=emphasis), validation=2, seed=seed)


def test_an_emphasis_trains_a_motion_as_many_times_more_often():
    plain, more = source({}), source({"shaking": 3.0})
    usual, wanted = share(plain, motion="shaking"), share(more, motion="shaking")
    # Three times as many shaking clips among all the others.
    assert wanted == pytest.approx(3 * usual / (1 + 2 * usual), rel=0.2)
    assert share(more, motion="falling") < share(plain, motion="falling")


def test_an_emphasis_on_the_camera_trains_moving_ones():
    assert share(source({"camera": 4.0}), camera="still") < share(source({}), camera="still") - 0.1


def test_an_emphasis_on_an_object_goes_with_one_on_a_motion():
    more = source({"corgi": 3.0, "shaking": 3.0})
    usual = share(source({}), thing="corgi")
    assert share(more, thing="corgi") == pytest.approx(3 * usual / (1 + 2 * usual), rel=0.3)
    assert share(more, motion="shaking") > 2 * share(source({}), motion="shaking")


def test_an_emphasis_below_one_trains_a_motion_less():
    assert share(source({"shaking": 0.2}), motion="shaking") < 0.03


def test_no_scene_is_trained_twice_and_none_that_is_held_out():
    described = [source({"camera": 8.0}).words(index) for index in range(SAMPLES)]
    assert len({str(shown.facts) for shown in described}) == SAMPLES
    assert not any(held_out(s.facts.thing, s.facts.scene, s.facts.motion) for s in described)


def test_words_first_frame_and_clip_of_a_sample_are_of_one_scene():
    options = SpriteWorldOptions(sprites="plain", size=(32, 32), frames=4, emphasis={"camera": 4.0})
    clips, stills = ClipSource(options, 2), StillSource(options, 2)
    for index in range(8):
        clip = clips.draw(index)
        assert clip.facts == clips.words(index).facts == stills.draw(index).facts
        assert (clip.frames[0] == clips.first_frame(index)).all()


def test_strangers_stand_still_and_show_nothing_of_the_world():
    options = SpriteWorldOptions(sprites="plain", size=(32, 48), frames=4)
    plain = ClipSource(options, 2)
    mixed = ClipSource(options.model_copy(update={"strangers": 0.3}), 2)
    strange = 0
    for index in range(60):
        clip, usual = mixed.draw(index, 2), plain.draw(index, 2)
        assert (clip.caption, clip.pair, clip.facts) == (usual.caption, usual.pair, usual.facts)
        assert (clip.frames[0] == mixed.first_frame(index)).all()
        shapes = ("frames", "flow", "mask", "visible")
        assert [getattr(clip, s).shape for s in shapes] == [getattr(usual, s).shape for s in shapes]
        if (clip.frames == usual.frames).all():
            continue
        strange += 1
        assert (clip.frames == clip.frames[:1]).all()
        assert not clip.flow.any()
        assert not clip.mask.any()
        assert clip.visible.all()
    assert 8 <= strange <= 28


def test_strangers_differ_by_seed_and_fit_the_frame():
    pictures = [stranger(seed, 40, 64) for seed in range(20)]
    assert {picture.shape for picture in pictures} == {(40, 64, 3)}
    assert len({picture.tobytes() for picture in pictures}) == 20
    assert (stranger(3, 40, 64) == pictures[3]).all()
    # Something is seen: none is a flat field.
    assert min(picture.std() for picture in pictures) > 2


def test_held_out_clips_do_not_depend_on_the_emphasis():
    options = SpriteWorldOptions(sprites="plain", size=(32, 32), frames=4)
    favoured = options.model_copy(update={"emphasis": {"camera": 4.0}})
    plain, more = ClipSource(options, 3).held_out(), ClipSource(favoured, 3).held_out()
    assert [clip.facts for clip in plain] == [clip.facts for clip in more]


@pytest.mark.parametrize(
    ("emphasis", "said"),
    [({"shakes": 2.0}, "'shakes' is none of camera"), ({"shaking": 0.0}, "greater than 0")],
)
def test_an_emphasis_on_nothing_is_refused(emphasis: dict[str, float], said: str):
    with pytest.raises(ValidationError, match=said):
        SpriteWorldOptions(emphasis=emphasis)
