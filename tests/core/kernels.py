"""Every kernel there is here.

CUDA's is compiled for the CPU; Triton's is there where its interpreter stands in for a GPU (TRITON_INTERPRET=1).
"""

import importlib
import os
import shutil

import torch
from torch.testing import assert_close

from lovasz._kernels import cpu, plain
from lovasz._kernels.contract import CrossEntropy, Pixels
from lovasz.measures import JACCARD
from tests.core import cuda_on_cpu

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
COMPILED = [cpu.Kernel(name) for name in cpu.names()]
EMULATED = [cuda_on_cpu.OnCPU()] if shutil.which(cuda_on_cpu.COMPILER) else []
OTHERS = COMPILED + EMULATED + ([importlib.import_module("lovasz._kernels.triton.kernel")] if INTERPRETED else [])
KERNELS = [plain, *OTHERS]


def _records(pixels, class_weights, smoothing, interpolation):
    ce = None if smoothing is None else CrossEntropy(class_weights, smoothing)
    return Pixels(*pixels, interpolation), ce


def count_with(
    kernel, logits, target, mask, ignored, form, bins, per_image, class_weights=None, smoothing=None,
    interpolation=None,
):  # fmt: skip
    """`count` of a kernel, of flat arguments."""
    pixels, ce = _records((logits, target, mask, ignored, form), class_weights, smoothing, interpolation)
    return kernel.count(pixels, bins, per_image, ce)


def weigh_with(kernel, table, form, coefficients, dtype, measure=JACCARD):
    """`weigh` of a kernel."""
    return kernel.weigh(table, form, coefficients, dtype, measure.alpha, measure.beta)


def apply_with(
    kernel, logits, target, mask, ignored, form, weights, grad=None, ce_grad=None, class_weights=None,
    smoothing=None, interpolation=None,
):  # fmt: skip
    """`apply` of a kernel, of flat arguments."""
    pixels, ce = _records((logits, target, mask, ignored, form), class_weights, smoothing, interpolation)
    return kernel.apply(pixels, weights, grad, ce, ce_grad)


def step(kernel, logits, target, mask, ignore, form, bins=64, per_image=False, fused=(None, None), upsample=None):
    """Table, numbers, sums, losses, weights and gradient by one kernel, all coefficients 1/2."""
    table, numbers, sums = count_with(kernel, logits, target, mask, ignore, form, bins, per_image, *fused, upsample)
    coefficients = torch.full(table.shape[:2], 0.5, dtype=torch.float64, device=table.device)
    losses, weights = weigh_with(kernel, table, form, coefficients, plain.compute_dtype(logits))
    grads = (torch.tensor(0.3, device=table.device), torch.tensor(0.7, dtype=torch.float64, device=table.device))
    gradient = apply_with(kernel, logits, target, mask, ignore, form, weights, *grads, *fused, upsample)
    return table, numbers, sums, losses, weights, gradient


def near(found, expected):
    """On a GPU, whose exponential rounds otherwise, a few pixels may change their bin."""
    assert_close(found[1], expected[1], rtol=0, atol=0)
    assert (found[0] - expected[0]).abs().sum() <= 16 + 2e-4 * expected[0].sum()
    assert_close(found[2], expected[2], rtol=1e-5, atol=1e-5, equal_nan=True)
    assert (found[-1].isfinite() == expected[-1].isfinite()).all()
    both = found[-1].isfinite() & expected[-1].isfinite()
    a, b = (g.double().where(both, 0.0) for g in (found[-1], expected[-1]))
    assert (a - b).norm() <= 2e-2 * b.norm() + 1e-6
