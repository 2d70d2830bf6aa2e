"""Scores from files: logits or probabilities of every class, or of class 1 alone, checked and read as logits."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.arrays import opened
from lovasz.study.io.kinds import VOLUMES, Stored, UnreadableFileError, suffix
from lovasz.study.io.numbers import not_finite
from lovasz.study.io.text import printable

#: What scores may be.
KINDS = ("logits", "probabilities")
# How far the probabilities of a pixel may sum up from 1.
OFF = 1e-3
# Bits of a grey map, and the value that stands for 1.
GREY = {8: 255, 16: 65535}
# From here on the sigmoid in float32 is 0, but for 1e-38, and 1.
FARTHEST = 88.0
TINY = np.finfo(np.float32).tiny


class NoRuleError(ValueError):
    """Scores from which no labels can be made; the message says why."""


class MisfitError(UnreadableFileError):
    """Scores that do not fit on a target."""


class ScoreFile:
    """Scores in an open file.

    Attributes:
        shape: The shape in the file.
        low: Once they are read: the lowest value.
        high: The highest.
        grey: Once a grey map is read: the highest value as it is stored; -1 for anything else.
    """

    def __init__(self, path: Path, stored: Stored, kind: str) -> None:
        self.path, self.kind, self.shape = path, kind, stored.shape
        self.low, self.high, self.grey = math.inf, -math.inf, -1
        self._stored = stored

    def layout(self, num_classes: int, target: tuple[int, ...], of: Path) -> tuple[int, bool]:
        """Return how many channels there are, and whether they are the last axis and not the first.

        Args:
            num_classes: C; of two classes there may be the scores of class 1 alone.
            target: The shape of the target.
            of: The target, for the message.

        Raises:
            MisfitError: If the shape is none of these, its classes could be the first axis and the last, or they
                are the first of a volume, whose first three axes are turned by its affine.
        """
        shapes = [(num_classes, False), (num_classes, True)] + [(1, False), (1, True)] * (num_classes == 2)
        found = [one for one in shapes if self.shape == _shape(*one, target)]
        if num_classes == 2 and self.shape == target:
            found.append((1, False))
        if len(found) > 1 and found[0][0] > 1:
            raise MisfitError(
                self.path,
                f"has the shape {self.shape}, and {printable(of)} {target}: the {num_classes} classes may be the "
                "first axis or the last; expected a size that is not the number of classes",
            )
        volume = suffix(self.path) in VOLUMES
        if found and volume and not found[0][1] and self.shape != target:
            raise MisfitError(
                self.path,
                f"has the shape {self.shape}, its classes first; the first three axes of a NIfTI file are space, "
                "and its affine turns them. Save it with the classes last: numpy.moveaxis(array, 0, -1)",
            )
        if not found:
            whole = [str(_shape(num_classes, last, target)) for last in (False, True)[volume:]]
            alone = f", or of class 1 alone {target} or {_shape(1, volume, target)}" if num_classes == 2 else ""
            raise MisfitError(
                self.path,
                f"has the shape {self.shape}, and {printable(of)} {target}; expected scores of {num_classes} "
                f"classes, {' or '.join(whole)}{alone}",
            )
        return found[0]

    def logits(self, channels: int, last: bool, target: tuple[int, ...]) -> NDArray[np.float32]:
        """Read the scores as logits, (channels, pixels); softmax, or the sigmoid of one, makes probabilities.

        Raises:
            UnreadableFileError: If a value is not finite in float32, or no probability where it should be one.
        """
        values = self._values()
        if problem := not_finite(values):
            raise UnreadableFileError(self.path, f"holds {problem}; scores must be finite")
        self.low, self.high = float(values.min()), float(values.max())
        values = values.reshape(-1, channels).T if last else values.reshape(channels, -1)
        if self.kind == "logits":
            return values.astype(np.float32, copy=False)
        self._check(values, target)
        return _logarithms(values) if channels > 1 else logit(values)

    def _values(self) -> NDArray[Any]:
        values: NDArray[Any] = self._stored.read()
        if values.dtype.kind == "f":
            return values
        self.grey = int(values.max())
        return values.astype(np.float64) / GREY[self._stored.bits]

    def _check(self, values: NDArray[Any], target: tuple[int, ...]) -> None:
        """Check probabilities (channels, pixels)."""
        if self.low < 0 or self.high > 1:
            raise UnreadableFileError(
                self.path,
                f"holds values from {self.low:.6g} to {self.high:.6g}; expected probabilities from 0 to 1, or "
                "--scores logits",
            )
        if len(values) == 1:
            return
        sums = values.sum(0, dtype=np.promote_types(values.dtype, np.float32))
        off = np.abs(sums - 1)
        if (wrong := int((off > OFF).sum())) > 0:
            place = int(off.argmax())
            where = tuple(map(int, np.unravel_index(place, target)))
            raise UnreadableFileError(
                self.path,
                f"holds probabilities that do not sum to 1 within {OFF:g} over the {len(values)} classes, at "
                f"{wrong:,} pixel{'s' * (wrong > 1)}, such as {sums[place]:.6g} at {where}",
            )


@contextmanager
def open_scores(path: Path, most: int, kind: str) -> Iterator[ScoreFile]:
    """Open a file of scores without decoding it.

    Args:
        path: An array, a volume or a TIFF of floating point; of probabilities also a grey map of 8 or 16 bits.
        most: How many values are read at most.
        kind: One of `KINDS`.

    Raises:
        UnreadableFileError: If the file is missing, broken or too large, or holds something else.
    """
    with opened(path, most) as stored:
        if stored.dtype.kind != "f":
            if not stored.axes:
                raise UnreadableFileError(
                    path,
                    f"holds {stored.dtype} values; expected scores of floating point. Masks of classes are "
                    "evaluated without --scores",
                )
            _check_grey(path, stored, kind)
        yield ScoreFile(path, stored, kind)


def logit(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return the numbers of which the sigmoid makes probabilities, finite for 0 and 1 as well."""
    p = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log1p(-p), -FARTHEST, FARTHEST).astype(np.float32)


def _logarithms(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return the logarithms of probabilities (channels, pixels); the highest is that of the highest as stored."""
    p = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    logits: NDArray[np.float32] = np.log(np.maximum(p, TINY)).astype(np.float32, copy=False)
    # Two neighbours may have one logarithm in float32.
    highest = p.argmax(0)
    tied = np.flatnonzero(logits.argmax(0) != highest)
    logits[highest[tied], tied] = np.nextafter(logits[:, tied].max(0), np.float32(np.inf))
    return logits


def _shape(channels: int, last: bool, target: tuple[int, ...]) -> tuple[int, ...]:
    return (*target, channels) if last else (channels, *target)


def _check_grey(path: Path, stored: Stored, kind: str) -> None:
    """Check that a picture is a grey map of probabilities."""
    if kind != "probabilities":
        raise UnreadableFileError(
            path, "is a picture, of whole numbers; expected logits of floating point, or --scores probabilities"
        )
    if stored.axes.endswith("C") or stored.palette is not None:
        holds = "colours" if stored.palette is None else "a palette"
        raise UnreadableFileError(path, f"holds {holds}; expected a grey map of probabilities of 8 or 16 bits")
    if stored.bits not in GREY or stored.dtype.kind != "u":
        sign = "" if stored.dtype.kind == "u" else " with a sign"
        raise UnreadableFileError(
            path,
            f"has {stored.bits} bit{'s' * (stored.bits > 1)}{sign} a pixel; expected a grey map of 8 or 16",
        )
