"""Algorithm 1 of Berman et al. (2018) by sorting, in closed form: the exact mode, and the oracle in float64."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..measures import JACCARD, Tversky
from . import jaccard


def errors(logits: Tensor, labels: Tensor, form: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return errors, foreground and validity of every pixel and class, each (N, C, P).

    `labels` is (N, P) class indices for the softmax, (N, C, P) of 0 and 1 for the others, -1 where void.
    An error is NaN where the cross-entropy of the pixel would not be finite.
    """
    if form == "softmax":
        valid = labels[:, None] >= 0
        classes = torch.arange(logits.shape[1], device=labels.device)
        foreground = labels[:, None] == classes[:, None]
        x = torch.where(valid, logits, 0.0)
        p = softmax(x, x.gather(1, labels.clamp(min=0)[:, None]))
        return torch.where(foreground, 1 - p, p), foreground, valid.expand_as(p)
    valid, foreground = labels >= 0, labels == 1
    finite = logits.isfinite()
    m = binary_errors(torch.where(valid & finite, logits, 0.0), foreground, form)
    return torch.where(valid, torch.where(finite, m, torch.nan), 0.0), foreground, valid


def softmax(x: Tensor, own: Tensor) -> Tensor:
    """Return probabilities over axis 1, NaN where `own`, the logit of the pixel's label, is -inf.

    The same bits for any number of threads: PyTorch's own softmax and sigmoid round differently at the ends
    of what each thread is given; its exponential does not.
    """
    e = (x - x.detach().amax(1, keepdim=True)).exp()
    return e / e.sum(1, keepdim=True).masked_fill(own == -torch.inf, torch.nan)


def binary_errors(x: Tensor, foreground: Tensor, form: str) -> Tensor:
    """Return errors where each channel has a foreground of its own; "probs" takes probabilities (`berman`)."""
    signed = torch.where(foreground, -x, x)
    if form == "sigmoid":
        return 1 / (1 + (-signed.clamp(min=-80)).exp())
    return (1 + signed).relu() if form == "hinge" else signed + foreground


def losses(
    logits: Tensor, labels: Tensor, form: str, per_image: bool, measure: Tversky = JACCARD
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return of each class, (N, C) or, pooled, (1, C): loss, valid pixels, foreground pixels, any error NaN.

    Differentiable by plain autograd; an error that is NaN counts as 0 here. The loss is float64 for float64
    logits, else float32.
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    m, foreground, valid = errors(logits, labels, form)
    if not per_image:
        m, foreground, valid = (t.transpose(0, 1).flatten(1)[None] for t in (m, foreground, valid))

    bad = m.isnan().any(-1)
    m = m.nan_to_num(0.0)
    # Void pixels keep their place in the order and count for nothing there.
    m, order = m.sort(dim=-1, descending=True, stable=True)
    f = (foreground & valid).gather(-1, order)
    b = (valid & ~foreground).gather(-1, order)
    k, j, G = f.cumsum(-1) - f.long(), b.cumsum(-1) - b.long(), f.sum(-1, keepdim=True)
    w_f, w_b = jaccard.increments(k, j, G, measure)
    w = torch.where(f, w_f, torch.where(b, w_b, 0.0))
    loss = jaccard.block_sum(m.double() * w).to(logits.dtype)
    return loss, (f | b).sum(-1), G.squeeze(-1), bad


def cross_entropy(
    logits: Tensor, labels: Tensor, form: str, class_weights: Tensor | None, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return the sums of the cross-entropy and of the class weights over the valid pixels, by PyTorch; scalars."""
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    if form != "softmax":
        return _binary_cross_entropy(logits.to(dtype), labels, class_weights)
    x = torch.where(labels[:, None] >= 0, logits.to(dtype), 0.0)  # what is void may hold anything
    w = None if class_weights is None else class_weights.to(dtype)
    loss = F.cross_entropy(x, labels, w, ignore_index=-1, reduction="sum", label_smoothing=label_smoothing)
    per_pixel = 1.0 if w is None else w[labels.clamp(min=0)]
    total = jaccard.block_sum(torch.where(labels >= 0, per_pixel, 0.0).flatten().double())
    return loss, total.to(dtype)


def _binary_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the same of channels (N, C, P), whose weights (C, 2) are those of background and foreground."""
    valid = labels >= 0
    sides = logits.new_ones(logits.shape[1], 2) if class_weights is None else class_weights.to(logits.dtype)
    background, foreground = (torch.where(valid, side[:, None], 0.0) for side in sides.unbind(1))
    w = torch.where(labels == 1, foreground, background)
    x = torch.where(valid, logits, 0.0)
    loss = F.binary_cross_entropy_with_logits(x, (labels == 1).to(x.dtype), w, reduction="sum")
    return loss, jaccard.block_sum(background.flatten().double()).to(logits.dtype)
