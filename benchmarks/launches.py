"""The launches that a step asks of CUDA, by the code that asks for them, where there need be no GPU."""

from typing import NamedTuple

import torch

from lovasz._kernels.contract import CrossEntropy, Pixels
from lovasz._kernels.cuda import apply, count, weigh
from lovasz._kernels.cuda.records import Launch, Limits
from lovasz._math import binning

from .cases import Case

#: Of an H100: multiprocessors, and bytes of shared memory that a block may take.
H100 = Limits(132, 232448)


class Recorder:
    """Takes launches and keeps them; the tensors are on the device "meta", which holds nothing."""

    def __init__(self) -> None:
        self.kept: list[Launch] = []

    def limits(self, device: torch.device) -> Limits:
        """Return what the device would have."""
        return H100

    def launch(self, launch: Launch, device: torch.device) -> None:
        """Keep a launch."""
        self.kept.append(launch)


class Asked(NamedTuple):
    """The launches of a step: of its forward pass, and of its backward pass."""

    forward: list[Launch]
    backward: list[Launch]


def pixels_of(case: Case, upsample: str | None = None) -> Pixels:
    """Return the pixels of a case on the device "meta", its logits at a quarter of each axis where it upsamples."""
    shape = case.shape if len(case.shape) > 2 else (1, case.shape[1], case.shape[0])
    spatial = tuple(n // 4 for n in shape[2:]) if upsample else shape[2:]
    x = torch.empty(*shape[:2], *spatial, dtype=case.dtype, device="meta")
    if len(case.shape) == 2:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    elif case.layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    labels = (shape[0], *shape[2:]) if case.form == "softmax" else shape
    return Pixels(x, torch.empty(labels, dtype=torch.int64, device="meta"), None, [255], case.form, upsample)


def launches_of(case: Case, fused: bool = False, upsample: str | None = None) -> Asked:
    """Return what one step asks for."""
    recorder, pixels = Recorder(), pixels_of(case, upsample)
    C = case.shape[1]
    real = torch.float64 if case.dtype == torch.float64 else torch.float32
    weights = torch.empty(C if case.form == "softmax" else (C, 2), dtype=real, device="meta")
    ce = CrossEntropy(weights, 0.1 if case.form == "softmax" else 0.0) if fused else None
    bins = binning.default_bins(C, case.form)
    counted = count.count(recorder, pixels, bins, False, ce)
    coefficients = torch.empty(counted.table.shape[:2], dtype=torch.float64, device="meta")
    _, weighed = weigh.weigh(recorder, counted.table, case.form, coefficients, real, 1.0, 1.0)
    forward, recorder.kept = recorder.kept, []
    factor = torch.empty((), dtype=real, device="meta")
    apply.apply(recorder, pixels, weighed, factor, ce, factor if fused else None)
    return Asked(forward, recorder.kept)
