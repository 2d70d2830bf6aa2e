"""The operators: schema, fake and autograd once, and which kernel serves which device.

`count` makes the table, `loss` weighs it, `loss_backward` weighs it again and applies it to the pixels. Nothing
but the table is kept between forward and backward. With `label_smoothing`, the same passes make the sum of the
cross-entropy and its gradient. A kernel has the functions `count`, `losses`, `weights` and `apply` of `_torch`;
registering it for its device is all that a new one needs here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import _cpu, _inputs, _torch

_PIXELS = "Tensor logits, Tensor target, Tensor? mask, int[] ignore_index, str form"
_CROSS_ENTROPY = "Tensor? ce_weight=None, float? label_smoothing=None"

_library = torch.library.Library("lovasz", "DEF")
_library.define("labels(Tensor target, Tensor? mask, int[] ignore_index, int num_classes) -> Tensor")
_library.define(f"count({_PIXELS}, int bins, bool per_image, {_CROSS_ENTROPY}) -> (Tensor, Tensor, Tensor)")
_library.define(f"loss({_PIXELS}, Tensor table, Tensor sums, {_CROSS_ENTROPY}) -> (Tensor, Tensor)")
_library.define(f"loss_backward(Tensor grad, Tensor ce_grad, {_PIXELS}, Tensor table, {_CROSS_ENTROPY}) -> Tensor")


def _loss(kernel: Any) -> Callable[..., tuple[Tensor, Tensor]]:
    def loss(
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        ignore_index: Sequence[int],
        form: str,
        table: Tensor,
        sums: Tensor,
        ce_weight: Tensor | None = None,
        label_smoothing: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        dtype = _torch.compute_dtype(logits)
        return kernel.losses(table, form).to(dtype), sums[0].to(dtype, copy=True)

    return loss


def _loss_backward(kernel: Any) -> Callable[..., Tensor]:
    def loss_backward(
        grad: Tensor,
        ce_grad: Tensor,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        ignore_index: Sequence[int],
        form: str,
        table: Tensor,
        ce_weight: Tensor | None = None,
        label_smoothing: float | None = None,
    ) -> Tensor:
        weights = kernel.weights(table, form, grad, _torch.compute_dtype(logits))
        cross_entropy = (ce_grad, ce_weight, label_smoothing)
        return kernel.apply(logits, target, mask, ignore_index, form, weights, *cross_entropy)

    return loss_backward


def _register(kernel: Any, key: str) -> None:
    _library.impl("count", kernel.count, key)
    _library.impl("loss", _loss(kernel), key)
    _library.impl("loss_backward", _loss_backward(kernel), key)


_library.impl("labels", _inputs.canonical_target, "CompositeExplicitAutograd")
_register(_torch, "CompositeExplicitAutograd")
_cpu_kernel, _cpu_reason = _cpu.select()
if _cpu_kernel is not None:
    _register(_cpu.Kernel(_cpu_kernel), "CPU")


@torch.library.register_fake("lovasz::labels", lib=_library)
def _labels_fake(target: Tensor, mask: Any, ignore_index: Any, num_classes: int) -> Tensor:
    return torch.empty_like(target, dtype=torch.int64)


@torch.library.register_fake("lovasz::count", lib=_library)
def _count_fake(
    logits: Tensor, target: Tensor, mask: Any, ignore_index: Any, form: str, bins: int, per_image: bool,
    ce_weight: Any = None, label_smoothing: Any = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    rows, C = logits.shape[0] if per_image else 1, logits.shape[1]
    table = logits.new_empty((rows, C, 2, bins + 1), dtype=torch.int64)
    return table, logits.new_empty((2, rows, C), dtype=torch.int64), logits.new_empty(2, dtype=torch.float64)


@torch.library.register_fake("lovasz::loss", lib=_library)
def _loss_fake(
    logits: Tensor, target: Tensor, mask: Any, ignore_index: Any, form: str, table: Tensor, sums: Tensor,
    ce_weight: Any = None, label_smoothing: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    dtype = _torch.compute_dtype(logits)
    return logits.new_empty(table.shape[:2], dtype=dtype), logits.new_empty((), dtype=dtype)


@torch.library.register_fake("lovasz::loss_backward", lib=_library)
def _loss_backward_fake(
    grad: Tensor, ce_grad: Tensor, logits: Tensor, target: Tensor, mask: Any, ignore_index: Any, form: str,
    table: Tensor, ce_weight: Any = None, label_smoothing: Any = None,
) -> Tensor:  # fmt: skip
    return torch.empty_like(logits)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    logits, target, mask, ctx.ignore_index, ctx.form, table, _, ce_weight, ctx.label_smoothing = inputs
    ctx.save_for_backward(logits, target, mask, table, ce_weight)


def _backward(ctx: Any, grad: Tensor, ce_grad: Tensor) -> tuple[Tensor | None, ...]:
    logits, target, mask, table, ce_weight = ctx.saved_tensors
    pixels = (logits, target, mask, ctx.ignore_index, ctx.form)
    grad_logits = torch.ops.lovasz.loss_backward(grad, ce_grad, *pixels, table, ce_weight, ctx.label_smoothing)
    return grad_logits, *(None,) * 8


def _no_second_backward(ctx: Any, grad: Tensor) -> None:
    raise RuntimeError("the Lovász losses have no second derivative when they count; pass bins=None to sort")


torch.library.register_autograd("lovasz::loss", _backward, setup_context=_save, lib=_library)
torch.library.register_autograd("lovasz::loss_backward", _no_second_backward, lib=_library)


def kernels() -> list[tuple[str, str, str]]:
    """Device, the kernel that serves it, and why."""
    cpu = "PyTorch" if _cpu_kernel is None else f"C++, {_cpu_kernel}"
    return [("cpu", cpu, _cpu_reason), ("any other", "PyTorch", "plain tensor operations serve every device")]
