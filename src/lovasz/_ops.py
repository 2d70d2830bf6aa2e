"""The operators: schema, fake and autograd once, and which kernel serves which device.

`count` makes the table, `loss` weighs it, `loss_backward` weighs it again and applies it to the pixels. Nothing
but the table is kept between forward and backward. A kernel is a module with the functions `count` and
`apply` of `_torch`; registering it for its device is all that a new one needs here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import _inputs, _jaccard, _torch

_PIXELS = "Tensor logits, Tensor target, Tensor? mask, int[] ignore_index, str form"

_library = torch.library.Library("lovasz", "DEF")
_library.define("labels(Tensor target, Tensor? mask, int[] ignore_index, int num_classes) -> Tensor")
_library.define(f"count({_PIXELS}, int bins, bool per_image) -> Tensor")
_library.define(f"loss({_PIXELS}, Tensor table) -> Tensor")
_library.define(f"loss_backward(Tensor grad, {_PIXELS}, Tensor table) -> Tensor")


def _rows(table: Tensor) -> tuple[Tensor, int]:
    """The table as one row per image and class, and how many rows to weigh at once: a few MiB in float64."""
    rows = table.flatten(0, 1)
    return rows, max(1, 2**19 // (2 * table.shape[-1]))


def _loss(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    ignore_index: Sequence[int],
    form: str,
    table: Tensor,
) -> Tensor:
    rows, block = _rows(table)
    losses = [_jaccard.losses(part, form) for part in rows.split(block)]
    return torch.cat(losses).view(table.shape[:2]).to(_torch.compute_dtype(logits))


def _loss_backward(apply: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def loss_backward(
        grad: Tensor,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        ignore_index: Sequence[int],
        form: str,
        table: Tensor,
    ) -> Tensor:
        rows, block = _rows(table)
        weights = torch.empty(rows.shape, dtype=_torch.compute_dtype(logits), device=table.device)
        grads = grad.double().flatten()[:, None, None]
        for w, part, g in zip(weights.split(block), rows.split(block), grads.split(block), strict=True):
            # A class that takes no part may hold NaN, and has no gradient all the same.
            w.copy_(torch.where(g == 0, 0.0, _jaccard.weights(part, form) * g))
        return apply(logits, target, mask, ignore_index, form, weights.view(table.shape))

    return loss_backward


def _register(kernel: Any, key: str) -> None:
    _library.impl("count", kernel.count, key)
    _library.impl("loss_backward", _loss_backward(kernel.apply), key)


_library.impl("labels", _inputs.canonical_target, "CompositeExplicitAutograd")
_library.impl("loss", _loss, "CompositeExplicitAutograd")
_register(_torch, "CompositeExplicitAutograd")


@torch.library.register_fake("lovasz::labels", lib=_library)
def _labels_fake(target: Tensor, mask: Any, ignore_index: Any, num_classes: int) -> Tensor:
    return torch.empty_like(target, dtype=torch.int64)


@torch.library.register_fake("lovasz::count", lib=_library)
def _count_fake(logits: Tensor, target: Tensor, mask: Any, ignore_index: Any, form: str,
                bins: int, per_image: bool) -> Tensor:  # fmt: skip
    N, C, _ = logits.shape
    return logits.new_empty((N if per_image else 1, C, 2, bins + 1), dtype=torch.int64)


@torch.library.register_fake("lovasz::loss", lib=_library)
def _loss_fake(logits: Tensor, target: Tensor, mask: Any, ignore_index: Any, form: str,
               table: Tensor) -> Tensor:  # fmt: skip
    return logits.new_empty(table.shape[:2], dtype=_torch.compute_dtype(logits))


@torch.library.register_fake("lovasz::loss_backward", lib=_library)
def _loss_backward_fake(grad: Tensor, logits: Tensor, target: Tensor, mask: Any, ignore_index: Any,
                        form: str, table: Tensor) -> Tensor:  # fmt: skip
    return torch.empty_like(logits)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    logits, target, mask, ctx.ignore_index, ctx.form, table = inputs
    ctx.save_for_backward(logits, target, mask, table)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    logits, target, mask, table = ctx.saved_tensors
    grad_logits = torch.ops.lovasz.loss_backward(grad, logits, target, mask, ctx.ignore_index, ctx.form, table)
    return grad_logits, None, None, None, None, None


def _no_second_backward(ctx: Any, grad: Tensor) -> None:
    raise RuntimeError("the Lovász losses have no second derivative when they count; pass bins=None to sort")


torch.library.register_autograd("lovasz::loss", _backward, setup_context=_save, lib=_library)
torch.library.register_autograd("lovasz::loss_backward", _no_second_backward, lib=_library)


def kernels() -> list[tuple[str, str, str]]:
    """Device, the kernel that serves it, and why."""
    return [("any", "PyTorch", "this version has no compiled kernel: plain tensor operations")]
