"""Weigh a table: the loss of each class and the weights of its bins, in one launch."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..._math import binning
from .finer import on
from .tile import HINGE_SCALE

#: Bins that a program weighs at a time.
BLOCK, WARPS = 512, 8


@triton.jit
def _denominator(k, j, G, a, b):
    return tl.maximum((G - k) + a * j + b * k, tl.minimum(tl.minimum(a, b), 1.0))


@triton.jit
def _weigh(
    table, coefficients, losses, weights, steps, HINGE: tl.constexpr, BINS: tl.constexpr, BLOCK: tl.constexpr,
    ALPHA: tl.constexpr, BETA: tl.constexpr,
):  # fmt: skip
    """Return loss and weights of one class times its coefficient, from the largest error down: see `jaccard`."""
    row = tl.program_id(0).to(tl.int64)
    background_row = table + row * 2 * (BINS + 1)
    foreground_row = background_row + BINS + 1
    out = weights + row * 2 * (BINS + 1)
    factor = tl.load(coefficients + row)
    all_foreground = tl.zeros((BLOCK,), tl.int64)
    for lo in range(0, BINS, BLOCK):
        i = lo + tl.arange(0, BLOCK)
        all_foreground += tl.load(foreground_row + i, mask=i < BINS, other=0)
    G = tl.sum(all_foreground, 0).to(tl.float64)
    poisoned = (tl.load(background_row + BINS) + tl.load(foreground_row + BINS)) > 0
    scale = tl.where(poisoned & (factor != 0), float("nan"), factor)
    k_above = tl.zeros((), tl.int64)
    j_above = tl.zeros((), tl.int64)
    loss = tl.zeros((BLOCK,), tl.float64)
    for lo in range(0, BINS, BLOCK):
        i = (BINS - 1) // BLOCK * BLOCK - lo + tl.arange(0, BLOCK)
        there = i < BINS
        n_b = tl.load(background_row + i, mask=there, other=0)
        n_f = tl.load(foreground_row + i, mask=there, other=0)
        j = j_above + tl.cumsum(n_b, 0, reverse=True)
        k = k_above + tl.cumsum(n_f, 0, reverse=True)
        s = tl.full((), 1.0, tl.float64) * steps
        position = i.to(tl.float64)
        if HINGE:  # of the grid of `binning`, from one point to the next
            step = tl.where(i < steps, s * HINGE_SCALE / ((s - position) * (s - position + 1)), 0.0)
        else:
            step = (2 * position - 1) / (s * s)
        step = tl.where((i > 0) & there, step, 0.0)
        if ALPHA == 1 and BETA == 1:
            before = tl.maximum(G + (j - n_b).to(tl.float64), 1.0)
            after = tl.maximum(G + j.to(tl.float64), 1.0)
            inverse = 1.0 / (before * after)
            loss += step * ((k + j).to(tl.float64) * before) * inverse
            w_f = 0.5 * (before + after) * inverse
            w_b = (G - (k - n_f).to(tl.float64) - 0.5 * n_f.to(tl.float64)) * inverse
        else:
            a = tl.full((), ALPHA, tl.float64)
            b = tl.full((), BETA, tl.float64)
            k0, k1 = (k - n_f).to(tl.float64), k.to(tl.float64)
            j0, j1 = (j - n_b).to(tl.float64), j.to(tl.float64)
            d00, d10 = _denominator(k0, j0, G, a, b), _denominator(k1, j0, G, a, b)
            d01, d11 = _denominator(k0, j1, G, a, b), _denominator(k1, j1, G, a, b)
            loss += step * ((a * j1 + b * k1) / d11)
            w_f = 0.5 * ((b * G + a * j0) / (d00 * d10) + (b * G + a * j1) / (d01 * d11))
            w_b = 0.5 * a * ((G - k0) / (d00 * d01) + (G - k1) / (d10 * d11))
        # No foreground: the largest errors share the whole.
        top = tl.where(j == n_b, 1.0 / tl.maximum(n_b.to(tl.float64), 1.0), 0.0)
        w_b = tl.where(G > 0, w_b, top)
        w_f = tl.where(factor == 0, 0.0, w_f * scale)
        w_b = tl.where(factor == 0, 0.0, w_b * scale)
        tl.store(out + i, w_b.to(weights.dtype.element_ty), mask=there)
        tl.store(out + BINS + 1 + i, w_f.to(weights.dtype.element_ty), mask=there)
        j_above += tl.sum(n_b, 0)
        k_above += tl.sum(n_f, 0)
    last = tl.where(poisoned & (factor != 0), float("nan"), 0.0).to(weights.dtype.element_ty)
    tl.store(out + BINS, last)
    tl.store(out + 2 * BINS + 1, last)
    tl.store(losses + row, tl.where(factor == 0, 0.0, tl.sum(loss, 0) * scale))


def weigh(
    table: Tensor, form: str, coefficients: Tensor, dtype: torch.dtype, alpha: float, beta: float
) -> tuple[Tensor, Tensor]:
    """Weigh a table, one program for each row of it."""
    losses = torch.empty(table.shape[:2], dtype=torch.float64, device=table.device)
    weights = torch.empty(table.shape, dtype=dtype, device=table.device)
    bins = table.shape[-1] - 1
    with on(table.device):
        _weigh[(losses.numel(),)](
            table.contiguous(), coefficients.contiguous(), losses, weights, binning.steps(bins, form),
            HINGE=form == "hinge", BINS=bins, BLOCK=BLOCK, ALPHA=alpha, BETA=beta, num_warps=WARPS,
        )  # fmt: skip
    return losses, weights
