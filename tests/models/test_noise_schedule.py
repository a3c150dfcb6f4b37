"""The schedule's algebra: what the frozen base was promised must hold to the last digit."""

import json

import pytest
import torch

from fdream.core.errors import RecipeError, WeightsError
from fdream.models.noise_schedule import (
    POCKET_SCHEDULER_CONFIG,
    NoiseSchedule,
    rescale_to_zero_terminal_snr,
)

SD15 = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
}
SD21 = SD15 | {"prediction_type": "v_prediction"}
SD21_ZERO = SD21 | {"rescale_betas_zero_snr": True}
LINEAR = SD15 | {"beta_schedule": "linear"}
COSINE = SD15 | {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}

SCHEDULES = [SD15, SD21, SD21_ZERO, LINEAR, COSINE, POCKET_SCHEDULER_CONFIG]
ids = ["sd15", "sd21", "sd21-zero", "linear", "cosine", "pocket"]


@pytest.mark.parametrize("config", SCHEDULES, ids=ids)
def test_table_equals_diffusers(config):
    from diffusers import DDIMScheduler

    keys = {k: v for k, v in config.items() if not k.startswith("_")}
    theirs = DDIMScheduler(**keys).alphas_cumprod.double()
    ours = NoiseSchedule.from_config(config).alphas_cumprod
    assert (ours.sqrt() - theirs.sqrt()).abs().max() < 2e-6


def test_known_levels_of_stable_diffusion():
    table = NoiseSchedule.from_config(SD15).alphas_cumprod
    assert table[-1].item() == pytest.approx(0.00466, rel=1e-3)
    assert table[499].item() == pytest.approx(0.278, rel=2e-3)


@pytest.mark.parametrize("config", [SD21_ZERO, POCKET_SCHEDULER_CONFIG])
def test_last_step_carries_no_signal_and_the_first_stays(config):
    plain = NoiseSchedule.from_config(config | {"rescale_betas_zero_snr": False})
    zero = NoiseSchedule.from_config(config)
    assert zero.alphas_cumprod[-1] == 0
    assert torch.all(zero.alphas_cumprod[1:] < zero.alphas_cumprod[:-1])
    assert zero.alphas_cumprod[0] == pytest.approx(plain.alphas_cumprod[0].item(), rel=1e-12)
    assert torch.equal(rescale_to_zero_terminal_snr(plain.alphas_cumprod), zero.alphas_cumprod)


@pytest.mark.parametrize("config", SCHEDULES, ids=ids)
@pytest.mark.parametrize("fractional", [False, True])
def test_round_trips(config, fractional):
    schedule = NoiseSchedule.from_config(config)
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(8, 3, 2, 4, 4, generator=generator)
    noise = torch.randn(8, 3, 2, 4, 4, generator=generator)
    # An epsilon output near the end says little about the clean sample: stay where it does.
    t = torch.tensor([0, 1, 100, 400, 500, 700, 800, 900])
    t = t + 0.37 if fractional else t
    noisy, output = schedule.add_noise(clean, noise, t), schedule.target(clean, noise, t)
    signal, sigma = (x.reshape(-1, 1, 1, 1, 1) for x in schedule.signal_and_noise(t))
    torch.testing.assert_close(schedule.to_clean(output, noisy, t), clean, atol=2e-4, rtol=0)
    torch.testing.assert_close(schedule.to_noise(output, noisy, t), noise, atol=2e-4, rtol=0)
    velocity = schedule.to_velocity(output, noisy, t)
    torch.testing.assert_close(velocity, signal * noise - sigma * clean, atol=2e-3, rtol=0)


def test_pure_noise_still_names_its_clean_sample():
    schedule = NoiseSchedule.pocket()
    clean, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    t = torch.full((2,), 999)
    noisy, output = schedule.add_noise(clean, noise, t), schedule.target(clean, noise, t)
    torch.testing.assert_close(noisy, noise)
    torch.testing.assert_close(schedule.to_clean(output, noisy, t), clean)


@pytest.mark.parametrize("config", SCHEDULES, ids=ids)
def test_conversions_are_float32_inside(config):
    schedule = NoiseSchedule.from_config(config)
    half = torch.randn(2, 4, 4, 4).half()
    t = torch.tensor([10, 700])
    assert schedule.add_noise(half, half, t).dtype == torch.float32
    assert schedule.to_clean(half, half, t).dtype == torch.float32
    exact = schedule.to_clean(half.float(), half.float(), t)
    assert torch.equal(schedule.to_clean(half, half, t), exact)


def test_fractional_steps_agree_with_whole_ones_and_lie_between():
    for config in SCHEDULES:
        schedule = NoiseSchedule.from_config(config)
        t = torch.arange(1000)
        torch.testing.assert_close(
            schedule.noise_angle(t.double()), schedule.noise_angle(t), atol=1e-6, rtol=1e-6
        )
        between = schedule.noise_angle(torch.arange(999) + 0.5)
        assert torch.all(between >= schedule.noise_angle(t)[:-1])
        assert torch.all(between <= schedule.noise_angle(t)[1:])


