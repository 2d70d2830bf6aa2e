"""The mathematics: a table of counts -> the loss, its weights, its bound, the Jaccard curve.

A table is int64 of shape (..., 2, K + 1): background and foreground pixels of each of K bins of the error,
and last those whose error is not a number. For G foreground pixels, the loss of a set of wrong pixels that holds
k foreground and j background pixels is 1 minus its Tversky index with weights a and b,

    J(k, j) = 1 - (G - k) / D = (a j + b k) / D,    D(k, j) = (G - k) + a j + b k

for a = b = 1 the Jaccard loss (k + j) / (G + j), and the loss is the integral over the threshold t of J at the
pixels whose error exceeds t (Berman et al. 2018, Theorem 1; the Choquet integral of J). When n foreground or n
background pixels join k and j others, J grows by

    n (b G + a j) / (D(k, j) D(k + n, j))    and    n a (G - k) / (D(k, j) D(k, j + n))

All of it in float64, from integers that are exact below 2^53.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..measures import JACCARD, Tversky
from . import binning

#: Share of a bin by which the rounding of the bin's position can move a pixel over its edge.
EDGE_ROUNDING = 2.0**-6


def rounding(form: str, num_classes: int = 1) -> float:
    """Return the largest error of a probability that is computed in float32.

    32 steps of 2^-24, and what a softmax's sum over more classes adds: no kernel takes more than 16 of them, or one
    sixteenth of them, one after the other.
    """
    return (32 + (num_classes / 16 if form == "softmax" else 0)) * 2.0**-24


def _denominator(k: Tensor, j: Tensor, G: Tensor, measure: Tversky) -> Tensor:
    """Return D(k, j) of float64 (a number times integers would be float32); above 0 also without any pixel."""
    D = G if measure.beta == 1 else (G - k) + measure.beta * k
    D = D + (j if measure.alpha == 1 else measure.alpha * j)
    return D.clamp(min=min(1.0, measure.alpha, measure.beta))  # as small as one pixel can make it


def set_loss(k: Tensor, j: Tensor, G: Tensor, measure: Tversky = JACCARD) -> Tensor:
    """Return J(k, j), the loss of k foreground and j background pixels; of none it is 0."""
    k, j, G = k.double(), j.double(), G.double()
    return (measure.alpha * j + measure.beta * k) / _denominator(k, j, G, measure)


def _growth(
    k: Tensor, j: Tensor, n_f: Tensor | int, n_b: Tensor | int, G: Tensor, measure: Tversky
) -> tuple[Tensor, Tensor]:
    """Return the growth of J, by pixel, when n_f foreground or n_b background pixels join k and j others."""
    k, j, G = k.double(), j.double(), G.double()
    a, b = measure.alpha, measure.beta
    here = _denominator(k, j, G, measure)
    # For a = b = 1 the numerator is D, which does not depend on k.
    foreground = 1 / here if a == b == 1 else (b * G + a * j) / (here * _denominator(k + n_f, j, G, measure))
    background = a * (G - k) / (here * _denominator(k, j + n_b, G, measure))
    return foreground, background


def increments(k: Tensor, j: Tensor, G: Tensor, measure: Tversky = JACCARD) -> tuple[Tensor, Tensor]:
    """Return the growth of J when one foreground or one background pixel joins k and j others, in closed form.

    Differences of neighbouring J cancel; these do not. Without foreground J is 1 for every nonempty set,
    so the first pixel takes all.
    """
    foreground, background = _growth(k, j, 1, 1, G, measure)
    return foreground, torch.where(G > 0, background, (j == 0).double())


def pixels(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of valid pixels and of foreground pixels, each of shape (...)."""
    per_side = table.sum(-1)
    return per_side.sum(-1), per_side[..., 1]


