"""The compiled kernel for the CPU: `count`, `weigh` and `apply` of `plain` on the arrays of C++.

`csrc/` holds one kernel for each instruction set; the best that the processor has serves, or the one that the
environment variable LOVASZ_CPU_KERNEL names. "off" leaves the CPU to plain PyTorch.
"""

import functools
import os
from typing import Any

import torch
from torch import Tensor

from .._inputs.labels import canonical_target, num_labels
from .._math import binning, interpolation
from .contract import Counted, CrossEntropy, Pixels
from .plain import compute_dtype

try:
    from . import _compiled
except ImportError as error:
    _compiled = None  # type: ignore[assignment]
    _missing = str(error)

_FORMS = ("softmax", "sigmoid", "hinge", "probs")  # as csrc/kernel.hpp numbers them


def names() -> list[str]:
    """Return the kernels that this processor can run, the best first; none where nothing was compiled."""
    return [] if _compiled is None else _compiled.kernels()


def select() -> tuple[str | None, str]:
    """Return the kernel that serves, or None, and why."""
    if _compiled is None:
        return None, f"the compiled kernel is not installed (a C++17 compiler was missing?): {_missing}"
    found, wanted = names(), os.environ.get("LOVASZ_CPU_KERNEL", "")
    if wanted == "off":
        return None, "LOVASZ_CPU_KERNEL is off"
    if wanted and wanted not in found:
        raise ValueError(f"LOVASZ_CPU_KERNEL must be off or one of {', '.join(found)}, got {wanted!r}")
    return wanted or found[0], "LOVASZ_CPU_KERNEL" if wanted else "the best this processor can run"


def _array(tensor: Tensor) -> Any:
    """Return what the extension takes; bool as uint8, without a copy."""
    return torch.utils.dlpack.to_dlpack(tensor.view(torch.uint8) if tensor.dtype == torch.bool else tensor)


def _pixels(pixels: Pixels) -> dict[str, Any]:
    """Return the pixels by the names of the extension; `lower` and `weight` are those of all axes in a row."""
    logits, target, mask, ignored, form, mode = pixels
    lower = weight = None
    if mode is not None:
        axes = interpolation.axes(logits, target, mode)
        lower = _array(torch.cat([axis.lower for axis in axes]).int())
        weight = _array(torch.cat([axis.weight for axis in axes]))
    return {
        "logits": _array(logits), "target": _array(target), "mask": None if mask is None else _array(mask),
        "ignore": list(ignored), "form": _FORMS.index(form), "lower": lower, "weight": weight,
    }  # fmt: skip


def _cross_entropy(ce: CrossEntropy | None) -> dict[str, Any]:
    if ce is None:
        return {"smoothing": None, "class_weights": []}
    weights = [] if ce.class_weights is None else ce.class_weights.flatten().tolist()
    return {"smoothing": ce.smoothing, "class_weights": weights}


@functools.lru_cache(maxsize=16)
def _steps(bins: int, form: str) -> Tensor:
    grid = binning.grid(bins, form)
    return grid.diff(prepend=grid[:1])


class Kernel:
    """The kernel of one instruction set, with the functions of `plain`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.__name__ = f"lovasz._kernels.cpu.{name}"

    def count(self, pixels: Pixels, bins: int, per_image: bool, ce: CrossEntropy | None = None) -> Counted:
        """Count the pixels, on as many threads as PyTorch has."""
        N, C = pixels.logits.shape[:2]
        rows = N if per_image else 1
        table = torch.empty(rows, C, 2, bins + 1, dtype=torch.int64)
        numbers = torch.empty(2, rows, C, dtype=torch.int64)
        bad, loss, weight = _compiled.count(
            kernel=self.name, **_pixels(pixels), **_cross_entropy(ce), steps=binning.steps(bins, pixels.form),
            per_image=per_image, threads=torch.get_num_threads(), table=_array(table), pixels=_array(numbers),
        )  # fmt: skip
        if bad:  # raises, and names them
            _, target, mask, ignored, form, _ = pixels
            canonical_target(target, mask, ignored, num_labels(form, C))
        return Counted(table, numbers, torch.tensor((loss, weight), dtype=torch.float64))

    def weigh(
        self, table: Tensor, form: str, coefficients: Tensor, dtype: torch.dtype, alpha: float, beta: float
    ) -> tuple[Tensor, Tensor]:
        """Weigh a table, in one walk down the bins of each class."""
        losses = torch.empty(coefficients.shape, dtype=torch.float64)
        weights = torch.empty(table.shape, dtype=dtype)
        _compiled.weigh(
            kernel=self.name, table=_array(table), steps=_array(_steps(table.shape[-1] - 1, form)),
            coefficients=_array(coefficients), alpha=alpha, beta=beta, threads=torch.get_num_threads(),
            losses=_array(losses), weights=_array(weights),
        )  # fmt: skip
        return losses, weights

    def apply(
        self,
        pixels: Pixels,
        weights: Tensor,
        grad: Tensor | None = None,
        ce: CrossEntropy | None = None,
        ce_grad: Tensor | None = None,
    ) -> Tensor:
        """Apply the weights of the bins to the pixels."""
        logits, finer = pixels.logits, pixels.interpolation is not None
        dtype = compute_dtype(logits)
        out = torch.zeros_like(logits, dtype=dtype) if finer else torch.empty_like(logits)
        _compiled.apply(
            kernel=self.name, **_pixels(pixels), **_cross_entropy(ce),
            steps=binning.steps(weights.shape[-1] - 1, pixels.form), scale=1.0 if grad is None else grad.item(),
            ce_scale=0.0 if ce_grad is None else ce_grad.item(), weights=_array(weights.to(dtype)),
            threads=torch.get_num_threads(), gradient=_array(out),
        )  # fmt: skip
        return out.to(logits.dtype) if finer else out
