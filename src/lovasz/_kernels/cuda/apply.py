"""Apply the weights of the bins to the pixels: the gradient, in one launch."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from ..contract import CrossEntropy, Pixels
from ..plain import compute_dtype
from ..strips import Part, Strips, whole
from . import finer, operands, records, shapes
from .operands import Operands
from .records import Launch, Launcher


def apply(
    launcher: Launcher,
    pixels: Pixels,
    weights: Tensor,
    grad: Tensor | None = None,
    ce: CrossEntropy | None = None,
    ce_grad: Tensor | None = None,
) -> Tensor:
    """Apply the weights of the bins to the pixels, in one launch or strip by strip."""
    logits, form = pixels.logits, pixels.form
    weights = weights.to(compute_dtype(logits)).contiguous()
    factors = (grad, ce if ce_grad is not None else None, ce_grad)
    if pixels.interpolation is not None:
        strips = Strips(pixels)
        total = torch.zeros_like(logits, dtype=compute_dtype(logits))
        for part in strips.parts(functools.partial(finer.interpolate, launcher)):
            gradient = torch.empty_like(part.logits)
            some = weights[part.images] if len(weights) > 1 else weights
            _apply(launcher, part, pixels.ignored, form, some, *factors, gradient, len(weights) > 1)
            strips.collect(part, gradient, total, functools.partial(finer.collect, launcher))
        return total.to(logits.dtype)
    part, out = whole(pixels), torch.empty_like(logits)
    flat = out.flatten(2) if out.flatten(2).data_ptr() == out.data_ptr() else torch.empty_like(part.logits)
    _apply(launcher, part, pixels.ignored, form, weights, *factors, flat, len(weights) > 1)
    return out if flat.data_ptr() == out.data_ptr() else out.copy_(flat.view(out.shape))


def _apply(
    launcher: Launcher,
    part: Part,
    ignored: Sequence[int],
    form: str,
    weights: Tensor,
    grad: Tensor | None,
    ce: CrossEntropy | None,
    ce_grad: Tensor | None,
    out: Tensor,
    per_image: bool,
) -> None:
    """Fill the gradient of a part (n, C, p)."""
    if out.numel() == 0:
        return
    of = Operands(part, ignored, form)
    N, C, P = out.shape
    macros = of.macros | {"CROSS_ENTROPY": int(ce is not None)}
    for name, factor in (("GRAD", grad), ("CE_GRAD", ce_grad)):
        macros[name] = operands.name(of.real if factor is None else factor.dtype)
    last = operands.class_last(of.logits) and operands.class_last(out)
    if form == "softmax":
        tile = shapes.tile(C, of.real.itemsize, operands.class_last(of.logits))
        macros |= {
            "CLASSES": C, "PIXELS": tile.pixels, "SLICES": tile.slices, "BLOCK": tile.pixels * tile.slices,
            "HELD": tile.held, "LAST": int(tile.last), "LAST_OUT": int(tile.last and last),
        }  # fmt: skip
        pixels = of.pixels(tile.pixels, weights.shape[-1] - 1, per_image)
        blocks = N * pixels.tiles
    else:
        macros |= {"BLOCK": shapes.BLOCK, "LAST": int(last)}
        pixels = of.pixels(shapes.BLOCK, weights.shape[-1] - 1, per_image)
        pixels.tiles = -(-P * (C if last else 1) // shapes.BLOCK)
        blocks = N * pixels.tiles * (1 if last else C)
    entropy, class_weights = operands.entropy(ce, of.real)
    pointers = (None if t is None else t.data_ptr() for t in (weights, grad, ce_grad, out))
    applying = records.Applying(*pointers, *out.stride())
    launch = Launch(f"apply_{'softmax' if form == 'softmax' else 'binary'}", "apply", macros, blocks, 0,
                    (pixels, entropy, applying))  # fmt: skip
    launcher.launch(launch, out.device)
    del class_weights
