"""Which labels make a measure largest, given the probabilities: one affine rule for each class.

The measure of a class is that of the pixels decided for it, `S = TP / D` with
`D = TP + alpha FP + beta FN = (1 - beta) TP + alpha FP + beta G`. One more pixel with probability p adds p to TP
and 1 - p to FP, on average, and so adds to S

    a p - b,    a = (1 + (alpha + beta - 1) S) / D,    b = alpha S / D

which for the Jaccard index is ((1 + S) p - S) / union. The label of most gain is the class of the largest a p - b:
what a data set gains from the counts of its own decisions (Narasimhan et al., ICML 2015), what one image gains
from the counts expected of it. Only the order matters, so a rule is a factor w = a and a threshold t = b / a, of
the gain w (p - t).
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..measures import Tversky
from . import binning, interpolation

#: Elements of the part of the logits that is decided at once: it stays in the cache.
PART = 2**18
#: Units of a probability in integers, which add up to the same in any order.
UNITS = 2**24
#: How far a bias goes in one step.
STEP = 2.0


def measured(counts: Tensor, measure: Tversky) -> tuple[Tensor, Tensor]:
    """Return the score and the denominator, float64 (...), of counts (..., 3) of intersection, label, prediction.

    The score is NaN for a class neither labelled nor predicted.
    """
    tp, labelled, predicted = counts.double().unbind(-1)
    denominator = tp + measure.alpha * (predicted - tp) + measure.beta * (labelled - tp)
    return torch.where(denominator > 0, tp / denominator, torch.nan), denominator


def rule(counts: Tensor, measure: Tversky) -> tuple[Tensor, Tensor]:
    """Return factor and threshold of each class, float64 (...), from counts (..., 3); NaN where there is none."""
    score, denominator = measured(counts, measure)
    slope = 1 + (measure.alpha + measure.beta - 1) * score
    return slope / denominator, measure.alpha * score / slope


def expected(histogram: Tensor, p: Tensor, measure: Tversky) -> tuple[Tensor, Tensor]:
    """Return the rule (..., 2) that maximises the expected measure of each class, and its counts (..., 3).

    The t pixels of the largest probabilities are decided, for the t of the largest S_t / D_t, where S_t is the sum
    of their probabilities and D_t has them for TP, t for the pixels decided and the sum of all for those labelled.

    Args:
        histogram: int64 (..., K), pixels by probability.
        p: float64, (..., K) or (K,), the probabilities, decreasing.
        measure: what to maximise.
    """
    decided = histogram.cumsum(-1).double()
    found = (histogram * p).cumsum(-1)
    counts = torch.stack((found, found[..., -1:].expand_as(found), decided), -1)
    score = measured(counts, measure)[0].nan_to_num_(nan=-1.0)
    best = score.argmax(-1)[..., None, None].expand(*score.shape[:-1], 1, 3)
    counts = counts.gather(-2, best).squeeze(-2)
    return torch.stack(rule(counts, measure), -1), counts


def probability_histogram(table: Tensor, form: str) -> tuple[Tensor, Tensor]:
    """Return pixels by probability, (N, C, K), and the probabilities, decreasing, of a table without labels.

    Its target was 0 everywhere: to the softmax every pixel is foreground of class 0, whose errors are 1 - p, and
    background of the others, whose errors are p.
    """
    points = binning.grid(table.shape[-1] - 1, form, table.device)
    histogram = table[..., 0, :-1].flip(-1)
    p = points.flip(-1).expand(histogram.shape[1], -1)
    if form == "softmax":
        histogram[:, 0] = table[:, 0, 1, :-1]
        p = torch.cat(((1 - points)[None], p[1:]))
    return histogram, p


def probabilities(
    logits: Tensor, form: str, axes: Sequence[interpolation.Axis] | None, bias: Tensor | None = None
) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Return the probabilities (N, C, *) of logits, a part at a time, with the images and pixels they are of.

    Args:
        logits: (N, C, *).
        form: "softmax" or "sigmoid".
        axes: how the logits are interpolated; None where they are not.
        bias: (C,), is added to the logits; None adds nothing.
    """
    for place, x in interpolation.strips(logits, axes, PART):
        yield place, _probability(x, form, bias)


def _probability(x: Tensor, form: str, bias: Tensor | None) -> Tensor:
    if bias is not None:
        x = x + bias.to(x).view(-1, *(1 for _ in x.shape[2:]))
    return x.softmax(1) if form == "softmax" else x.sigmoid()


