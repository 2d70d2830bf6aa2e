"""The operators of `torch.library`, which kernel serves which device, and the gradient of a loss that counts.

`count` makes the table, `weigh` the losses and weights of its bins, `apply` brings these to the pixels. Nothing but
the weights of the bins is kept between forward and backward. A kernel is what `contract.Kernel` says; registering
it for its device is all that a new one needs here.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._inputs.labels import canonical_target, whole_labels
from .._math import jaccard
from . import collective, cpu, gpu, plain
from .contract import Counted, CrossEntropy, Kernel, Pixels

_PIXELS = "Tensor logits, Tensor target, Tensor? mask, int[] ignored, str form, str? interpolation"
_CE = "Tensor? class_weights, float? smoothing"

_library = torch.library.Library("lovasz", "DEF")
_library.define("labels(Tensor target, Tensor? mask, int[] ignored, int num_classes) -> Tensor")
_library.define("whole_labels(Tensor target) -> Tensor")
_library.define(f"count({_PIXELS}, int bins, bool per_image, {_CE}) -> (Tensor, Tensor, Tensor)")
_library.define(
    "weigh(Tensor table, str form, Tensor coefficients, ScalarType dtype, float alpha, float beta)"
    " -> (Tensor, Tensor)"
)
_library.define(
    f"loss({_PIXELS}, Tensor table, Tensor ce_sum, Tensor coefficients, bool total, float alpha, float beta, {_CE})"
    " -> (Tensor, Tensor)"
)
_library.define(f"apply({_PIXELS}, Tensor weights, Tensor? grad, {_CE}, Tensor? ce_grad) -> Tensor")
_library.define("all_reduce(Tensor counts, str group, str[] kind) -> Tensor")

# ---- which kernel serves which device ----


def _register(kernel: Kernel, key: str) -> None:
    """Register a kernel: the flat arguments of the schemas become the records of the contract."""

    def count(
        logits: Tensor, target: Tensor, mask: Tensor | None, ignored: Sequence[int], form: str,
        interpolation: str | None, bins: int, per_image: bool, class_weights: Tensor | None,
        smoothing: float | None,
    ) -> Counted:  # fmt: skip
        pixels = Pixels(logits, target, mask, ignored, form, interpolation)
        return kernel.count(pixels, bins, per_image, _ce(class_weights, smoothing))

    def apply(
        logits: Tensor, target: Tensor, mask: Tensor | None, ignored: Sequence[int], form: str,
        interpolation: str | None, weights: Tensor, grad: Tensor | None, class_weights: Tensor | None,
        smoothing: float | None, ce_grad: Tensor | None,
    ) -> Tensor:  # fmt: skip
        pixels = Pixels(logits, target, mask, ignored, form, interpolation)
        return kernel.apply(pixels, weights, grad, _ce(class_weights, smoothing), ce_grad)

    _library.impl("count", count, key)
    _library.impl("weigh", kernel.weigh, key)
    _library.impl("apply", apply, key)


def _ce(class_weights: Tensor | None, smoothing: float | None) -> CrossEntropy | None:
    return None if smoothing is None else CrossEntropy(class_weights, smoothing)


def _flat(ce: CrossEntropy | None) -> CrossEntropy | tuple[None, None]:
    return (None, None) if ce is None else ce


_library.impl("all_reduce", collective.all_reduce, "CompositeExplicitAutograd")
_library.impl("labels", canonical_target, "CompositeExplicitAutograd")
_library.impl("whole_labels", whole_labels, "CompositeExplicitAutograd")
_register(plain, "CompositeExplicitAutograd")
gpu_kernel = gpu.Kernel(*gpu.select())
_register(gpu_kernel, "CUDA")
_cpu_kernel, _cpu_reason = cpu.select()
if _cpu_kernel is not None:
    _register(cpu.Kernel(_cpu_kernel), "CPU")


@torch.library.register_fake("lovasz::labels", lib=_library)
def _labels_fake(target: Tensor, mask: Any, ignored: Any, num_classes: int) -> Tensor:
    return torch.empty_like(target, dtype=torch.int64)


@torch.library.register_fake("lovasz::whole_labels", lib=_library)
def _whole_labels_fake(target: Tensor) -> Tensor:
    return torch.empty_like(target, dtype=torch.int32)


@torch.library.register_fake("lovasz::all_reduce", lib=_library)
def _all_reduce_fake(counts: Tensor, group: str, kind: Any) -> Tensor:
    return torch.empty_like(counts)


@torch.library.register_fake("lovasz::count", lib=_library)
def _count_fake(
    logits: Tensor, target: Tensor, mask: Any, ignored: Any, form: str, interpolation: Any, bins: int,
    per_image: bool, class_weights: Any, smoothing: Any,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    rows, C = logits.shape[0] if per_image else 1, logits.shape[1]
    table = logits.new_empty((rows, C, 2, bins + 1), dtype=torch.int64)
    return table, logits.new_empty((2, rows, C), dtype=torch.int64), logits.new_empty(2, dtype=torch.float64)


@torch.library.register_fake("lovasz::weigh", lib=_library)
def _weigh_fake(
    table: Tensor, form: str, coefficients: Tensor, dtype: torch.dtype, alpha: float, beta: float
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(coefficients), table.new_empty(table.shape, dtype=dtype)


@torch.library.register_fake("lovasz::apply", lib=_library)
def _apply_fake(logits: Tensor, target: Tensor, mask: Any, ignored: Any, form: str, *rest: Any) -> Tensor:
    return torch.empty_like(logits)


# ---- the loss and its gradient ----


def count(pixels: Pixels, bins: int, per_image: bool = False, ce: CrossEntropy | None = None) -> Counted:
    """Count with the kernel of the device, without a graph."""
    logits, *rest = pixels
    counted = torch.ops.lovasz.count.default(logits.detach(), *rest, bins, per_image, *_flat(ce))
    return Counted(*counted)


def loss(
    pixels: Pixels,
    table: Tensor,
    ce_sum: Tensor,
    coefficients: Tensor,
    total: bool,
    alpha: float,
    beta: float,
    ce: CrossEntropy | None,
) -> tuple[Tensor, Tensor]:
    """Return the losses times their coefficients, summed if `total`, and the sum of the cross-entropy.

    Differentiable in the logits: once, and backward.
    """
    if _forward_mode(pixels.logits):
        raise RuntimeError(
            "the Lovász losses have no forward-mode derivative when they count; pass bins=None to sort"
        )
    args = (*pixels, table, ce_sum, coefficients, total, alpha, beta, *_flat(ce))
    # An operator where one compiles: tracing an autograd.Function, Dynamo warns of its own doing.
    return torch.ops.lovasz.loss.default(*args) if torch.compiler.is_compiling() else _loss(*args)


def _loss(*args: Any) -> tuple[Tensor, Tensor]:
    function = _Loss if torch._C._are_functorch_transforms_active() else _PlainLoss
    value, ce_value, _ = function.apply(*args)
    return value, ce_value


_library.impl("loss", _loss, "CompositeImplicitAutograd")


def _forward_mode(logits: Tensor) -> bool:
    """Return whether a derivative of the logits goes forward, by torch.autograd.forward_ad or by torch.func."""
    forward = torch.autograd.forward_ad
    if forward._current_level >= 0 and forward.unpack_dual(logits).tangent is not None:
        return True
    if not torch._C._are_functorch_transforms_active():
        return False
    functorch: Any = torch._C._functorch
    return any(i.key() == functorch.TransformType.Jvp for i in functorch.get_interpreter_stack())


class _Loss(torch.autograd.Function):
    """The weights of the bins go from forward to backward, and nothing else that was computed."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        logits: Tensor, target: Tensor, mask: Tensor | None, ignored: Sequence[int], form: str,
        interpolation: str | None, table: Tensor, ce_sum: Tensor, coefficients: Tensor, total: bool, alpha: float,
        beta: float, class_weights: Tensor | None, smoothing: float | None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        dtype = plain.compute_dtype(logits)
        losses, weights = torch.ops.lovasz.weigh.default(table, form, coefficients, dtype, alpha, beta)
        value = jaccard.block_sum(losses.flatten()) if total else losses
        return value.to(dtype), ce_sum.to(dtype, copy=True), weights

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        logits, target, mask, ignored, form, interpolation, *_, class_weights, smoothing = inputs
        weights = output[2]
        ctx.save_for_backward(logits, target, mask, weights, class_weights)
        ctx.rest = ignored, form, interpolation, smoothing
        ctx.mark_non_differentiable(weights)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, ce_grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        logits, target, mask, weights, class_weights = ctx.saved_tensors
        ignored, form, interpolation, smoothing = ctx.rest
        if grad is None:
            grad = weights.new_zeros(())
        if grad.ndim:  # of each class
            weights, grad = jaccard.weighted(weights, grad[..., None, None]), None
        gradient = torch.ops.lovasz.apply.default(
            logits.detach(), target, mask, ignored, form, interpolation, weights, grad, class_weights, smoothing,
            ce_grad,
        )  # fmt: skip
        if torch.is_grad_enabled():  # a graph of the gradient is wanted
            gradient = _Once.apply(gradient, logits)
        return gradient, *(None,) * 13


class _PlainLoss(torch.autograd.Function):
    """The same where no transform of torch.func is active.

    With a `setup_context` PyTorch binds the arguments to the signature anew at every call: 210 calls of Python,
    where all the rest of a loss takes 80.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
        output = _Loss.forward(*args)
        _Loss.setup_context(ctx, args, output)
        return output

    backward = _Loss.backward


class _Once(torch.autograd.Function):
    """A gradient that has none of its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, logits: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> None:
        raise RuntimeError("the Lovász losses have no second derivative when they count; pass bins=None to sort")


def kernels() -> list[tuple[str, str, str]]:
    """List which kernel serves which device and why, as ``lovasz info`` prints it.

    Returns:
        A row of device, kernel and reason for the CPU, for CUDA and for every other device.

    Example:
        >>> [device for device, _, _ in kernels()]
        ['cpu', 'cuda', 'any other']
    """
    cpu = "PyTorch" if _cpu_kernel is None else f"C++, {_cpu_kernel}"
    return [
        ("cpu", cpu, _cpu_reason),
        ("cuda", *gpu_kernel.row()),
        ("any other", "PyTorch", "plain tensor operations serve every device"),
    ]
