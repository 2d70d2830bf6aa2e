"""Count, weigh and apply in plain PyTorch: any device, and the specification of the compiled kernels.

Both passes over the pixels run over parts of them, so that what they need beyond logits, target and gradient
stays small, and quantise with `binning.index`. The table of a part is flat: class c of its image n has its
background bins at (n * C + c) * 2 * (K + 1) and its foreground bins K + 1 further on.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .._inputs.labels import canonical_target, num_labels
from .._inputs.layouts import flat
from .._math import binning, interpolation, jaccard
from .._math.sorting import binary_errors, softmax
from ..measures import Tversky
from .contract import Counted, CrossEntropy, Pixels

#: Elements of the logits per chunk: small enough for the caches of a CPU, large enough to amortise a call.
CHUNK = {"cpu": 2**19}
CHUNK_ELSEWHERE = 2**24


def compute_dtype(logits: Tensor) -> torch.dtype:
    """Return what errors, weights and losses are computed in."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


class _Parts:
    """The pixels of an input, a part at a time: where the labels are finer than the logits, of these a strip.

    A part is a slice of images and one of places along the first spatial axis.
    """

    def __init__(self, pixels: Pixels, gradient: bool = False) -> None:
        self.given, target, mask, ignored, form, mode = pixels
        self.axes = interpolation.axes(self.given, target, mode) if mode else None
        self.logits = self.given
        if not self.axes:
            self.logits, target, mask = flat(self.given, target, mask)
        self.labels = canonical_target(target, mask, ignored, num_labels(form, self.logits.shape[1]))
        self.dtype = compute_dtype(self.logits)
        if gradient:
            new = torch.zeros_like if self.axes else torch.empty_like  # a strip adds, a part fills
            self.gradient = new(self.logits, dtype=self.dtype if self.axes else self.logits.dtype)

    def slices(self, row: int, per_image: bool) -> Iterator[tuple[slice, slice]]:
        """Return the parts, each at least twice as large as a table of `row` counts.

        So adding up the tables of parts does not cost more than the parts. Per image a part holds no more images
        than it could hold tables.
        """
        N, C = self.logits.shape[:2]
        places, *others = self.labels.shape[self.labels.ndim - self.logits.ndim + 2 :]
        size = max(CHUNK.get(self.logits.device.type, CHUNK_ELSEWHERE), 2 * row)
        each = C * math.prod(others)
        return interpolation.parts(N if each else 0, places, each, size, size // row if per_image else N)

    def read(self, images: slice, part: slice) -> tuple[Tensor, Tensor]:
        """Return logits (n, C, p) and labels (n, p) or (n, C, p)."""
        if not self.axes:
            return self.logits[images, :, part].to(self.dtype), self.labels[images, ..., part]
        axes = self._strip(part)
        x = interpolation.interpolate(self.logits[images, :, axes[0].places].to(self.dtype), axes).flatten(2)
        first = self.labels.ndim - len(axes)
        return x, self.labels[(images, *(slice(None),) * (first - 1), part)].flatten(first)

    def write(self, images: slice, part: slice, gradient: Tensor) -> None:
        """Take the gradient of a part (n, C, p)."""
        if not self.axes:
            self.gradient[images, :, part] = gradient
            return
        axes = self._strip(part)
        gradient = gradient.unflatten(2, [len(axis.lower) for axis in axes])
        self.gradient[images, :, axes[0].places] += interpolation.adjoint(gradient, axes)

    def _strip(self, part: slice) -> list[interpolation.Axis]:
        assert self.axes
        return [self.axes[0].part(part), *self.axes[1:]]

    def written(self) -> Tensor:
        """Return the gradient in the dtype and strides of the logits."""
        if self.given.shape == self.gradient.shape:
            return self.gradient.to(self.given.dtype)
        return torch.empty_like(self.given).copy_(self.gradient.view(self.given.shape))


def _offsets(shape: Sequence[int], per_image: bool, bins: int, like: Tensor) -> Tensor:
    """Return the start of the background bins of each image and class in the table of a part, (n, C, 1)."""
    n, C, _ = shape
    image = torch.arange(n, dtype=torch.int32, device=like.device) * per_image
    row = image[:, None] * C + torch.arange(C, dtype=torch.int32, device=like.device)
    return (row * (2 * (bins + 1)))[..., None]


def _softmax_slots(x: Tensor, labels: Tensor, offsets: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return table slots and probabilities of a part (n, C, p), and the void pixels (n, 1, p).

    A void pixel takes the slot of the lowest background bin in every class.
    """
    void = (labels < 0)[:, None]
    y = labels.clamp(min=0)[:, None]
    p = softmax(x, x.gather(1, y))
    m = 1 - p.gather(1, y)
    slots = binning.index(p, bins, "softmax").add_(offsets)
    own = binning.index(m, bins, "softmax").add_(bins + 1) + offsets.expand(-1, -1, 1).gather(
        1, y.flatten(1)[..., None]
    ).view_as(m)
    slots.scatter_(1, y, own)
    return slots.where(~void, offsets), p, void


def _binary_slots(
    x: Tensor, labels: Tensor, offsets: Tensor, bins: int, form: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return table slots, errors and void pixels of a part, each (n, C, p)."""
    void, foreground = labels < 0, labels == 1
    m = binary_errors(x, foreground, form)
    m.masked_fill_(x.isinf(), torch.nan).masked_fill_(void, 0)
    slots = binning.index(m, bins, form).add_(offsets).add_(foreground.int().mul_(bins + 1))
    return slots, m, void


def count(pixels: Pixels, bins: int, per_image: bool, ce: CrossEntropy | None = None) -> Counted:
    """Count the pixels; with `interpolation` the logits are made as fine as the target on the way."""
    logits, form = pixels.logits, pixels.form
    parts = _Parts(pixels)
    N, C = logits.shape[:2]
    rows = N if per_image else 1
    row = C * 2 * (bins + 1)
    table = torch.zeros(rows, row, dtype=torch.int64, device=logits.device)
    sums = torch.zeros(2, dtype=torch.float64, device=logits.device)
    void = torch.zeros(N, 1 if form == "softmax" else C, dtype=torch.int64, device=logits.device)
    for images, part in parts.slices(row, per_image):
        x, t = parts.read(images, part)
        offsets = _offsets(x.shape, per_image, bins, x)
        if form == "softmax":
            slots, _, v = _softmax_slots(x, t, offsets, bins)
            if ce is not None:
                sums += _cross_entropy(x, t, *ce)
        else:
            slots, _, v = _binary_slots(x, t, offsets, bins, form)
            if ce is not None:
                sums += _binary_cross_entropy(x, t, ce.class_weights)
        void[images] += v.sum(-1)
        chunk = table[images].view(-1) if per_image else table[0]
        if logits.device.type == "cpu":
            chunk += slots.flatten().bincount(minlength=chunk.numel())
        else:  # bincount would wait for the device
            chunk.scatter_add_(0, slots.flatten().long(), chunk.new_ones(1).expand(slots.numel()))
    table = table.view(rows, C, 2, bins + 1)
    table[:, :, 0, 0] -= void if per_image else void.sum(0)
    return Counted(table, torch.stack(jaccard.pixels(table)), sums)


def _target_distribution(
    labels: Tensor, class_weights: Tensor | None, smoothing: float, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the cross-entropy wants of each pixel: of its class (n, 1, p), and of every class (C, 1)."""
    C = like.shape[1]
    w = like.new_ones(C) if class_weights is None else class_weights.to(like.dtype)
    return (1 - smoothing) * w[labels.clamp(min=0)][:, None], smoothing / C * w[:, None]


def _cross_entropy(x: Tensor, labels: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
    """Return the sums of the cross-entropy and of the class weights over the valid pixels of a part (n, C, p)."""
    valid = labels >= 0
    z = torch.where(valid[:, None], x, 0.0)
    z = z - z.amax(1, keepdim=True)
    log_sum = z.exp().sum(1, keepdim=True).log()
    own, every = _target_distribution(labels, class_weights, smoothing, x)
    loss = own * (log_sum - z.gather(1, labels.clamp(min=0)[:, None]))
    if smoothing > 0:
        loss = loss + (every * (log_sum - z)).sum(1, keepdim=True)
    w = torch.ones_like(loss)
    if class_weights is not None:
        w = class_weights.to(x.dtype)[labels.clamp(min=0)][:, None]
    both = torch.stack((loss, w)).squeeze(2).double()
    return jaccard.block_sum(torch.where(valid, both, 0.0).flatten(1))


def _side_weights(labels: Tensor, class_weights: Tensor | None, like: Tensor) -> Tensor:
    """Return the weight of each channel's pixel, of its background or foreground, which broadcasts to labels."""
    if class_weights is None:
        return like.new_ones(())
    background, foreground = class_weights.to(like.dtype)[..., None].unbind(1)
    return torch.where(labels == 1, foreground, background)


def _binary_cross_entropy(x: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """Return the sums of the binary cross-entropy and of the weights over the valid pixels of a part (n, C, p)."""
    valid = labels >= 0
    wrong = torch.where(labels == 1, -x, x).masked_fill(x.isinf(), torch.nan)
    loss = _side_weights(labels, class_weights, x) * (wrong.relu() + (-wrong.abs()).exp().log1p())
    w = x.new_ones(()) if class_weights is None else class_weights[:, :1].to(x.dtype)
    both = torch.stack((loss, w.expand_as(loss))).double()
    return jaccard.block_sum(torch.where(valid, both, 0.0).flatten(1))


def weigh(
    table: Tensor, form: str, coefficients: Tensor, dtype: torch.dtype, alpha: float, beta: float
) -> tuple[Tensor, Tensor]:
    """Weigh a table, some rows of it at a time."""
    measure = Tversky(alpha, beta)
    rows, block = table.flatten(0, 1), jaccard.block_of_rows(table)
    weights = torch.empty(rows.shape, dtype=dtype, device=table.device)
    factors = coefficients.flatten()[:, None, None]
    losses = []
    for w, part, factor in zip(weights.split(block), rows.split(block), factors.split(block), strict=True):
        losses.append(jaccard.weighted(jaccard.losses(part, form, measure), factor.flatten()))
        w.copy_(jaccard.weighted(jaccard.weights(part, form, measure), factor))
    return torch.cat(losses).view(table.shape[:2]), weights.view(table.shape)


def apply(
    pixels: Pixels,
    weights: Tensor,
    grad: Tensor | None = None,
    ce: CrossEntropy | None = None,
    ce_grad: Tensor | None = None,
) -> Tensor:
    """Apply the weights of the bins to the pixels, a part of them at a time."""
    if grad is not None:
        weights = weights * grad
    logits, form = pixels.logits, pixels.form
    parts = _Parts(pixels, gradient=True)
    per_image = len(weights) > 1
    bins = weights.shape[-1] - 1
    # The sign of ∂error / ∂probability (∂error / ∂logit) goes into the table: -1 for the foreground.
    signed = torch.stack((weights[:, :, 0], -weights[:, :, 1]), 2)
    signed = signed.to(compute_dtype(logits)).flatten(1)
    for images, part in parts.slices(signed.shape[1], per_image):
        x, t = parts.read(images, part)
        offsets = _offsets(x.shape, per_image, bins, x)
        chunk = (signed[images] if per_image else signed).flatten()
        if form == "softmax":
            slots, p, void = _softmax_slots(x, t, offsets, bins)
            g = chunk.index_select(0, slots.flatten()).view_as(p)
            g.mul_(p).addcmul_(p, g.sum(1, keepdim=True), value=-1)
            if ce is not None and ce_grad is not None:
                own, every = _target_distribution(t, *ce, x)
                scale = ce_grad.to(x.dtype)
                g.addcmul_(p, scale * (own + every.sum()))
                g.sub_(scale * every).scatter_add_(1, t.clamp(min=0)[:, None], -scale * own)
        else:
            slots, m, void = _binary_slots(x, t, offsets, bins, form)
            g = chunk.index_select(0, slots.flatten()).view_as(m)
            m.nan_to_num_(0)  # its weight is NaN already, where it counts
            if form == "sigmoid":
                g.mul_(m * (1 - m))
            elif form == "hinge":
                g.mul_(m > 0)
            if ce is not None and ce_grad is not None:
                likely = binary_errors(x, t == 1, "sigmoid").masked_fill_(x.isinf(), torch.nan)
                g += (
                    ce_grad.to(x.dtype)
                    * _side_weights(t, ce.class_weights, x)
                    * torch.where(t == 1, -likely, likely)
                )
        parts.write(images, part, g.masked_fill_(void, 0))
    return parts.written()
