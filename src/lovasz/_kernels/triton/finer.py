"""Labels finer than the logits, for both passes: a strip of logits interpolated, and the gradient of one collected.

Both passes over the pixels go strip by strip along the first axis. Each place of the logits collects the gradient
of its pixels in their order, and one strip is collected after the other: the same bits on every run.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..._math import interpolation
from ..contract import Pixels
from ..plain import compute_dtype

#: Elements of a strip: its logits and their gradient are all that is made of them.
STRIP = 2**22
#: Pixels, or places of the logits, of a program.
BLOCK = 256
WARPS = 4


@triton.jit
def _between(lower, weight, at, inside, REAL: tl.constexpr):
    """Return the two places that pixels lie between along an axis, and the weight of the second; at 0 the first."""
    first = tl.load(lower + at, mask=inside, other=0).to(tl.int64)
    w = tl.load(weight + at, mask=inside, other=0.0).to(REAL)
    return first, tl.where(w == 0, first, first + 1), w


@triton.jit
def _mixed(one, other, w):
    return tl.where(w == 0, one, (1 - w) * one + w * other)


@triton.jit
def _row(logits, x0, x1, w, stride, inside, REAL: tl.constexpr):
    """Return the logits along a row."""
    one = tl.load(logits + x0 * stride, mask=inside, other=0.0).to(REAL)
    return _mixed(one, tl.load(logits + x1 * stride, mask=inside, other=0.0).to(REAL), w)


@triton.jit
def _interpolate(
    logits, strip, lower_z, weight_z, lower_y, weight_y, lower_x, weight_x, first_z, tiles, pixels, height, width,
    classes, image_stride, class_stride, z_stride, y_stride, x_stride,
    THREE: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Return the logits of a class at the pixels of a strip from `first_z`; without THREE axes y is one place."""
    program = tl.program_id(0).to(tl.int64)
    row = program // tiles
    p = (program % tiles).to(tl.int32) * BLOCK + tl.arange(0, BLOCK)
    inside = p < pixels
    z0, z1, w_z = _between(lower_z, weight_z, first_z + p // (height * width), inside, REAL)
    y0, y1, w_y = _between(lower_y, weight_y, p // width % height, inside, REAL)
    x0, x1, w_x = _between(lower_x, weight_x, p % width, inside, REAL)
    logits += row // classes * image_stride + row % classes * class_stride
    front, behind = logits + z0 * z_stride, logits + z1 * z_stride
    one = _row(front + y0 * y_stride, x0, x1, w_x, x_stride, inside, REAL)
    other = _row(behind + y0 * y_stride, x0, x1, w_x, x_stride, inside, REAL)
    if THREE:
        one = _mixed(one, _row(front + y1 * y_stride, x0, x1, w_x, x_stride, inside, REAL), w_y)
        other = _mixed(other, _row(behind + y1 * y_stride, x0, x1, w_x, x_stride, inside, REAL), w_y)
    tl.store(strip + row * pixels + p, _mixed(one, other, w_z), mask=inside)


@triton.jit
def _share(lower, weight, at, place, end, REAL: tl.constexpr):
    """Return the share that a place has of the pixel at `at`, and whether that is one of its pixels."""
    there = at < end
    first = tl.load(lower + at, mask=there, other=0)
    w = tl.load(weight + at, mask=there, other=0.0).to(REAL)
    return tl.where(first == place, 1 - w, w), there


@triton.jit
def _collect(
    strip, gradient, lower_z, weight_z, begin_z, end_z, lower_y, weight_y, begin_y, end_y,
    lower_x, weight_x, begin_x, end_x, first_z, last_z, first_place,
    tiles, places, rows, columns, pixels, height, width, classes,
    image_stride, class_stride, z_stride, y_stride, x_stride,
    MOST_Z: tl.constexpr, MOST_Y: tl.constexpr, MOST_X: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add to the gradient of each place that of its pixels in the strip from `first_z` to `last_z`."""
    program = tl.program_id(0).to(tl.int64)
    row = program // tiles
    i = (program % tiles).to(tl.int32) * BLOCK + tl.arange(0, BLOCK)
    inside = i < places
    z, y, x = first_place + i // (rows * columns), i // columns % rows, i % columns
    z_at = tl.maximum(tl.load(begin_z + z, mask=inside, other=0), first_z)
    z_end = tl.minimum(tl.load(end_z + z, mask=inside, other=0), last_z)
    y_at = tl.load(begin_y + y, mask=inside, other=0)
    y_end = tl.load(end_y + y, mask=inside, other=0)
    x_at = tl.load(begin_x + x, mask=inside, other=0)
    x_end = tl.load(end_x + x, mask=inside, other=0)
    total = tl.zeros((BLOCK,), REAL)
    for dz in range(MOST_Z):
        share_z, there_z = _share(lower_z, weight_z, z_at + dz, z, z_end, REAL)
        for dy in range(MOST_Y):
            share_y, there_y = _share(lower_y, weight_y, y_at + dy, y, y_end, REAL)
            at = ((z_at + dz - first_z) * height + y_at + dy) * width + x_at
            for dx in range(MOST_X):
                share_x, there_x = _share(lower_x, weight_x, x_at + dx, x, x_end, REAL)
                there = there_z & there_y & there_x
                g = tl.load(strip + row * pixels + at + dx, mask=there, other=0.0)
                total += tl.where(there, share_z * share_y * share_x * g, 0.0)
    gradient += row // classes * image_stride + row % classes * class_stride
    at = z.to(tl.int64) * z_stride + y.to(tl.int64) * y_stride + x.to(tl.int64) * x_stride
    tl.store(gradient + at, tl.load(gradient + at, mask=inside, other=0.0) + total, mask=inside)


class Part(NamedTuple):
    """Pixels of some images, from `begin` to `end` of the first axis: logits (n, C, p), labels and mask."""

    images: slice
    begin: int
    end: int
    logits: Tensor
    target: Tensor
    mask: Tensor | None


class _Axis(NamedTuple):
    """An axis of the interpolation on a device: of each place its first pixel and the one after its last.

    `most` is the largest number of pixels of a place.
    """

    lower: Tensor
    weight: Tensor
    begin: Tensor
    end: Tensor
    most: int


@functools.lru_cache(maxsize=64)
def _axis(size: int, wanted: int, mode: str, device: torch.device) -> _Axis:
    one, places = interpolation.axis(size, wanted, mode), torch.arange(size, device="cpu")
    begin = torch.searchsorted(one.lower + (one.weight > 0), places)
    end = torch.searchsorted(one.lower, places, right=True)
    lower, first, last = (values.int().to(device) for values in (one.lower, begin, end))
    return _Axis(lower, one.weight.to(device), first, last, int((end - begin).max()))


def on(device: torch.device) -> Any:
    """Send launches to the device of the tensors, whichever is the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


class Finer:
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
        self.real = tl.float64 if self.dtype == torch.float64 else tl.float32

    def _three(self, logits: Tensor) -> Tensor:
        """Return the logits with three spatial axes: those that there are not stand behind the first."""
        for _ in range(3 - self.spatial):
            logits = logits.unsqueeze(3)
        return logits

    def parts(self) -> Iterator[Part]:
        """Return all pixels, interpolated a strip at a time."""
        N, C = self.logits.shape[:2]
        places, height, width = self.sizes
        each = C * height * width
        for images, strip in interpolation.parts(N if each else 0, places, each, STRIP, N):
            n, p = images.stop - images.start, (strip.stop - strip.start) * height * width
            logits = torch.empty(n, C, p, dtype=self.dtype, device=self.logits.device)
            tiles = triton.cdiv(p, BLOCK)
            z, y, x = self.axes
            with on(logits.device):
                _interpolate[(n * C * tiles,)](
                    self.logits[images], logits, *z[:2], *y[:2], *x[:2], strip.start, tiles, p, height, width, C,
                    *self.logits.stride(), THREE=self.spatial == 3, REAL=self.real, BLOCK=BLOCK,
                    num_warps=WARPS,
                )  # fmt: skip
            mask = None if self.mask is None else self._cut(self.mask, images, strip)
            yield Part(images, strip.start, strip.stop, logits, self._cut(self.target, images, strip), mask)

    def _cut(self, labels: Tensor, images: slice, strip: slice) -> Tensor:
        first = labels.ndim - self.spatial
        return labels[images].narrow(first, strip.start, strip.stop - strip.start).flatten(first)

    def collect(self, part: Part, gradient: Tensor, total: Tensor) -> None:
        """Add the gradient of a part (n, C, p) to that of all logits, which has their shape."""
        _, height, width = self.sizes
        _, rows, columns = self.logits.shape[2:]
        cut = self.first_axis.part(slice(part.begin, part.end))
        places = cut.size * rows * columns
        tiles = triton.cdiv(places, BLOCK)
        n, C, p = gradient.shape
        out = self._three(total[part.images])
        z, y, x = self.axes
        with on(gradient.device):
            _collect[(n * C * tiles,)](
                gradient, out, *z[:4], *y[:4], *x[:4], part.begin, part.end, cut.first,
                tiles, places, rows, columns, p, height, width, C, *out.stride(),
                MOST_Z=z.most, MOST_Y=y.most, MOST_X=x.most, REAL=self.real, BLOCK=BLOCK, num_warps=WARPS,
            )  # fmt: skip