@pytest.mark.parametrize(("source", "base"), [(SD21_ZERO, SD21), (LINEAR, SD15), (COSINE, SD15)])
def test_remap_keeps_the_noise_level(source, base):
    ours, theirs = NoiseSchedule.from_config(source), NoiseSchedule.from_config(base)
    t = torch.arange(1000)
    mapped = ours.remap(t, theirs)
    lowest, highest = theirs.noise_angle(torch.tensor([0, 999]))
    wanted = ours.noise_angle(t).clamp(lowest, highest)
    torch.testing.assert_close(theirs.noise_angle(mapped), wanted, atol=2e-5, rtol=0)
    inside = (ours.noise_angle(t) > lowest + 1e-4) & (ours.noise_angle(t) < highest - 1e-4)
    log_snr = lambda schedule, at: -2 * torch.log(torch.tan(schedule.noise_angle(at).double()))  # noqa: E731
    torch.testing.assert_close(
        log_snr(theirs, mapped)[inside], log_snr(ours, t)[inside], atol=2e-3, rtol=0
    )


def test_remap_clamps_at_the_last_step_of_the_base():
    ours, theirs = NoiseSchedule.from_config(SD21_ZERO), NoiseSchedule.from_config(SD21)
    mapped = ours.remap(torch.tensor([999, 998, 997]), theirs)
    assert mapped[0] == 999
    # The angle goes on rising where the mapped step no longer can.
    assert ours.noise_angle(torch.tensor(999)) > theirs.noise_angle(torch.tensor(999))
    assert torch.equal(ours.remap(torch.arange(1000), ours), torch.arange(1000).float())


def test_hash_names_the_table():
    hashes = {NoiseSchedule.from_config(config).table_hash for config in SCHEDULES}
    assert len(hashes) == 4  # sd15 and sd21, and sd21-zero and pocket, share theirs
    nudged = NoiseSchedule.from_config(SD15 | {"beta_end": 0.01201})
    assert nudged.table_hash not in hashes
    schedule = NoiseSchedule.from_config(SD15)
    jitter = schedule.alphas_cumprod * (1 + 1e-14)
    again = NoiseSchedule(jitter, "epsilon", False, schedule.config)
    assert again.table_hash == schedule.table_hash


def test_epsilon_bases_refuse_zero_terminal_snr():
    with pytest.raises(RecipeError, match="v_prediction base"):
        NoiseSchedule.from_config(SD15 | {"rescale_betas_zero_snr": True})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"trained_betas": [0.1, 0.2]}, "trained_betas"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule"),
        ({"prediction_type": "sample"}, "prediction_type"),
        ({"beta_end": -1.0}, "alphas_cumprod"),
    ],
)
def test_unusable_configs_are_named(change, says):
    with pytest.raises(RecipeError, match=says):
        NoiseSchedule.from_config(LINEAR | change)


def test_save_and_load(tmp_path):
    schedule = NoiseSchedule.pocket()
    schedule.save(tmp_path / "scheduler")
    again = NoiseSchedule.from_pretrained(tmp_path / "scheduler")
    assert again.table_hash == schedule.table_hash
    assert again.config == schedule.config
    with pytest.raises(WeightsError, match="not found"):
        NoiseSchedule.from_pretrained(tmp_path)
    (tmp_path / "scheduler_config.json").write_text(json.dumps([1]))
    with pytest.raises(WeightsError, match="JSON object"):
        NoiseSchedule.from_pretrained(tmp_path)


def test_densities_move_mass_as_they_say():
    schedule = NoiseSchedule.pocket()

    def draw(density):
        return schedule.sample_t(20000, torch.Generator().manual_seed(0), density).float()

    uniform = draw("uniform")
    assert uniform.min() >= 0
    assert uniform.max() <= 999
    assert uniform.mean().item() == pytest.approx(499.5, abs=8)
    assert draw("shifted(3.0)").median().item() == pytest.approx(750, abs=10)
    assert draw("shifted(1)").mean().item() == pytest.approx(499.5, abs=8)
    assert draw("logit_normal(0,1)").median().item() == pytest.approx(500, abs=15)
    assert draw("logit_normal(1,1)").median() > draw("logit_normal(0,1)").median()
    assert torch.equal(draw("uniform"), draw("uniform"))


@pytest.mark.parametrize(
    "density", ["cosine", "shifted(0)", "shifted(1,2)", "logit_normal(a,b)", "uniform(1)", "(("]
)
def test_unknown_densities_are_refused(density):
    with pytest.raises(RecipeError, match="density"):
        NoiseSchedule.pocket().sample_t(2, density=density)
