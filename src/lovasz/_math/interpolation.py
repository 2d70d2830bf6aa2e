"""Logits at the resolution of the labels: `F.interpolate`, axis by axis and in parts, and its adjoint.

Along each axis a pixel of the labels lies between two places of the logits, `lower` and the next, and takes
`weight` of the next and the rest of the first. The value is a product over the axes, so an interpolation is one
axis after the other, and its adjoint the same backwards. Neither depends on the number of threads: every sum is
made in the order of the pixels, by operations that round each element alone.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .lasting import lasting

#: What `upsample` may be, and for how many spatial axes; None for any.
MODES: dict[str, int | None] = {"nearest": None, "linear": 1, "bilinear": 2, "trilinear": 3}

#: Elements of a strip of which the argmax is taken at once.
STRIP = 2**21


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis, on the CPU: `lower`, int64, and `weight`, float64, of each pixel; where that is 0 there is no next.

    Attributes:
        size: number of places.
        first: for a part, the place of the whole that `lower` counts from.
    """

    size: int
    lower: Tensor
    weight: Tensor
    first: int = 0

    def part(self, pixels: slice) -> "Axis":
        """Return some of the pixels, and the places they take from."""
        lower, weight = self.lower[pixels], self.weight[pixels]
        first, last = int(lower[0]), int((lower + (weight > 0))[-1])
        return Axis(last - first + 1, lower - first, weight, self.first + first)

    @property
    def places(self) -> slice:
        """Return where its places are in the whole."""
        return slice(self.first, self.first + self.size)

    @functools.cached_property
    def shares(self) -> list[tuple[Tensor, Tensor]]:
        """Return of each place the first pixel and its share of the gradient, then the second, ...; last 0."""
        pixels, after = torch.arange(len(self.lower), device="cpu"), self.weight > 0
        place = torch.cat((self.lower, self.lower[after] + 1))
        pixel = torch.cat((pixels, pixels[after]))
        share = torch.cat((1 - self.weight, self.weight[after]))
        order = (place * len(pixels) + pixel).argsort()
        pixel, share = pixel[order], share[order]
        number = place.bincount(minlength=self.size)
        start = (number.cumsum(0) - number).clamp(max=len(pixel) - 1)
        found = []
        for i in range(int(number.max())):
            there = i < number
            at = torch.where(there, start + i, start)
            found.append((pixel[at], torch.where(there, share[at], 0.0)))
        return found


def parts(N: int, places: int, each: int, size: int, most_images: int) -> Iterator[tuple[slice, slice]]:
    """Return slices of N images and of their places, `each` elements a place: several images, or a part of one.

    They are as many as `size` elements in each allow, and as even as that lets them be.
    """
    length = max(1, size // max(each, 1))
    images = max(1, min(length // max(places, 1), most_images))
    images = _even(N, images)
    length = _even(places, length)
    for n in range(0, N, images):
        for p in range(0, places, length):
            yield slice(n, min(n + images, N)), slice(p, min(p + length, places))


def _even(whole: int, most: int) -> int:
    """Return the size of the parts of a whole, as few as may be with at most so much in each."""
    return math.ceil(whole / math.ceil(whole / most)) if whole else 1


@lasting(64)
def axis(size: int, wanted: int, mode: str) -> Axis:
    """Return how `wanted` pixels lie among `size` places; mode is "nearest", "linear", or "corners" (aligned)."""
    pixels = torch.arange(wanted, device="cpu")
    if wanted == 0 or mode == "nearest":  # the latter in whatever way PyTorch rounds
        places = torch.arange(size, dtype=torch.float64, device="cpu")[None, None]
        lower = F.interpolate(places, wanted, mode="nearest")[0, 0].long() if wanted else pixels
        return Axis(size, lower, torch.zeros(wanted, dtype=torch.float64, device="cpu"))
    # At the fraction above / below, in integers: a weight that should be 0 or 1 is.
    if mode == "corners":
        above, below = pixels * (size - 1), max(wanted - 1, 1)
    else:
        above, below = ((2 * pixels + 1) * size - wanted).clamp(min=0), 2 * wanted
    lower = (above // below).clamp(max=size - 1)
    weight = (above % below).double() / below
    return Axis(size, lower, torch.where(lower < size - 1, weight, 0.0))


def axes(logits: Tensor, target: Tensor, mode: str) -> list[Axis]:
    """Return the spatial axes of logits (N, C, *), for a target that ends in as many."""
    sizes, wanted = logits.shape[2:], target.shape[target.ndim - logits.ndim + 2 :]
    # The compiler warns of a cache, and fake tensors do not go with what is in it.
    cached = not torch.compiler.is_compiling() and type(logits) in (Tensor, torch.nn.Parameter)
    make = axis if cached else axis.__wrapped__
    return [make(n, m, mode) for n, m in zip(sizes, wanted, strict=True)]


def _along(values: Tensor, dim: int, like: Tensor) -> Tensor:
    return values.to(like).view(-1, *(1,) * (like.ndim - dim - 1))


def interpolate(x: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Return logits (N, C, *), cut to the places of the axes, at their pixels, blind to what these take 0 of."""
    for dim, one in enumerate(axes, 2):
        lower, w = one.lower.to(x.device), _along(one.weight, dim, x)
        first = x.index_select(dim, lower)
        after = x.index_select(dim, (lower + 1).clamp(max=x.shape[dim] - 1))
        x = torch.where(w == 0, first, first * (1 - w) + after * w)
    return x


def adjoint(gradient: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Return the part of the gradient in the logits that is due to that at the pixels of the axes (N, C, *)."""
    for dim, one in reversed(list(enumerate(axes, 2))):
        parts = (
            gradient.index_select(dim, pixel.to(gradient.device)) * _along(share, dim, gradient)
            for pixel, share in one.shares
        )
        gradient = functools.reduce(Tensor.add_, parts)
    return gradient


def spatial_shape(logits: Tensor, axes: Sequence[Axis] | None) -> tuple[int, ...]:
    """Return the sizes of the spatial axes of logits (N, C, *), interpolated where there are axes."""
    return tuple(logits.shape[2:]) if axes is None else tuple(len(one.lower) for one in axes)


def strips(
    logits: Tensor, axes: Sequence[Axis] | None, size: int = STRIP
) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Return logits in float32 or float64, `size` elements at a time, with the images and pixels they are of.

    Args:
        logits: (N, C, *).
        axes: how they are interpolated; None where they are not.
        size: elements of a strip.
    """
    N, C = logits.shape[:2]
    wanted = spatial_shape(logits, axes)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    each = C * math.prod(wanted[1:])
    for images, part in parts(N if each else 0, wanted[0], each, size, N):
        if axes is None:
            yield (images, part), logits[images, :, part].to(dtype)
        else:
            strip = axes[0].part(part)
            yield (images, part), interpolate(logits[images, :, strip.places].to(dtype), [strip, *axes[1:]])


def argmax(logits: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Return the class of the largest logit (N, C, *) at each pixel of the axes, int64 (N, *), strip by strip."""
    indices = torch.empty(len(logits), *spatial_shape(logits, axes), dtype=torch.int64, device=logits.device)
    for place, strip in strips(logits, axes):
        indices[place] = strip.max(1).indices
    return indices
