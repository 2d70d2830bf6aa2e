"""The operators: schema, fake and autograd once, and which kernel serves which device.

`count` makes the table, `loss` weighs it, `loss_backward` applies the weights to the pixels. Nothing but the
weights of the bins is kept between forward and backward. With `label_smoothing`, the same passes make the sum of
the cross-entropy and its gradient. A kernel has the functions `count`, `weigh` and `apply` of `plain`;
registering it for its device is all that a new one needs here.
"""

import functools
import importlib
import importlib.util
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._inputs import layouts
from .._math import jaccard
from ..measures import Tversky
from . import cpu, plain

_PIXELS = "Tensor logits, Tensor target, Tensor? mask, int[] ignore_index, str form"
_CROSS_ENTROPY = "Tensor? ce_weight, float? label_smoothing"

_library = torch.library.Library("lovasz", "DEF")
_library.define("labels(Tensor target, Tensor? mask, int[] ignore_index, int num_classes) -> Tensor")
_library.define(
    f"count({_PIXELS}, int bins, bool per_image, Tensor? ce_weight=None, float? label_smoothing=None, "
    "str? upsample=None) -> (Tensor, Tensor, Tensor)"
)
_library.define(
    f"loss({_PIXELS}, Tensor table, Tensor sums, Tensor coefficients, bool total, float alpha, float beta, "
    f"{_CROSS_ENTROPY}, str? upsample) -> (Tensor, Tensor, Tensor)"
)
_library.define(
    f"loss_backward(Tensor? grad, Tensor? ce_grad, {_PIXELS}, Tensor weights, {_CROSS_ENTROPY}, str? upsample)"
    " -> Tensor"
)

_library.define("all_reduce(Tensor counts, str group, str[] kind) -> Tensor")

#: Groups and kinds of counts on an accelerator whose agreement has been read back once, at the price of waiting.
_agreed: set[tuple[str, tuple[str, ...], tuple[int, ...]]] = set()


def _words(kind: Sequence[str]) -> list[int]:
    """A number for each part of a kind, and its square: processes agree when both add up to n times their own.

    Then the mean of the numbers is one's own and their variance is 0. With 24 bits no sum overflows.
    """
    numbers = [zlib.crc32(part.encode()) & 0xFFFFFF for part in kind]
    return [*numbers, *(number**2 for number in numbers)]


def _all_reduce(counts: Tensor, group: str, kind: Sequence[str]) -> Tensor:
    """The sum over the processes of a group, by its name; an error where that fails, or adds what does not agree.

    Tables of one size may be of different things. `kind` says of what, part by part ("bins=8192"), and travels
    behind the table in two words a part; of floats, with an empty `kind`, nothing does.
    """
    resolve: Any = torch.distributed.distributed_c10d._resolve_process_group
    processes = resolve(group)
    own = _words(kind)
    total = torch.cat((counts.flatten(), counts.new_tensor(own)))
    try:
        torch.distributed.all_reduce(total, group=processes)
    except RuntimeError as error:
        what = f"{str(counts.dtype).removeprefix('torch.')} {tuple(counts.shape)}"
        raise RuntimeError(
            f"all_reduce of Lovász counts ({what}, {counts.nbytes} bytes) failed in process {processes.rank()} of "
            f"{processes.size()}: another process died, hangs, did not make this call, or made it with other "
            f"classes or bins: {error}"
        ) from error
    asked = (group, tuple(kind), tuple(counts.shape))
    if own and (counts.device.type == "cpu" or asked not in _agreed):
        sums = total[-len(own) :].tolist()
        right = [s == processes.size() * word for s, word in zip(sums, own, strict=True)]
        differ = [part for i, part in enumerate(kind) if not (right[i] and right[i + len(kind)])]
        if differ:
            raise RuntimeError(
                f"the processes of a group must count the same: process {processes.rank()} of {processes.size()} "
                f"has {', '.join(differ)}, another has not"
            )
        if counts.device.type != "cpu":
            _agreed.add(asked)
    return total[: counts.numel()].view(counts.shape)


