"""A scheduler: wraps the built-in sampler and changes one thing."""

from fdream.stages import registry
from fdream.stages.interfaces import NoiseScheduler, SchedulerStage


class MomentumScheduler(SchedulerStage):
    def __init__(self, options, *, device):
        self._strength = options.strength
        self._dreamer = registry.build("scheduler", "dreamer", {}, device=device)

    def build(self, schedule):
        return MomentumSampler(self._dreamer.build(schedule), schedule, self._strength)


class MomentumSampler(NoiseScheduler):
    def __init__(self, inner, schedule, strength):
        self._inner, self._schedule, self._strength = inner, schedule, strength
        self._last = None

    def timesteps(self, num_steps):
        self._last = None  # a new run begins
        return self._inner.timesteps(num_steps)

    def start(self, noise, first_latents):
        return self._inner.start(noise, first_latents)

    def scale_input(self, latents, t):
        return self._inner.scale_input(latents, t)

    def step(self, output, t, latents):
        levels = t.to(latents.device).expand(len(latents))
        clean = self._schedule.to_clean(output, latents, levels)
        ahead = clean if self._last is None else clean + self._strength * (clean - self._last)
        self._last = clean
        signal, sigma = self._schedule.signal_and_noise(t.to(latents.device))
        noise = (latents - signal * ahead) / sigma  # what the latents hold besides ``ahead``
        return self._inner.step(self._schedule.target(ahead, noise, levels), t, latents)
