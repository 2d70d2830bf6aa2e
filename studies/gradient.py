"""How many digits the gradient keeps as the image grows: the published float32 differences, and ours."""

import csv
from functools import partial
from pathlib import Path

import torch

from benchmarks import published
from benchmarks.accuracy import value_and_gradient
from benchmarks.measure import machine, today
from lovasz import lovasz_sigmoid

POWERS = range(16, 26)


def write(file: Path) -> None:
    """Measures and writes one row a size."""
    with open(file, "w", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(["pixels", "published_error", "counting_error", "sorting_error", "machine", "date"])
        for power in POWERS:
            row = [2**power, *(f"{error:.2e}" for error in errors(2**power)), machine(), today()]
            rows.writerow(row)
            print(*row[:4], flush=True)


def errors(pixels: int) -> tuple[float, float, float]:
    """Relative L1 errors of the gradient in the logits against sorting in float64.

    One class that half of the pixels have, x = 1.5 N(0, 1) ± 2: the middle of a training.
    """
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(pixels, generator=generator) < 0.5).long()
    logits = 1.5 * torch.randn(pixels, generator=generator) + 2 * (2 * target - 1)
    logits, target = logits.view(1, 1, -1), target.view(1, 1, -1)
    exact = partial(lovasz_sigmoid, bins=None)
    _, expected = value_and_gradient(exact, logits.double(), target)
    found = (
        value_and_gradient(loss, logits, target)[1] for loss in (published.lovasz_sigmoid, lovasz_sigmoid, exact)
    )
    a, b, c = (float((one - expected).abs().sum() / expected.abs().sum()) for one in found)
    return a, b, c
