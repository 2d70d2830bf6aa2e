"""The compiled kernel for the CPU: `count`, `weigh` and `apply` of `plain` on the arrays of C++.

`csrc/` holds one kernel for each instruction set; the best that the processor has serves, or the one that the
environment variable LOVASZ_CPU_KERNEL names. "off" leaves the CPU to plain PyTorch.
"""

import functools
import importlib
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._inputs import layouts
from .._math import binning, interpolation
from ..measures import JACCARD, Tversky
from .plain import compute_dtype

try:
    _kernel: Any = importlib.import_module("._compiled", __package__)
except ImportError as error:
    _kernel = None
    _missing = str(error)

_FORMS = ("softmax", "sigmoid", "hinge", "probs")  # as csrc/kernel.hpp numbers them


def names() -> list[str]:
    """The kernels that this processor can run, the best first; none where nothing was compiled."""
    return [] if _kernel is None else _kernel.kernels()


def select() -> tuple[str | None, str]:
    """The kernel that serves, or None, and why."""
    if _kernel is None:
        return None, f"the compiled kernel is not installed (a C++17 compiler was missing?): {_missing}"
    found, wanted = names(), os.environ.get("LOVASZ_CPU_KERNEL", "")
    if wanted == "off":
        return None, "LOVASZ_CPU_KERNEL is off"
    if wanted and wanted not in found:
        raise ValueError(f"LOVASZ_CPU_KERNEL must be off or one of {', '.join(found)}, got {wanted!r}")
    return wanted or found[0], "LOVASZ_CPU_KERNEL" if wanted else "the best this processor can run"


def _array(tensor: Tensor) -> Any:
    """What the extension takes; bool as uint8, without a copy."""
    return torch.utils.dlpack.to_dlpack(tensor.view(torch.uint8) if tensor.dtype == torch.bool else tensor)


def _pixels(
    logits: Tensor, target: Tensor, mask: Tensor | None, ignore_index: Sequence[int]
) -> tuple[Any, Any, Any, list[int]]:
    return _array(logits), _array(target), None if mask is None else _array(mask), list(ignore_index)


def _cross_entropy(weight: Tensor | None, label_smoothing: float | None) -> tuple[float | None, list[float]]:
    return label_smoothing, [] if weight is None or label_smoothing is None else weight.tolist()


def _axes(logits: Tensor, target: Tensor, upsample: str | None) -> tuple[Any, Any]:
    """Where the pixels of each axis lie among the places of the logits."""
    if upsample is None:
        return None, None
    axes = interpolation.axes(logits, target, upsample)
    lower = torch.cat([axis.lower for axis in axes]).int()
    return _array(lower), _array(torch.cat([axis.weight for axis in axes]))


@functools.lru_cache(maxsize=16)
def _steps(bins: int, form: str) -> Tensor:
    grid = binning.grid(bins, form)
    return grid.diff(prepend=grid[:1])


class Kernel:
    """The kernel of one instruction set, with the functions of `plain`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.__name__ = f"lovasz._kernels.cpu.{name}"

    def count(
        self,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        ignore_index: Sequence[int],
        form: str,
        bins: int,
        per_image: bool,
        ce_weight: Tensor | None = None,
        label_smoothing: float | None = None,
        upsample: str | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The table of an input, its numbers of pixels and the sums of its cross-entropy, as `plain.count`."""
        N, C = logits.shape[:2]
        rows = N if per_image else 1
        table = torch.empty(rows, C, 2, bins + 1, dtype=torch.int64)
        pixels = torch.empty(2, rows, C, dtype=torch.int64)
        bad, loss, weight = _kernel.count(
            self.name, *_pixels(logits, target, mask, ignore_index), _FORMS.index(form), binning.steps(bins, form),
            per_image, *_cross_entropy(ce_weight, label_smoothing), torch.get_num_threads(), _array(table),
            _array(pixels), *_axes(logits, target, upsample),
        )  # fmt: skip
        if bad:  # raises, and names them
            layouts.canonical_target(target, mask, ignore_index, layouts.num_labels(form, C))
        return table, pixels, torch.tensor((loss, weight), dtype=torch.float64)

    def weigh(
        self, table: Tensor, form: str, coefficients: Tensor, dtype: torch.dtype, measure: Tversky = JACCARD
    ) -> tuple[Tensor, Tensor]:
        """The losses and the weights of a table, as `plain.weigh`."""
        losses = torch.empty(coefficients.shape, dtype=torch.float64)
        weights = torch.empty(table.shape, dtype=dtype)
        _kernel.weigh(
            self.name, _array(table), _array(_steps(table.shape[-1] - 1, form)), _array(coefficients),
            measure.alpha, measure.beta, torch.get_num_threads(), _array(losses), _array(weights),
        )  # fmt: skip
        return losses, weights

    def apply(
        self,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        ignore_index: Sequence[int],
        form: str,
        weights: Tensor,
        grad: Tensor | None = None,
        ce_grad: Tensor | None = None,
        ce_weight: Tensor | None = None,
        label_smoothing: float | None = None,
        upsample: str | None = None,
    ) -> Tensor:
        """The gradient in the logits, as `plain.apply`."""
        dtype = compute_dtype(logits)
        out = torch.empty_like(logits) if upsample is None else torch.zeros_like(logits, dtype=dtype)
        scale = 1.0 if grad is None else grad.item()
        ce_scale = 0.0 if ce_grad is None else ce_grad.item()
        _kernel.apply(
            self.name, *_pixels(logits, target, mask, ignore_index), _FORMS.index(form),
            binning.steps(weights.shape[-1] - 1, form), *_cross_entropy(ce_weight, label_smoothing), scale,
            ce_scale, _array(weights.to(dtype)), torch.get_num_threads(), _array(out),
            *_axes(logits, target, upsample),
        )  # fmt: skip
        return out if upsample is None else out.to(logits.dtype)