def _cumulative(table: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return for each bin (n_b, n_f) in it and (j, k) in the bins above it; and G with a trailing axis of 1."""
    n = table[..., :-1]
    above = n.flip(-1).cumsum(-1).flip(-1) - n
    G = n[..., 1, :].sum(-1, keepdim=True)
    return n[..., 0, :], n[..., 1, :], above[..., 0, :], above[..., 1, :], G


def block_sum(terms: Tensor) -> Tensor:
    """Sum over the last axis, block by block, so that no number of threads changes the order of addition."""
    while terms.shape[-1] > 1024:
        blocks = F.pad(terms, (0, -terms.shape[-1] % 1024))
        # Not `unflatten`, which the compiler does not take where a default device is set.
        terms = blocks.view(*terms.shape[:-1], blocks.shape[-1] // 1024, 1024).sum(-1)
    return terms.sum(-1)


def _poisoned(result: Tensor, table: Tensor) -> Tensor:
    """Put NaN wherever the table holds a pixel whose error is not a number."""
    bad = table[..., -1].sum(-1) > 0
    return torch.where(bad.reshape(bad.shape + (1,) * (result.ndim - bad.ndim)), torch.nan, result)


def losses(table: Tensor, form: str, measure: Tversky = JACCARD) -> Tensor:
    """Return the loss of each class, float64 (...): Σ over grid points of the step below it times J there."""
    n_b, n_f, j, k, G = _cumulative(table)
    steps = binning.grid(table.shape[-1] - 1, form, table.device).diff(prepend=G.new_zeros(1).double())
    return _poisoned(block_sum(steps * set_loss(k + n_f, j + n_b, G, measure)), table)


def weights(table: Tensor, form: str, measure: Tversky = JACCARD) -> Tensor:
    """Return ∂loss / ∂error of a pixel in each bin, float64 (..., 2, K + 1), the last column for NaN.

    Inside a bin the order is unknown: each weight is the mean over the two extreme orders, foreground
    first and background first.
    """
    n_b, n_f, j, k, G = _cumulative(table)
    first_f, first_b = _growth(k, j, n_f, n_b, G, measure)
    last_f, _ = _growth(k, j + n_b, n_f, 0, G, measure)
    _, last_b = _growth(k + n_f, j, 0, n_b, G, measure)
    foreground, background = (first_f + last_f) / 2, (first_b + last_b) / 2
    top = (j == 0).double() / n_b.clamp(min=1).double()  # no foreground: the largest errors share the whole
    background = torch.where(G > 0, background, top)
    both = torch.stack((background, foreground), -2)
    return _poisoned(F.pad(both, (0, 1)), table)


def bounds(table: Tensor, form: str, measure: Tversky = JACCARD, num_classes: int = 1) -> Tensor:
    """Return a certified bound on |loss - exact| of each class, float64 (...), float32 rounding included.

    `num_classes` is how many a softmax was taken over, of which the table may hold some.

    In a bin J lies between its values at the two edges and the estimate jumps at the grid point, so the
    bin adds at most the longer of its two parts times the growth of J across it. The loss moves by no more
    than the largest error of a pixel's error (its weights are >= 0 and sum to 1): that is the rounding.
    """
    n_b, n_f, j, k, G = _cumulative(table)
    bins = table.shape[-1] - 1
    points, ends = binning.grid(bins, form, table.device), binning.edges(bins, form, table.device)
    part = torch.maximum(points - ends[:-1], ends[1:] - points) * (1 + EDGE_ROUNDING)
    growth = set_loss(k + n_f, j + n_b, G, measure) - set_loss(k, j, G, measure)
    quantised = block_sum(torch.where(growth > 0, part * growth, 0.0))
    rounded = rounding(form, num_classes) * (1 + (losses(table, form, measure) if form == "hinge" else 0.0))
    any_pixel = (n_b + n_f).sum(-1) > 0
    return _poisoned(torch.where(any_pixel, quantised + rounded, 0.0), table)


def curve(table: Tensor, form: str, measure: Tversky = JACCARD) -> Tensor:
    """Return J of the pixels whose error is in each bin or above it, float64 (..., K)."""
    n_b, n_f, j, k, G = _cumulative(table)
    return set_loss(k + n_f, j + n_b, G, measure)


def block_of_rows(table: Tensor) -> int:
    """Return the number of rows (2, K + 1) to work on at once: a few MiB in float64, of which there are many."""
    return max(1, 2**19 // (2 * table.shape[-1]))


def by_rows(function: Callable[..., Tensor], table: Tensor, form: str, measure: Tversky) -> Tensor:
    """Apply one of the functions above to a table (N, C, 2, K + 1) with any number of classes, in little memory."""
    rows = table.flatten(0, 1)
    results: Tensor | None = None
    for first in range(0, len(rows), block_of_rows(table)):
        block = slice(first, first + block_of_rows(table))
        values = function(rows[block], form, measure)
        if results is None:
            results = values.new_empty((len(rows), *values.shape[1:]))
        results[block] = values
    return results.unflatten(0, table.shape[:2]) if results is not None else function(table, form, measure)


def coefficients(part: Tensor, weight: Tensor | None, per_image: bool, reduction: str) -> Tensor:
    """Return what the loss of each class counts for in the result, float64 (N or 1, C); 0 where it takes no part.

    The mean is normalised over the classes that take part, image by image; an image where none does, or
    none with any weight, is left out of the mean over images. Where nothing is left all are 0.
    """
    w = part.double()
    if weight is not None:
        w = w * weight.double()
    if reduction != "mean":
        return w
    total = w.sum(-1, keepdim=True)
    if per_image:
        w = w / (total != 0).sum().clamp(min=1)
    return w / total.masked_fill(total == 0, 1)


def weighted(losses: Tensor, coefficients: Tensor) -> Tensor:
    """Return the losses times their coefficients; 0, whatever the loss, where the coefficient is."""
    return torch.where(coefficients == 0, 0.0, losses * coefficients)


def per_class(values: Tensor, part: Tensor, per_image: bool) -> Tensor:
    """Return the result of "none": (C,), or (N, C) per image, NaN where a class takes no part."""
    values = torch.where(part, values, torch.nan)
    return values if per_image else values[0]