def _loss(kernel: Any) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    def loss(
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        ignore_index: Sequence[int],
        form: str,
        table: Tensor,
        sums: Tensor,
        coefficients: Tensor,
        total: bool,
        alpha: float,
        beta: float,
        ce_weight: Tensor | None = None,
        label_smoothing: float | None = None,
        upsample: str | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = plain.compute_dtype(logits)
        losses, weights = kernel.weigh(table, form, coefficients, dtype, Tversky(alpha, beta))
        loss = jaccard.block_sum(losses.flatten()) if total else losses
        return loss.to(dtype), sums[0].to(dtype, copy=True), weights

    return loss


def _loss_backward(kernel: Any) -> Callable[..., Tensor]:
    def loss_backward(
        grad: Tensor | None,
        ce_grad: Tensor | None,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        ignore_index: Sequence[int],
        form: str,
        weights: Tensor,
        ce_weight: Tensor | None = None,
        label_smoothing: float | None = None,
        upsample: str | None = None,
    ) -> Tensor:
        if grad is None:
            grad = weights.new_zeros(())
        if grad.ndim:  # of each class
            weights, grad = jaccard.weighted(weights, grad[..., None, None]), None
        cross_entropy = (ce_grad, ce_weight, label_smoothing)
        return kernel.apply(logits, target, mask, ignore_index, form, weights, grad, *cross_entropy, upsample)

    return loss_backward


def _register(kernel: Any, key: str) -> None:
    _library.impl("count", kernel.count, key)
    _library.impl("loss", _loss(kernel), key)
    _library.impl("loss_backward", _loss_backward(kernel), key)


@functools.cache
def _triton() -> Any:
    """The kernel of CUDA and ROCm, loaded with the first tensor there; plain PyTorch where Triton is missing."""
    return (
        plain
        if importlib.util.find_spec("triton") is None
        else importlib.import_module(".triton.passes", __package__)
    )


class _CUDA:
    """Whatever `_triton` finds, found when it is called."""

    @staticmethod
    def count(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
        return _triton().count(*args)

    @staticmethod
    def weigh(*args: Any) -> tuple[Tensor, Tensor]:
        return _triton().weigh(*args)

    @staticmethod
    def apply(*args: Any) -> Tensor:
        return _triton().apply(*args)


_library.impl("all_reduce", _all_reduce, "CompositeExplicitAutograd")
_library.impl("labels", layouts.canonical_target, "CompositeExplicitAutograd")
_register(plain, "CompositeExplicitAutograd")
_register(_CUDA, "CUDA")
_cpu_kernel, _cpu_reason = cpu.select()
if _cpu_kernel is not None:
    _register(cpu.Kernel(_cpu_kernel), "CPU")


@torch.library.register_fake("lovasz::labels", lib=_library)
def _labels_fake(target: Tensor, mask: Any, ignore_index: Any, num_classes: int) -> Tensor:
    return torch.empty_like(target, dtype=torch.int64)


@torch.library.register_fake("lovasz::all_reduce", lib=_library)
def _all_reduce_fake(counts: Tensor, group: str, kind: Any) -> Tensor:
    return torch.empty_like(counts)


@torch.library.register_fake("lovasz::count", lib=_library)
def _count_fake(
    logits: Tensor, target: Tensor, mask: Any, ignore_index: Any, form: str, bins: int, per_image: bool,
    ce_weight: Any = None, label_smoothing: Any = None, upsample: Any = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    rows, C = logits.shape[0] if per_image else 1, logits.shape[1]
    table = logits.new_empty((rows, C, 2, bins + 1), dtype=torch.int64)
    return table, logits.new_empty((2, rows, C), dtype=torch.int64), logits.new_empty(2, dtype=torch.float64)


@torch.library.register_fake("lovasz::loss", lib=_library)
def _loss_fake(
    logits: Tensor, target: Tensor, mask: Any, ignore_index: Any, form: str, table: Tensor, sums: Tensor,
    coefficients: Tensor, total: bool, alpha: float, beta: float, ce_weight: Any = None,
    label_smoothing: Any = None, upsample: Any = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    dtype = plain.compute_dtype(logits)
    loss = logits.new_empty(() if total else table.shape[:2], dtype=dtype)
    return loss, logits.new_empty((), dtype=dtype), logits.new_empty(table.shape, dtype=dtype)


@torch.library.register_fake("lovasz::loss_backward", lib=_library)
def _loss_backward_fake(
    grad: Tensor, ce_grad: Tensor, logits: Tensor, target: Tensor, mask: Any, ignore_index: Any, form: str,
    weights: Tensor, ce_weight: Any = None, label_smoothing: Any = None, upsample: Any = None,
) -> Tensor:  # fmt: skip
    return torch.empty_like(logits)


_ONLY_BACKWARD = (
    "the Lovász losses are differentiated by backward alone when they count, not forward or by torch.func; pass "
    "bins=None to sort"
)


class _Loss(torch.autograd.Function):
    """`loss` with its gradient; `torch.library.register_autograd` would cost 50 microseconds more a call."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            loss, ce, weights = torch.ops.lovasz.loss.default(*args)
        logits, target, mask, ctx.ignore_index, ctx.form, *_, ce_weight, ctx.label_smoothing, ctx.upsample = args
        ctx.mark_non_differentiable(weights)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(logits, target, mask, weights, ce_weight)
        return loss, ce, weights

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, ce_grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        logits, target, mask, weights, ce_weight = ctx.saved_tensors
        pixels = (logits, target, mask, ctx.ignore_index, ctx.form)
        with torch.no_grad():
            gradient = torch.ops.lovasz.loss_backward(
                grad, ce_grad, *pixels, weights, ce_weight, ctx.label_smoothing, ctx.upsample
            )
        if torch.is_grad_enabled():  # a graph of the gradient is wanted
            gradient = _Once.apply(gradient, logits)
        return gradient, *(None,) * 13

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        raise RuntimeError(_ONLY_BACKWARD)


def _differentiable_loss(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    if torch._C._are_functorch_transforms_active():
        raise RuntimeError(_ONLY_BACKWARD)
    return _Loss.apply(*args)


class _Once(torch.autograd.Function):
    """A gradient that has none of its own."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, logits: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> None:
        raise RuntimeError("the Lovász losses have no second derivative when they count; pass bins=None to sort")


_library.impl("loss", _differentiable_loss, "Autograd")


def kernels() -> list[tuple[str, str, str]]:
    """Device, the kernel that serves it, and why."""
    cpu = "PyTorch" if _cpu_kernel is None else f"C++, {_cpu_kernel}"
    found = importlib.util.find_spec("triton") is not None
    return [
        ("cpu", cpu, _cpu_reason),
        (
            "cuda",
            "Triton" if found else "PyTorch",
            "loaded when it is needed" if found else "Triton is not installed",
        ),
        ("any other", "PyTorch", "plain tensor operations serve every device"),
    ]
