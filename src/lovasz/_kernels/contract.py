"""What a kernel takes and returns: the one statement of it. `plain` is the specification of what it computes.

A call travels as these records. At the schema of an operator, and nowhere else, they are spread into flat
arguments. One more option of a kernel is one more field.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Pixels(NamedTuple):
    """The pixels of one call, as a kernel sees them.

    Attributes:
        logits: (N, C, *), one to three spatial axes, any strides.
        target: (N, *) class indices for the softmax, else (N, C, *) of 0 and 1; any integer type or bool.
        mask: bool, the shape of target, True where a pixel counts.
        ignored: labels that are void.
        form: "softmax", "sigmoid", "hinge", or "probs" (probabilities, for `berman`).
        interpolation: how the logits become as fine as the target: "nearest", "linear" or "corners"; None where
            they are.
    """

    logits: Tensor
    target: Tensor
    mask: Tensor | None
    ignored: Sequence[int]
    form: str
    interpolation: str | None = None


class CrossEntropy(NamedTuple):
    """The cross-entropy that is computed in the same passes, the binary one of each channel but for the softmax.

    Attributes:
        class_weights: (C,) for the softmax, else (C, 2), of background and foreground; None for ones.
        smoothing: label smoothing, from 0 to 1; 0 but for the softmax.
    """

    class_weights: Tensor | None
    smoothing: float


class Counted(NamedTuple):
    """What is known of an input when its pixels have been counted.

    Attributes:
        table: int64 (N or 1, C, 2, K + 1), background and foreground pixels of each bin, last those of error NaN.
        pixels: int64 (2, N or 1, C), numbers of valid and of foreground pixels.
        ce_sums: float64 (2,), sums of the cross-entropy and of the class weights of its pixels, of the binary one
            the weight of its channel's background; 0 without one.
    """

    table: Tensor
    pixels: Tensor
    ce_sums: Tensor


class Kernel(Protocol):
    """Count, weigh and apply on the tensors of one device."""

    def count(self, pixels: Pixels, bins: int, per_image: bool, ce: CrossEntropy | None = None) -> Counted:
        """Count the pixels of each class by the bin of their error, pooled or image by image.

        Raises:
            ValueError: for a label that is neither a class nor ignored; on CUDA a device-side assertion.
        """

    def weigh(
        self, table: Tensor, form: str, coefficients: Tensor, dtype: torch.dtype, alpha: float, beta: float
    ) -> tuple[Tensor, Tensor]:
        """Return the losses (N or 1, C), float64, and the weights of the bins, shaped as the table, in a dtype.

        Both are times the coefficients, float64 (N or 1, C), and 0 where that is, for a class that takes no part
        may hold NaN. The measure is the Tversky index with weights alpha and beta.
        """

    def apply(
        self,
        pixels: Pixels,
        weights: Tensor,
        grad: Tensor | None = None,
        ce: CrossEntropy | None = None,
        ce_grad: Tensor | None = None,
    ) -> Tensor:
        """Return ∂(Σ weights · errors) / ∂logits times `grad`, a scalar, in the dtype and strides of the logits.

        `ce_grad` times the gradient of the cross-entropy's sum is added where both are given.
        """
