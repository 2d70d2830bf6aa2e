"""Pixels in parts, for the kernels of a GPU: all at once or, where labels are finer than logits, strip by strip.

Both passes over the pixels go along the first axis. Each source index of the interpolation collects the gradient of
its output indices in their order, and one strip is collected after the other: bitwise deterministic.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor

from .._inputs.labels import UNSIGNED, assert_on_device, canonical_target, num_labels
from .._inputs.layouts import flat
from .._math import interpolation
from .._math.lasting import lasting
from .contract import Pixels
from .plain import compute_dtype

#: Elements of a strip: its logits and their gradient, 128 MiB of float32, are all that is made of them. A strip is
#: counted into counters of its own, which cost as much as some millions of logits.
STRIP = 2**24


class Part(NamedTuple):
    """Pixels of some images, from `begin` to `end` of the first axis: logits (n, C, p), labels and mask."""

    images: slice
    begin: int
    end: int
    logits: Tensor
    target: Tensor
    mask: Tensor | None


class DeviceAxis(NamedTuple):
    """An axis on a device: of each source index its first output index, and the one after its last.

    `most` is the largest number of output indices of a source index.
    """

    lower: Tensor
    weight: Tensor
    begin: Tensor
    end: Tensor
    most: int


class Strip(NamedTuple):
    """Output indices from `begin` to `end` of the first of three axes, of which the logits have `spatial`."""

    axes: list[DeviceAxis]
    begin: int
    end: int
    height: int
    width: int
    spatial: int


#: Fills (n, C, p) with logits (n, C, z, y, x) at a strip.
Interpolate = Callable[[Tensor, Strip, Tensor], None]
#: Adds the gradient (n, C, p) of a strip to source indices from one to another of (n, C, z, y, x).
Collect = Callable[[Tensor, Strip, int, int, Tensor], None]


@lasting(None)
def _axis(size: int, wanted: int, mode: str, device: torch.device) -> DeviceAxis:
    one, places = interpolation.axis(size, wanted, mode), torch.arange(size, device="cpu")
    begin = torch.searchsorted(one.lower + (one.weight > 0), places)
    end = torch.searchsorted(one.lower, places, right=True)
    lower, first, last = (values.int().to(device) for values in (one.lower, begin, end))
    return DeviceAxis(lower, one.weight.to(device), first, last, int((end - begin).max()))


def whole(pixels: Pixels) -> Part:
    """Return all pixels, with labels as fine as the logits, as one part."""
    x, target, mask = flat(pixels.logits, pixels.target, pixels.mask)
    return Part(slice(0, x.shape[0]), 0, x.shape[2], x, target, mask)


def operands(part: Part, ignored: Sequence[int], form: str) -> tuple[Tensor, Tensor, Tensor | None, int | None]:
    """Return what the kernels read: one axis of pixels, bytes for bool, at most one ignored label."""
    x, t, m = part[3:]
    if len(ignored) > 1 or t.dtype in UNSIGNED:
        t, m, ignored = canonical_target(t, m, ignored, num_labels(form, x.shape[1])), None, [-1]
    t = t.view(torch.uint8) if t.dtype == torch.bool else t
    m = None if m is None else m.view(torch.uint8)
    return x, t, m, ignored[0] if ignored else None


#: Whether what a kernel has counted is read back at once.
_read_back = ContextVar("_read_back", default=False)


@contextlib.contextmanager
def reading_back() -> Iterator[None]:
    """Make a kernel that counts labels wrong raise: an assertion on the device would end the process."""
    token = _read_back.set(True)
    try:
        yield
    finally:
        _read_back.reset(token)


def refuse_wrong_labels(wrong: Tensor, pixels: Pixels) -> None:
    """Raise where labels were counted, in `wrong` (1,), that are no class; on a GPU assert it, without waiting."""
    _, target, mask, ignored, form, _ = pixels
    labels = num_labels(form, pixels.logits.shape[1])
    if _read_back.get() and wrong.item():
        raise RuntimeError("labels that are classes were counted as others")
    if wrong.device.type != "cpu":
        assert_on_device(wrong == 0, labels)
    elif wrong.item():  # raises, and names them
        canonical_target(target, mask, ignored, labels)


#: Fills (n, C, p) with the gradient of a part, by the weights of its bins.
Fill = Callable[[Part, Tensor, Tensor], None]


def gradient(pixels: Pixels, weights: Tensor, fill: Fill, interpolate: Interpolate, collect: Collect) -> Tensor:
    """Return the gradient in the dtype and strides of the logits, filled at once or strip by strip."""
    logits = pixels.logits
    weights = weights.to(compute_dtype(logits)).contiguous()
    if pixels.interpolation is not None:
        strips = Strips(pixels)
        total = torch.zeros_like(logits, dtype=compute_dtype(logits))
        for part in strips.parts(interpolate):
            of_part = torch.empty_like(part.logits)
            fill(part, weights[part.images] if len(weights) > 1 else weights, of_part)
            strips.collect(part, of_part, total, collect)
        return total.to(logits.dtype)
    part, out = whole(pixels), torch.empty_like(logits)
    flat_out = out.flatten(2) if out.flatten(2).data_ptr() == out.data_ptr() else torch.empty_like(part.logits)
    fill(part, weights, flat_out)
    return out if flat_out.data_ptr() == out.data_ptr() else out.copy_(flat_out.view(out.shape))


class Strips:
    """An input whose labels are finer than its logits, strip by strip."""

    def __init__(self, pixels: Pixels) -> None:
        logits, self.target, self.mask, mode = pixels.logits, pixels.target, pixels.mask, pixels.interpolation
        assert mode is not None
        self.spatial = logits.ndim - 2
        self.logits = self._three(logits)
        sizes = self.target.shape[-self.spatial :]
        self.sizes = (sizes[0], *(1,) * (3 - self.spatial), *sizes[1:])
        pairs = zip(self.logits.shape[2:], self.sizes, strict=True)
        self.first_axis = interpolation.axis(logits.shape[2], sizes[0], mode)
        self.axes = [] if 0 in sizes else [_axis(size, wanted, mode, logits.device) for size, wanted in pairs]
        self.dtype = compute_dtype(logits)

    def _three(self, logits: Tensor) -> Tensor:
        """Return the logits with three spatial axes: those that there are not stand behind the first."""
        for _ in range(3 - self.spatial):
            logits = logits.unsqueeze(3)
        return logits

    def parts(self, interpolate: Interpolate) -> Iterator[Part]:
        """Return all pixels, interpolated a strip at a time."""
        N, C = self.logits.shape[:2]
        places, height, width = self.sizes
        each = C * height * width
        for images, strip in interpolation.parts(N if each else 0, places, each, STRIP, N):
            n, p = images.stop - images.start, (strip.stop - strip.start) * height * width
            logits = torch.empty(n, C, p, dtype=self.dtype, device=self.logits.device)
            interpolate(self.logits[images], self._strip(strip.start, strip.stop), logits)
            mask = None if self.mask is None else self._cut(self.mask, images, strip)
            yield Part(images, strip.start, strip.stop, logits, self._cut(self.target, images, strip), mask)

    def _strip(self, begin: int, end: int) -> Strip:
        _, height, width = self.sizes
        return Strip(self.axes, begin, end, height, width, self.spatial)

    def _cut(self, labels: Tensor, images: slice, strip: slice) -> Tensor:
        first = labels.ndim - self.spatial
        return labels[images].narrow(first, strip.start, strip.stop - strip.start).flatten(first)

    def collect(self, part: Part, gradient: Tensor, total: Tensor, collect: Collect) -> None:
        """Add the gradient of a part (n, C, p) to that of all logits, which has their shape."""
        cut = self.first_axis.part(slice(part.begin, part.end))
        out = self._three(total[part.images])
        collect(gradient, self._strip(part.begin, part.end), cut.first, cut.first + cut.size, out)
