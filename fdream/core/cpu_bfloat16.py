"""bfloat16 on a CPU: matrix products and convolutions gain, two kernels lose and stay in float32.

CPUs with matrix units (AMX) multiply bfloat16 several times as fast as float32, but torch's CPU
kernels for attention's backward and for group normalisation run in it at a fraction of their
float32 speed. ``benchmarks/cpu_bfloat16.py`` on one core of such a CPU: a step of pocket's base
takes 2.68 s in float32, 2.44 s in bfloat16, and 1.64 s in bfloat16 with these two in float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any


def float32_kernels() -> AbstractContextManager[object]:
    """Compute attention and group normalisation in float32 inside the block.

    What goes in may be of any format; what comes out is of the format of the first argument.
    """
    mode: AbstractContextManager[object] = _mode()()
    return mode


@cache
def _mode() -> Any:
    """The class, made once: compiled code is compiled again for every other one."""
    import torch
    from torch.nn import functional as F
    from torch.overrides import TorchFunctionMode

    slow = {F.scaled_dot_product_attention, F.group_norm}

    def widened(value: Any) -> Any:
        is_half = isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16
        return value.float() if is_half else value

    class Float32Kernels(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            options = kwargs or {}
            if function not in slow:
                return function(*args, **options)
            with torch.autocast("cpu", enabled=False):
                found = function(
                    *(widened(value) for value in args),
                    **{name: widened(value) for name, value in options.items()},
                )
            return found.to(args[0].dtype)

    return Float32Kernels
