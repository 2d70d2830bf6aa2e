"""Labels finer than the logits: a strip of logits interpolated, and the gradient of one collected."""

import contextlib
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..plain import compute_dtype
from ..strips import Strip

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


def on(device: torch.device) -> Any:
    """Send launches to the device of the tensors, whichever is the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def interpolate(logits: Tensor, strip: Strip, out: Tensor) -> None:
    """Fill (n, C, p) with the logits (n, C, z, y, x) at the output indices of a strip."""
    n, C, p = out.shape
    tiles = triton.cdiv(p, BLOCK)
    z, y, x = strip.axes
    with on(out.device):
        _interpolate[(n * C * tiles,)](
            logits, out, *z[:2], *y[:2], *x[:2], strip.begin, tiles, p, strip.height, strip.width, C,
            *logits.stride(), THREE=strip.spatial == 3, REAL=_real(out), BLOCK=BLOCK, num_warps=WARPS,
        )  # fmt: skip


def collect(gradient: Tensor, strip: Strip, first: int, last: int, out: Tensor) -> None:
    """Add the gradient of a strip (n, C, p) to that of its source indices, `first` to `last` of (n, C, z, y, x)."""
    n, C, p = gradient.shape
    rows, columns = out.shape[3:]
    places = (last - first) * rows * columns
    tiles = triton.cdiv(places, BLOCK)
    z, y, x = strip.axes
    with on(gradient.device):
        _collect[(n * C * tiles,)](
            gradient, out, *z[:4], *y[:4], *x[:4], strip.begin, strip.end, first, tiles, places, rows, columns, p,
            strip.height, strip.width, C, *out.stride(),
            MOST_Z=z.most, MOST_Y=y.most, MOST_X=x.most, REAL=_real(gradient), BLOCK=BLOCK, num_warps=WARPS,
        )  # fmt: skip


def _real(tensor: Tensor) -> Any:
    return tl.float64 if compute_dtype(tensor) == torch.float64 else tl.float32
