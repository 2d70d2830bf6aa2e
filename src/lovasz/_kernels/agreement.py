"""Whether a kernel agrees with plain PyTorch: count, weigh and apply on small fixed inputs.

Counts must be equal. So every error of these inputs stays in its bin when it is rounded otherwise: a pixel where
that is not sure is void. What a kernel gives is compared on the CPU, where plain PyTorch computes what is expected.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._math import binning, interpolation
from .._math.sorting import binary_errors
from ..measures import JACCARD
from . import plain
from .contract import CrossEntropy, Kernel, Pixels

IMAGES, CLASSES, HEIGHT, WIDTH = 2, 5, 23, 29  # odd: no tile and no vector of a kernel is full
VOID = 255
FEW_BINS = 256
#: How far rounding may move an error: absolutely, as 1 - p does, and relatively, as an exponential does.
ABSOLUTE, RELATIVE = 2**-18, 2**-16


class Case(NamedTuple):
    """One call of a kernel.

    Attributes:
        form: "softmax", "sigmoid", "hinge" or "probs".
        dtype: that of the logits.
        per_image: whether each image has a table of its own.
        masked: whether there is a mask, beside the ignored label.
        fused: whether the cross-entropy is computed as well.
        weighted: whether that has class weights.
        smoothing: its label smoothing.
        coarse: whether the logits have a lower resolution than the labels, "linear".
        channels_last: whether the classes lie innermost in memory.
    """

    form: str
    dtype: torch.dtype
    per_image: bool = False
    masked: bool = False
    fused: bool = False
    weighted: bool = False
    smoothing: float = 0.0
    coarse: bool = False
    channels_last: bool = False

    def __str__(self) -> str:
        words = {
            "per image": self.per_image, "mask": self.masked, "cross-entropy": self.fused,
            "class weights": self.weighted, "label smoothing": self.smoothing > 0, "upsampled": self.coarse,
            "channels last": self.channels_last,
        }  # fmt: skip
        return " ".join([self.form, str(self.dtype).removeprefix("torch.")]) + "".join(
            f", {word}" for word, there in words.items() if there
        )


#: Few, as a kernel may be compiled for each: every form in both types, and every option with either value.
CASES = (
    Case("softmax", torch.float32),
    Case("softmax", torch.float32, per_image=True, masked=True, fused=True, weighted=True, smoothing=0.1),
    Case("softmax", torch.bfloat16, masked=True, fused=True, channels_last=True),
    Case("softmax", torch.bfloat16, per_image=True, fused=True, weighted=True, smoothing=0.1, coarse=True),
    Case("sigmoid", torch.float32, fused=True, weighted=True),
    Case("sigmoid", torch.bfloat16, per_image=True, masked=True, coarse=True),
    Case("hinge", torch.float32, per_image=True, masked=True),
    Case("hinge", torch.bfloat16, fused=True),
    Case("probs", torch.float32, masked=True),
    Case("probs", torch.bfloat16, per_image=True),
)


class Problem(NamedTuple):
    """The arguments of a case, on the CPU."""

    pixels: Pixels
    bins: int
    per_image: bool
    ce: CrossEntropy | None
    coefficients: Tensor
    grad: Tensor | None
    ce_grad: Tensor | None


def problem(case: Case) -> Problem:
    """Return the arguments of a case, the same at every call; where it pools, with the default number of bins."""
    form, softmax = case.form, case.form == "softmax"
    generator = torch.Generator("cpu").manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")

    size = (HEIGHT, WIDTH)
    shape = (IMAGES, *size) if softmax else (IMAGES, CLASSES, *size)
    logits = random(IMAGES, CLASSES, *((9, 12) if case.coarse else size))
    logits = (logits if form == "probs" else 4 * logits - 2).to(case.dtype)
    if case.channels_last:
        logits = logits.contiguous(memory_format=torch.channels_last)
    target = (random(*shape) * (CLASSES if softmax else 2)).long()
    mask = random(*shape) > 0.1 if case.masked else None
    pixels = Pixels(logits, target, mask, [VOID], form, "linear" if case.coarse else None)
    bins = FEW_BINS if case.per_image else binning.default_bins(CLASSES, form)
    unsure = ~sure(errors(pixels), bins, form)
    target.masked_fill_(unsure.any(1) if softmax else unsure, VOID)
    if case.dtype != torch.float32:
        pixels = pixels._replace(target=target.to(torch.uint8))
    rows = IMAGES if case.per_image else 1
    coefficients = torch.arange(rows * CLASSES, dtype=torch.float64, device="cpu").view(rows, CLASSES) / CLASSES
    grad, ce_grad = torch.tensor([0.7, 0.3], dtype=torch.float32, device="cpu").unbind()
    ce = None
    if case.fused:
        weights = 0.5 + (random(CLASSES) if softmax else random(CLASSES, 2))
        ce = CrossEntropy(weights if case.weighted else None, case.smoothing)
    return Problem(
        pixels, bins, case.per_image, ce, coefficients, None if form == "probs" else grad, ce_grad if ce else None
    )


def errors(pixels: Pixels) -> Tensor:
    """Return the errors (N, C, *) of pixels, in float64."""
    logits, target, _, _, form, mode = pixels
    x = logits.double()
    if mode is not None:
        x = interpolation.interpolate(x, interpolation.axes(logits, target, mode))
    if form != "softmax":
        return binary_errors(x, target == 1, form)
    labels = torch.arange(x.shape[1], device=x.device).view(1, -1, *(1,) * (x.ndim - 2))
    p = F.softmax(x, 1)
    return torch.where(labels == target[:, None], 1 - p, p)


def sure(errors: Tensor, bins: int, form: str) -> Tensor:
    """Return where errors stay in their bin however they are rounded."""
    low = (errors * (1 - RELATIVE) - ABSOLUTE).clamp(min=0)
    high = errors * (1 + RELATIVE) + ABSOLUTE
    return binning.index(low, bins, form) == binning.index(high, bins, form)


def difference(kernel: Kernel, device: torch.device) -> str:
    """Return in which case what of a kernel differs from plain PyTorch; "" where nothing does.

    Each function is given what plain PyTorch has computed, so that the first to fail is named. The caller's random
    state, grad mode, autocast and default dtype and device have no influence, nor are they changed.
    """
    off = torch.autocast(device.type, enabled=False), torch.autocast("cpu", enabled=False)
    with torch.inference_mode(False), torch.no_grad(), off[0], off[1]:
        for case in CASES:
            found = _difference(kernel, problem(case), device)
            if found:
                return f"{case}: {found}"
    return ""


def _difference(kernel: Kernel, given: Problem, device: torch.device) -> str:
    pixels, bins, per_image, ce, coefficients, *grads = given
    form, dtype = pixels.form, plain.compute_dtype(pixels.logits)
    measure = JACCARD.alpha, JACCARD.beta

    def there(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(device)

    moved = Pixels(pixels.logits.to(device), pixels.target.to(device), there(pixels.mask), *pixels[3:])
    moved_ce = None if ce is None else CrossEntropy(there(ce.class_weights), ce.smoothing)

    counted = plain.count(pixels, bins, per_image, ce)
    names = ("table", "number of pixels", "sum of the cross-entropy")
    for name, found, expected in zip(names, kernel.count(moved, bins, per_image, moved_ce), counted, strict=True):
        if text := _unequal(found, expected):
            return f"the {name} of count {text}"
    weighed = plain.weigh(counted.table, form, coefficients, dtype, *measure)
    table = counted.table.to(device)
    again = kernel.weigh(table, form, coefficients.to(device), dtype, *measure)
    for name, found, expected in zip(("loss", "weights"), again, weighed, strict=True):
        if text := _unequal(found, expected):
            return f"the {name} of weigh {text}"
    weights = weighed[1]
    gradient = plain.apply(pixels, weights, grads[0], ce, grads[1])
    found = kernel.apply(moved, weights.to(device), there(grads[0]), moved_ce, there(grads[1]))
    if found.stride() != gradient.stride():
        return f"the gradient of apply has strides {found.stride()}, expected {gradient.stride()}"
    text = _unequal(found, gradient)
    return f"the gradient of apply {text}" if text else ""


def _unequal(found: Tensor, expected: Tensor) -> str:
    """Return how a tensor differs from what is expected, "" where it does not; floats may by their rounding."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return (
            f"is {found.dtype} of shape {tuple(found.shape)}, expected {expected.dtype} of {tuple(expected.shape)}"
        )
    found = found.cpu()
    if expected.is_floating_point():
        rounding = 2**-7 if expected.dtype == torch.bfloat16 else 0.0
        a, b = found.double(), expected.double()
        wrong = ~torch.isclose(a, b, rtol=rounding, atol=1e-4 * b.abs().max().item())
    else:
        a, b = found, expected
        wrong = a != b
    if not wrong.any():
        return ""
    furthest = (a - b).abs()[wrong].max().item()
    return f"differs in {int(wrong.sum())} of {wrong.numel()} elements, by up to {furthest:.3g}"
