"""Apply the weights of the bins to the pixels: the gradient, in one launch."""

import functools
from collections.abc import Sequence

from torch import Tensor

from ..contract import CrossEntropy, Pixels
from ..strips import Part, gradient
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
    factors = (grad, ce if ce_grad is not None else None, ce_grad)

    def fill(part: Part, some: Tensor, out: Tensor) -> None:
        _apply(launcher, part, pixels.ignored, pixels.form, some, *factors, out)

    interpolate, collect = (functools.partial(one, launcher) for one in (finer.interpolate, finer.collect))
    return gradient(pixels, weights, fill, interpolate, collect)


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
        macros |= tile.macros(C) | {"LAST_OUT": int(tile.last and last)}
        pixels = of.pixels(tile.pixels, weights.shape[-1] - 1, len(weights) > 1)
        blocks = N * pixels.tiles
    else:
        macros |= {"BLOCK": shapes.BLOCK, "LAST": int(last)}
        pixels = of.pixels(shapes.BLOCK, weights.shape[-1] - 1, len(weights) > 1)
        pixels.tiles = -(-P * (C if last else 1) // shapes.BLOCK)
        blocks = N * pixels.tiles * (1 if last else C)
    entropy, class_weights = operands.entropy(ce, of.real)
    pointers = (None if t is None else t.data_ptr() for t in (weights, grad, ce_grad, out))
    applying = records.Applying(*pointers, *out.stride())
    launch = Launch(f"apply_{'softmax' if form == 'softmax' else 'binary'}", "apply", macros, blocks, 0,
                    (pixels, entropy, applying))  # fmt: skip
    launcher.launch(launch, out.device)
    del class_weights
