"""Tensors as the kernels take them: types by name, pointers, strides."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..._math import binning
from ..contract import CrossEntropy
from ..plain import compute_dtype
from ..strips import Part, operands
from . import records

_TYPES = {
    torch.float64: "double", torch.float32: "float", torch.bfloat16: "bfloat16", torch.float16: "float16",
    torch.uint8: "unsigned char", torch.int8: "signed char", torch.int16: "short", torch.int32: "int",
    torch.int64: "long long",
}  # fmt: skip
#: As binary.cuh numbers them.
_FORMS = {"sigmoid": "SIGMOID", "hinge": "HINGE", "probs": "PROBS"}


def name(dtype: torch.dtype) -> str:
    """Return what a type is called in a kernel."""
    return _TYPES[dtype]


class Operands:
    """The pixels of a part: what a kernel is compiled with, and the arguments of its launch.

    Attributes:
        logits: (n, C, p).
        macros: types of the tensors, and the form.
    """

    def __init__(self, part: Part, ignored: Sequence[int], form: str) -> None:
        x, self.target, self.mask, self.ignored = operands(part, ignored, form)
        self.logits, self.form = x, form
        self.real = compute_dtype(x)
        self.macros: dict[str, str | int] = {
            "LOGIT": name(x.dtype), "REAL": name(self.real), "TARGET": name(self.target.dtype),
        }  # fmt: skip
        if form != "softmax":
            self.macros["FORM"] = _FORMS[form]

    def pixels(self, tile: int, bins: int, per_image: bool) -> records.Pixels:
        """Return the pixels in tiles of a size."""
        x, target, mask = self.logits, self.target, self.mask
        N, C, P = x.shape
        binary = self.form != "softmax"

        def strides(t: Tensor | None) -> tuple[int, int, int]:
            if t is None:
                return 0, 0, 0
            return (t.stride(0), t.stride(1), t.stride(2)) if binary else (t.stride(0), 0, t.stride(1))

        return records.Pixels(
            x.data_ptr(), target.data_ptr(), None if mask is None else mask.data_ptr(),
            N, P, -(-P // tile), *x.stride(), *strides(target), *strides(mask),
            self.ignored or 0, self.ignored is not None, per_image, C, bins,
            binning.steps(bins, self.form),
        )  # fmt: skip


def class_last(x: Tensor) -> bool:
    """Return whether the classes of a pixel (n, C, p) lie next to each other."""
    return x.shape[1] > 1 and x.stride(1) == 1 and x.stride(2) >= x.shape[1]


def entropy(ce: CrossEntropy | None, real: torch.dtype, sums: Tensor | None = None) -> tuple[Any, Tensor | None]:
    """Return the cross-entropy as a kernel takes it, and the tensor of its class weights, which must live on."""
    if ce is None:
        return records.Entropy(), None
    weights = None if ce.class_weights is None else ce.class_weights.to(real).contiguous()
    pointers = (None if t is None else t.data_ptr() for t in (weights, sums))
    return records.Entropy(*pointers, ce.smoothing), weights
