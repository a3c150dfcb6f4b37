"""The map from timestep to signal-to-noise ratio, and conversions between prediction types.

A base owns its table. Its raw output stays in its own parametrisation ("epsilon" or
"v_prediction"), and everything here converts in float32, whatever dtype the network runs in.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, final

import torch
from torch import Tensor

from fdream.core.errors import RecipeError, WeightsError

PredictionType = Literal["epsilon", "v_prediction"]

CONFIG_NAME = "scheduler_config.json"

# Trained from its first step on zero terminal SNR, because a frozen base cannot learn it later.
POCKET_SCHEDULER_CONFIG: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 0,
}

_DENSITY = re.compile(r"^\s*(\w+)\s*(?:\(([^)]*)\))?\s*$")


@final
class NoiseSchedule:
    """A base's alpha-bar table and its prediction type.

    Args:
        alphas_cumprod: (T,) float64, falling strictly from below one; the last may be zero.
        prediction_type: what the network's raw output is.
        zero_terminal_snr: whether the last step carries no signal at all.
        config: the diffusers scheduler config the table came from; samplers are built from it.

    Raises:
        RecipeError: the table is no schedule, or zero terminal SNR meets an epsilon base: for the
            same noisy input a v-loss on such a base weighs 1 / alpha-bar, infinite at the end.

    Source: Ho et al., arXiv 2006.11239 (epsilon); Salimans and Ho, arXiv 2202.00512 (v); Lin et
    al., arXiv 2305.08891 (zero terminal SNR). The paper's own schedule could not be read.
    """

    def __init__(
        self,
        alphas_cumprod: Tensor,
        prediction_type: PredictionType,
        zero_terminal_snr: bool,
        config: Mapping[str, Any],
    ) -> None:
        table = alphas_cumprod.detach().to("cpu", torch.float64)
        _check_table(table, zero_terminal_snr)
        if prediction_type not in ("epsilon", "v_prediction"):
            raise RecipeError(
                f"scheduler prediction_type = {prediction_type!r}: only 'epsilon' and "
                f"'v_prediction' bases are supported; choose a base that predicts one of them."
            )
        if zero_terminal_snr and prediction_type == "epsilon":
            raise RecipeError(
                "rescale_betas_zero_snr = true with prediction_type = 'epsilon': the last step "
                "carries no signal, so an epsilon base says nothing about the image there; use a "
                "v_prediction base (SD 2.1-768, pocket) or leave the base's own schedule."
            )
        self.alphas_cumprod = table
        self.prediction_type: PredictionType = prediction_type
        self.zero_terminal_snr = zero_terminal_snr
        self.config: dict[str, Any] = dict(config)
        # (2, T): signal sqrt(abar) and noise sqrt(1 - abar).
        self._roots = torch.stack([table.sqrt(), (1 - table).sqrt()])
        self._placed: dict[torch.device, Tensor] = {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> NoiseSchedule:
        """Build from a diffusers scheduler config.

        Args:
            config: `num_train_timesteps`, `beta_schedule`, `beta_start`, `beta_end`,
                `prediction_type`, `rescale_betas_zero_snr`; missing keys have diffusers' defaults.

        Returns:
            The schedule; its `config` is a copy of the argument.

        Raises:
            RecipeError: an unknown `beta_schedule`, or betas given ready-made: rescaled
                `trained_betas` make samplers divide by zero.
        """
        if config.get("trained_betas") is not None:
            raise RecipeError(
                "scheduler trained_betas is set: a ready-made table cannot be rescaled safely (inf "
                "and NaN in samplers); give beta_schedule, beta_start, beta_end and "
                "rescale_betas_zero_snr instead."
            )
        zero = bool(config.get("rescale_betas_zero_snr", False))
        table = _alphas_cumprod(config)
        if zero:
            table = rescale_to_zero_terminal_snr(table)
        kind = cast(PredictionType, config.get("prediction_type", "epsilon"))
        return cls(table, kind, zero, config)

    @classmethod
    def pocket(cls) -> NoiseSchedule:
        """The table of the packaged `pocket` bundle: v-prediction, zero terminal SNR, trailing."""
        return cls.from_config(POCKET_SCHEDULER_CONFIG)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> NoiseSchedule:
        """Read `scheduler_config.json` from a folder.

        Raises:
            WeightsError: the file is missing or is not a JSON object.
        """
        path = Path(folder) / CONFIG_NAME
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise WeightsError(
                f"{path}: not found; a bundle keeps its training schedule there, so this folder is "
                f"incomplete; fetch it again or name another bundle."
            ) from error
        except ValueError as error:
            raise WeightsError(f"{path}: not JSON ({error}); fetch the bundle again.") from error
        if not isinstance(config, dict):
            raise WeightsError(f"{path}: expected a JSON object; fetch the bundle again.")
        return cls.from_config(config)

    def save(self, folder: str | Path) -> None:
        """Write `scheduler_config.json` into a folder, made if missing."""
        path = Path(folder) / CONFIG_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @property
    def num_steps(self) -> int:
        """T, the number of training timesteps."""
        return len(self.alphas_cumprod)

    @property
    def table_hash(self) -> str:
        """sha256 (hex) of the table, equal on every machine that builds the same schedule.

        Ours: the signal sqrt(abar) is rounded to 1e-8 first, since the last bits of a cumulative
        product differ between instruction sets.
        """
        levels = (self._roots[0] * 1e8).round().to(torch.int64).tolist()
        return hashlib.sha256(",".join(map(str, levels)).encode("ascii")).hexdigest()

    def signal_and_noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar) and sqrt(1 - abar) at t.

        Args:
            t: any shape, whole (table rows) or fractional steps in [0, T - 1].

        Returns:
            Two float32 tensors of the shape of t, on its device. Fractional steps are interpolated
            in log-SNR; within the last interval of a zero-terminal table, where log-SNR is
            unbounded, in the noise angle.
        """
        if not t.is_floating_point():
            signal, noise = self._on(t.device)[:, t]
            return signal, noise
        angle = self.noise_angle(t)
        return angle.cos(), angle.sin()

    def noise_angle(self, t: Tensor) -> Tensor:
        """atan2(sqrt(1 - abar), sqrt(abar)) at t: 0 is clean, pi / 2 is pure noise.

        Args:
            t: any shape, whole or fractional steps in [0, T - 1].

        Returns:
            float32 radians, of the shape and on the device of t.
        """
        if not t.is_floating_point():
            signal, noise = self._on(t.device)[:, t]
            return torch.atan2(noise, signal)
        position = t.detach().to("cpu", torch.float64).clamp(0, self.num_steps - 1)
        below = position.floor().long().clamp(max=self.num_steps - 2)
        weight = position - below
        log_tan = torch.lerp(self._log_tan()[below], self._log_tan()[below + 1], weight)
        angle = torch.atan(log_tan.exp())
        if self.zero_terminal_snr:
            table = torch.atan2(self._roots[1], self._roots[0])
            last = torch.lerp(table[-2], table[-1], weight)
            angle = torch.where(below == self.num_steps - 2, last, angle)
        return angle.to(torch.float32).to(t.device)

    def remap(self, t: Tensor, base: NoiseSchedule) -> Tensor:
        """The fractional step at which another table is as noisy as this one is at t.

        Args:
            t: any shape, whole or fractional steps of this table.
            base: the table the frozen spatial network was trained on.

        Returns:
            float32 steps of `base`, of the shape and on the device of t, with the same log-SNR,
            clamped to the first and last step that `base` has.

        Ours: frozen weights know noise levels only by their own table's steps.
        """
        if base.table_hash == self.table_hash:
            return t.to(torch.float32)
        # float64 on the CPU: near the ends neighbouring steps differ by less than float32 keeps.
        angle = self._angle64(t)
        table = torch.atan2(base._roots[1], base._roots[0])
        above = torch.searchsorted(table, angle.contiguous()).clamp(1, base.num_steps - 1)
        low, high = table[above - 1], table[above]
        weight = (_log_tangent(angle) - _log_tangent(low)) / (
            _log_tangent(high) - _log_tangent(low)
        )
        if base.zero_terminal_snr:
            last = (angle - low) / (high - low)
            weight = torch.where(above == base.num_steps - 1, last, weight)
        return (above - 1 + weight.clamp(0, 1)).to(torch.float32).to(t.device)

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """sqrt(abar) * clean + sqrt(1 - abar) * noise.

        Args:
            clean: (B, ...), any rank.
            noise: like clean, standard normal.
            t: (B,) whole or fractional steps.

        Returns:
            Like clean, float32.
        """
        signal, sigma = self._coefficients(t, clean)
        return signal * clean.float() + sigma * noise.float()

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should answer for `add_noise(clean, noise, t)`: (B, ...) float32."""
        if self.prediction_type == "epsilon":
            return noise.float()
        signal, sigma = self._coefficients(t, clean)
        return signal * noise.float() - sigma * clean.float()

    def to_clean(self, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The clean sample a raw output stands for: (B, ...) float32."""
        signal, sigma = self._coefficients(t, noisy)
        if self.prediction_type == "epsilon":
            return (noisy.float() - sigma * output.float()) / signal
        return signal * noisy.float() - sigma * output.float()

    def to_noise(self, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The noise a raw output stands for: (B, ...) float32."""
        if self.prediction_type == "epsilon":
            return output.float()
        signal, sigma = self._coefficients(t, noisy)
        return sigma * noisy.float() + signal * output.float()

    def to_velocity(self, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The velocity sqrt(abar) * noise - sqrt(1 - abar) * clean of a raw output: float32."""
        if self.prediction_type == "v_prediction":
            return output.float()
        signal, sigma = self._coefficients(t, noisy)
        return (output.float() - sigma * noisy.float()) / signal

    def output_change(self, change: Tensor, t: Tensor, least_sigma: float) -> Tensor:
        """By how much a raw output changes when the clean sample it stands for does.

        Args:
            change: (B, ...) added to the clean sample, float32.
            t: (B,) whole or fractional steps.
            least_sigma: noise below which the change is not divided by less: outputs of an almost
                clean input stand for a clean sample that they cannot change.

        Returns:
            (B, ...) float32.
        """
        signal, sigma = self._coefficients(t, change)
        scaled = change / sigma.clamp(min=least_sigma)
        return -scaled if self.prediction_type == "v_prediction" else -signal * scaled

    def sample_t(
        self, batch: int, generator: torch.Generator | None = None, density: str = "uniform"
    ) -> Tensor:
        """Draw training steps.

        Args:
            batch: B.
            generator: a CPU generator; None draws from torch's global one.
            density: `uniform`; `logit_normal(MEAN,STD)`, t / T is the logistic of a normal (0, 1 by
                default); `shifted(S)`, u -> S u / (1 + (S - 1) u), more noise for S > 1 (3 by
                default). With frozen spatial weights only this density is free, not the table.

        Returns:
            (B,) int64 in [0, T - 1], on the CPU.

        Raises:
            RecipeError: an unknown density or unusable numbers in it.

        Source: Esser et al., arXiv 2403.03206 (logit-normal, shift), from memory of it.
        """
        kind, numbers = _parse_density(density)
        if kind == "logit_normal":
            mean, std = numbers
            share = torch.sigmoid(torch.randn(batch, generator=generator) * std + mean)
        else:
            share = torch.rand(batch, generator=generator)
            if kind == "shifted":
                share = numbers[0] * share / (1 + (numbers[0] - 1) * share)
        return (share * self.num_steps).long().clamp(0, self.num_steps - 1)

    def _coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """`signal_and_noise` shaped (B, 1, ...) on the device of `like`."""
        signal, noise = self.signal_and_noise(t.to(like.device))
        shape = (-1, *([1] * (like.ndim - 1)))
        return signal.reshape(shape), noise.reshape(shape)

    def _on(self, device: torch.device) -> Tensor:
        """The (2, T) roots in float32 on a device, copied there once."""
        if device not in self._placed:
            # Kept for later calls, which may need gradients even if this one does not.
            with torch.inference_mode(False):
                self._placed[device] = self._roots.to(torch.float32).to(device)
        return self._placed[device]

    def _log_tan(self) -> Tensor:
        """(T,) float64 log(noise / signal), minus half the log-SNR; zero signal reads as tiny."""
        return self._roots[1].log() - self._roots[0].clamp(min=1e-30).log()

    def _angle64(self, t: Tensor) -> Tensor:
        """The noise angle in float64 on the CPU."""
        if t.is_floating_point():
            return self.noise_angle(t).to("cpu", torch.float64)
        signal, noise = self._roots[0][t.cpu()], self._roots[1][t.cpu()]
        return torch.atan2(noise, signal)


def rescale_to_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and stretch a table so that its last step carries no signal and its first stays.

    Args:
        alphas_cumprod: (T,) float64.

    Returns:
        (T,) float64, the last entry exactly zero.

    Source: Lin et al., arXiv 2305.08891, Algorithm 1.
    """
    # The last step must carry no signal, or sampling starts from noise that training never showed.
    root = alphas_cumprod.sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return root.square()


def _log_tangent(angle: Tensor) -> Tensor:
    """log(tan(angle)): minus half the log-SNR, kept finite at both ends."""
    return angle.sin().clamp(min=1e-30).log() - angle.cos().clamp(min=1e-30).log()


def _alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """The (T,) float64 table a diffusers config describes, before any rescale."""
    steps = int(config.get("num_train_timesteps", 1000))
    start, end = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    kind = config.get("beta_schedule", "linear")
    if kind == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
    elif kind == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64).square()
    elif kind == "squaredcos_cap_v2":
        edges = torch.arange(steps + 1, dtype=torch.float64) / steps
        level = torch.cos((edges + 0.008) / 1.008 * math.pi / 2).square()
        betas = (1 - level[1:] / level[:-1]).clamp(max=0.999)
    else:
        raise RecipeError(
            f"scheduler beta_schedule = {kind!r}: known are 'linear', 'scaled_linear' and "
            f"'squaredcos_cap_v2'; give the base's own scheduler config."
        )
    return torch.cumprod(1 - betas, dim=0)


def _check_table(table: Tensor, zero_terminal_snr: bool) -> None:
    """Refuse what is not a falling alpha-bar table, or does not end as it says."""
    falling = table.ndim == 1 and len(table) >= 2 and bool((table[1:] < table[:-1]).all())
    if not falling or not bool((table >= 0).all()) or not bool((table < 1).all()):
        raise RecipeError(
            "alphas_cumprod: needs at least two values in [0, 1) that fall strictly; check "
            "beta_start, beta_end and num_train_timesteps of the scheduler config."
        )
    if (table[-1] == 0).item() != zero_terminal_snr:
        raise RecipeError(
            f"alphas_cumprod ends at {table[-1].item():.3g} but zero_terminal_snr is "
            f"{zero_terminal_snr}: exactly zero belongs to true and nothing else does; build the "
            f"schedule with NoiseSchedule.from_config."
        )


def _parse_density(density: str) -> tuple[str, tuple[float, ...]]:
    """Split `name(numbers)` and fill in the defaults."""
    defaults: dict[str, tuple[float, ...]] = {
        "uniform": (),
        "logit_normal": (0.0, 1.0),
        "shifted": (3.0,),
    }
    found = _DENSITY.match(density)
    kind = found.group(1) if found else density
    problem = RecipeError(
        f"timestep density = {density!r}: expected 'uniform', 'logit_normal(MEAN,STD)' or "
        f"'shifted(S)' with STD and S above zero, for example 'shifted(3.0)'."
    )
    if found is None or kind not in defaults:
        raise problem
    try:
        given = tuple(float(part) for part in (found.group(2) or "").split(",") if part.strip())
    except ValueError as error:
        raise problem from error
    numbers = given or defaults[kind]
    usable = len(numbers) == len(defaults[kind]) and all(math.isfinite(x) for x in numbers)
    if not usable or (numbers and numbers[-1] <= 0):
        raise problem
    return kind, numbers
