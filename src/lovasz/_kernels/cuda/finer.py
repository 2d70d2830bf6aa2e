"""Labels finer than the logits: a strip of logits interpolated, and the gradient of one collected."""

from typing import Any

from torch import Tensor

from ..strips import Strip
from . import operands, records, shapes
from .records import Launch, Launcher


def interpolate(launcher: Launcher, logits: Tensor, strip: Strip, out: Tensor) -> None:
    """Fill (n, C, p) with the logits (n, C, z, y, x) at the output indices of a strip."""
    n, C, p = out.shape
    tiles = -(-p // shapes.BLOCK)
    given = _interpolating(strip, logits, out, logits.stride(), tiles)
    launcher.launch(Launch("finer", "interpolate", _macros(logits, out), n * C * tiles, 0, (given,)), out.device)


def collect(launcher: Launcher, gradient: Tensor, strip: Strip, first: int, last: int, out: Tensor) -> None:
    """Add the gradient of a strip (n, C, p) to that of its source indices, `first` to `last` of (n, C, z, y, x)."""
    n, C, _ = gradient.shape
    rows, columns = out.shape[3:]
    sources = (last - first) * rows * columns
    tiles = -(-sources // shapes.BLOCK)
    given = _interpolating(strip, None, gradient, out.stride(), tiles)
    ends = [t.data_ptr() for axis in strip.axes for t in (axis.begin, axis.end)]
    collecting = records.Collecting(out.data_ptr(), *ends, first, sources, rows, columns)
    launcher.launch(
        Launch("finer", "collect", _macros(gradient, gradient), n * C * tiles, 0, (given, collecting)), out.device
    )


def _macros(logits: Tensor, strip: Tensor) -> dict[str, str | int]:
    return {"LOGIT": operands.name(logits.dtype), "REAL": operands.name(strip.dtype), "BLOCK": shapes.BLOCK}


def _interpolating(strip: Strip, logits: Tensor | None, values: Tensor, strides: Any, tiles: int) -> Any:
    """Return what both launches take, with the strides of what is read or added to."""
    axes = [t.data_ptr() for axis in strip.axes for t in (axis.lower, axis.weight)]
    _, C, p = values.shape
    return records.Interpolating(
        None if logits is None else logits.data_ptr(), values.data_ptr(), *axes, strip.begin, strip.end, tiles, p,
        strip.height, strip.width, C, *strides,
    )  # fmt: skip