def biased(p: Tensor, bias: Tensor) -> Tensor:
    """Return the softmax of x + bias of p = softmax(x), both (N, C, *)."""
    q = p * bias.exp().to(p)
    return q.div_(q.sum(1, keepdim=True))


def moments(p: Tensor, counts: Tensor) -> Tensor:
    """Return the sums of p and of p^2, int64 (N, C, 2) in `UNITS`, over the pixels that count, bool (N, *)."""
    of_those = (p * UNITS).masked_fill(~counts[:, None], 0)
    return torch.stack([one.round().int().flatten(2).sum(2) for one in (of_those, of_those * p)], -1)


def likelier(bias: Tensor, labelled: Tensor, sums: Tensor) -> Tensor:
    """Return a bias of the logits with which the labels are likelier, float64 (..., C).

    A step of Newton's method with twice the diagonal of the information matrix, which is no less than the whole; of
    two classes the step is the same. Nothing is known of a class without labels: its bias is the pixels' mean.

    Args:
        bias: (..., C), that of the sums.
        labelled: int64 (..., C), pixels by label.
        sums: int64 (..., C, 2), `moments` with the bias.
    """
    found, squared = (sums.double() / UNITS).unbind(-1)
    step = (labelled - found) / (2 * (found - squared) + 1)  # one pixel keeps it finite where p is 0 or 1
    moved = bias + step.clamp(-STEP, STEP)
    mean = (moved * labelled).sum(-1, keepdim=True) / labelled.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(labelled > 0, moved - mean, 0.0)


def labels(
    logits: Tensor,
    factor: Tensor,
    threshold: Tensor,
    form: str,
    axes: Sequence[interpolation.Axis] | None,
    bias: Tensor | None = None,
) -> Tensor:
    """Return the labels of the largest gain of logits (N, C, *).

    Args:
        logits: (N, C, *).
        factor: (N, C) or (C,), w of the gain w (p - t).
        threshold: likewise, t.
        form: "softmax" gives class indices, int64 (N, *); "sigmoid" decides each channel, bool (N, C, *).
        axes: how the logits are interpolated; None where they are not.
        bias: (C,), is added to the logits; None adds nothing.
    """
    N, C = logits.shape[:2]
    spatial = interpolation.spatial_shape(logits, axes)
    factor, threshold = (one.expand(N, C).reshape(N, C, *(1 for _ in spatial)) for one in (factor, threshold))
    decide = largest_gain if form == "softmax" else _above
    if torch.compiler.is_compiling():  # which makes no parts, as it does not know how many
        x = logits.to(torch.promote_types(logits.dtype, torch.float32))
        x = x if axes is None else interpolation.interpolate(x, axes)
        return decide(_probability(x, form, bias), factor, threshold)
    if form == "softmax":
        decided = torch.empty(N, *spatial, dtype=torch.int64, device=logits.device)
    else:
        decided = torch.empty(N, C, *spatial, dtype=torch.bool, device=logits.device)
    for (images, part), p in probabilities(logits, form, axes, bias):
        place = (images, part) if form == "softmax" else (images, slice(None), part)
        decided[place] = decide(p, factor[images], threshold[images])
    return decided


def largest_gain(p: Tensor, factor: Tensor, threshold: Tensor) -> Tensor:
    """Return the class of the largest w (p - t), int64 (N, *), of p (N, C, *) and rules that broadcast to it."""
    return ((p - threshold.to(p)) * factor.to(p)).max(1).indices  # several times as fast as argmax


def just_below(threshold: Tensor) -> Tensor:
    """Return thresholds t', float32, for which p > t' of every p in float32 is p >= t, as curves count pixels.

    1/2 stays: it is the usual decision, p > 1/2, with which a pixel without any evidence is background.
    """
    rounded = threshold.float()
    below = torch.nextafter(rounded, torch.full_like(rounded, -torch.inf))
    below = torch.where(threshold > 0, below, -torch.finfo(torch.float32).tiny)
    found = torch.where(rounded.to(threshold) < threshold, rounded, below)
    return torch.where(threshold == 0.5, 0.5, found)


def _above(p: Tensor, factor: Tensor, threshold: Tensor) -> Tensor:
    """Return where p (N, C, *) is above the threshold of its channel, bool (N, C, *)."""
    return p > threshold.to(p)
