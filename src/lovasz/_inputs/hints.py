"""Ways out that messages about tensors name, each where following it gives the right result."""

import math
from collections.abc import Sequence

from torch import Tensor


def whole(target: Tensor, num_classes: int, axes: int) -> str:
    """Say how a floating target becomes labels: with `num_classes`, one per pixel for scores of `axes` axes."""
    if num_classes and target.ndim == axes > 1:
        if target.shape[1] == num_classes > 1:
            return "from one-hot labels use target.argmax(1)"
        if target.shape[1] == 1:
            numbers = "from whole numbers use target.squeeze(1).long()"
            return f"{numbers}, from probabilities of class 1 target.squeeze(1) > 0.5"
    return "from whole numbers use target.long(), from probabilities of a foreground target > 0.5"


def _skew(sizes: Sequence[int], wanted: Sequence[int]) -> float:
    """Return how much the factors from sizes to those wanted differ; of one axis the factor itself."""
    factors = [fine / max(size, 1) for size, fine in zip(sizes, wanted, strict=True)]
    return max(factors) / (min(factors) or 1) if len(factors) > 1 else factors[0]


def finer(logits: Tensor, target: Tensor, upsample: str | None, axes: int, name: str = "logits") -> str:
    """Return a hint, where the last `axes` of the target fit but for their resolution, or channels are last."""
    if upsample is not None or not 1 <= axes <= 3 or target.ndim <= axes or target.shape[0] != logits.shape[0]:
        return ""
    sizes, wanted = tuple(logits.shape)[-axes:], tuple(target.shape)[-axes:]
    fits = not any(size > fine for size, fine in zip(sizes, wanted, strict=True))
    if logits.ndim == axes + 2:
        last = tuple(logits.shape)[1:-1]
        skew, of_last = _skew(sizes, wanted), _skew(last, wanted)
        if any(size > fine for size, fine in zip(last, wanted, strict=True)):
            of_last = math.inf
        if last == wanted or (of_last < math.inf and (not fits or of_last < skew)):
            return f"; for channels-last {name} (N, *, C): {name}.movedim(-1, 1)"
        if skew == of_last:
            return ""  # either may be the axis of the channels
    if sizes == wanted or not fits:
        return ""
    return f'; for logits coarser than the labels: upsample="{("linear", "bilinear", "trilinear")[len(sizes) - 1]}"'


def squeezed(tensor: Tensor, expected: tuple[int, ...], name: str) -> str:
    """Return a hint, where only an axis of length 1 is too many."""
    axis = {(*expected[:1], 1, *expected[1:]): 1, (*expected, 1): -1}.get(tuple(tensor.shape))
    return "" if axis is None else f"; use {name}.squeeze({axis})"
