"""A user's own images and masks: checked once as a whole, then read one by one."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lovasz.study.data.channels import open_channels, read_channels
from lovasz.study.data.constant import Constants
from lovasz.study.data.pairs import Layout, LayoutError, Pair
from lovasz.study.data.parts import IGNORE_INDEX, MOST_CLASSES, PARTS, TRAIN, Data, Part
from lovasz.study.io.arrays import UnreadableFileError
from lovasz.study.io.classes import Classes
from lovasz.study.io.digests import sealed, unsealed
from lovasz.study.io.disk import replaced
from lovasz.study.io.masks import open_mask, read_mask
from lovasz.study.io.palette import palette
from lovasz.study.io.text import printable
from lovasz.study.io.volumes import check_same_place

# Counts the changes of what a file is read as, so that what was found before is not believed.
READERS = 2
# Bytes of prepared images that are kept in memory instead of read again.
CACHE = 4 * 2**30


@dataclass(frozen=True)
class Reading:
    """How files become samples.

    Attributes:
        num_classes: Labels 0 to C - 1 are classes.
        ignore: Labels left out.
        size: Images and masks are resized to this; None keeps them as they are.
        mean: Mean of each channel over the training images.
        deviation: Its standard deviation.
    """

    num_classes: int
    ignore: tuple[int, ...]
    size: tuple[int, ...] | None
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class Folder:
    """Samples read from files; those that fit are kept in memory."""

    def __init__(self, pairs: Sequence[Pair], reading: Reading) -> None:
        self.pairs, self.reading = pairs, reading
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.room = CACHE // len(PARTS)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index not in self.kept:
            image, target = self._read(index)
            compact = target.short()  # a quarter of the memory; there are `MOST_CLASSES` at most
            self.room -= 4 * image.numel() + 2 * compact.numel()
            if self.room < 0:
                return image, target
            self.kept[index] = image, compact
        image, compact = self.kept[index]
        return image, compact.long()

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        pair, reading = self.pairs[index], self.reading
        image = torch.from_numpy(read_channels(pair.images).astype(np.float32))
        labels = torch.from_numpy(read_mask(pair.mask).astype(np.int64))
        target = labels.masked_fill(torch.isin(labels, torch.tensor(reading.ignore)), IGNORE_INDEX)
        if reading.size and tuple(target.shape) != reading.size:
            mode: dict[str, Any] = {"mode": "trilinear"}
            if target.ndim == 2:
                mode = {"mode": "bilinear", "antialias": True}
            image = F.interpolate(image[None], reading.size, **mode, align_corners=False)[0]
            target = _resized(target, reading.size)
        axes = (-1, *[1] * target.ndim)
        mean, deviation = torch.tensor(reading.mean).view(axes), torch.tensor(reading.deviation).view(axes)
        return (image - mean) / deviation, target


def load_folder(
    path: Path,
    layout: Layout,
    classes: Classes,
    ignore: Sequence[int],
    size: tuple[int, ...] | None,
    known: Path,
    on_file: Callable[[int, int], None],
) -> Data:
    """Checks every file and returns the data; what was found is kept for the next time.

    Args:
        path: What the user named, for messages.
        layout: The pairs.
        classes: Names of the classes.
        ignore: Labels left out.
        size: Images and masks are resized to this.
        known: A file that holds what an earlier check found; used again if no file has changed.
        on_file: Called with the number of files checked and that of all.

    Raises:
        UnreadableFileError: If a file cannot be read, sizes differ, or a label is no class.
        LayoutError: If there are more than `MOST_CLASSES`, images differ in channels or axes, or a class
            is missing from training.
    """
    ignore = tuple(sorted({*ignore, *layout.void}))
    num_classes = len(classes.names)
    if num_classes > MOST_CLASSES:
        raise LayoutError(f"there must be at most {MOST_CLASSES} classes, got {num_classes}")
    for label in ignore:
        if 0 <= label < num_classes and label not in layout.void:
            raise LayoutError(
                f"--ignore {label} is one of the classes 0 to {num_classes - 1}, {classes.names[label]}; "
                "a label is a class or is left out"
            )
    stamp = _stamp(layout, num_classes, ignore, size)
    found = _recall(known, stamp)
    if found is None:
        found = {"stamp": stamp, **_check(layout, num_classes, ignore, size, on_file)}
        with replaced(known, binary=True) as file:
            file.write(sealed(json.dumps(found).encode()))
    absent = [name for name, pixels in zip(classes.names, found["pixels"][TRAIN], strict=True) if not pixels]
    if absent:
        raise LayoutError(
            f"--data {path}: no training mask holds {', '.join(absent)}; nothing can learn a class without pixels"
        )
    sizes = {tuple(one) for one in found["sizes"]}
    dims = len(next(iter(sizes)))
    if size and len(size) != dims:
        raise LayoutError(f"--size must hold {dims} numbers for images of {dims} axes, got {len(size)}")
    reading = Reading(num_classes, ignore, size, tuple(found["mean"]), tuple(found["deviation"]))
    digest = hashlib.sha256(f"{found['content']};{ignore};{size};{classes.names}".encode())
    resized = f"resized to {' x '.join(map(str, size))}" if size else "in their own size"
    return Data(
        name=printable(path.stem if path.is_file() else path.resolve().name),
        class_names=classes.names,
        colours=classes.colours or tuple(palette(num_classes)),
        channels=len(reading.mean),
        dims=dims,
        sizes=(size,) if size else tuple(sorted(sizes)),
        parts={
            part: Part(
                [pair.name for pair in layout.pairs[part]],
                Folder(layout.pairs[part], reading),
                found["pixels"][part],
            )
            for part in PARTS
        },
        fingerprint=digest.hexdigest()[:16],
        notes=(
            layout.note,
            *layout.told,
            f"Images are taken {resized}, each channel standardised by mean and deviation over the training images"
            + (f"; labels left out: {', '.join(map(str, ignore))}." if ignore else "."),
        ),
        warnings=tuple(found["constant"]),
    )


def missing_from(data: Data) -> list[str]:
    """Says which classes no validation or test mask holds; predicted there, their IoU is 0."""
    said = []
    for part in PARTS[1:]:
        absent = [
            name for name, pixels in zip(data.class_names, data.parts[part].pixels, strict=True) if not pixels
        ]
        if absent:
            said.append(f"no {part} mask holds {', '.join(absent)}: where it is not predicted it has no {part} IoU")
    return said


def _resized(target: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(target[None, None].double(), size, mode="nearest-exact")[0, 0].long()


def _stamp(layout: Layout, num_classes: int, ignore: Sequence[int], size: tuple[int, ...] | None) -> str:
    """Hashes what tells that no file has changed: names, sizes and times."""
    digest = hashlib.sha256(f"{READERS};{num_classes};{ignore};{size}".encode())
    for part in PARTS:
        for pair in layout.pairs[part]:
            for file in (*pair.images, pair.mask):
                stat = file.stat()
                line = f"{part};{file.resolve()};{stat.st_size};{stat.st_mtime_ns}\n"
                digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _recall(known: Path, stamp: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(unsealed(known.read_bytes()))
    except (OSError, ValueError):
        return None
    return found if found.get("stamp") == stamp else None


def _check(
    layout: Layout,
    num_classes: int,
    ignore: Sequence[int],
    size: tuple[int, ...] | None,
    on_file: Callable[[int, int], None],
) -> dict[str, Any]:
    """Decodes every file, on all cores, and adds up what the training needs to know."""
    jobs = [(part, pair) for part in PARTS for pair in layout.pairs[part]]
    pixels = {part: np.zeros(num_classes, dtype=np.int64) for part in PARTS}
    content = hashlib.sha256()
    sizes: dict[tuple[int, ...], None] = {}
    first: tuple[Pair, int, int] | None = None
    where: dict[str, tuple[str, Path]] = {}
    number, total, squares = 0, np.zeros(1), np.zeros(1)
    constants = Constants()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        pending = threads.map(lambda job: _examine(job[1], num_classes, ignore, size), jobs)
        try:
            for done, ((part, pair), seen) in enumerate(zip(jobs, pending, strict=True), 1):
                first = first or (pair, len(seen.sums), len(seen.size))
                if (len(seen.sums), len(seen.size)) != first[1:]:
                    raise LayoutError(
                        f"{printable(pair.image)} has {len(seen.sums)} channels and {len(seen.size)} axes, "
                        f"{printable(first[0].image)} has {first[1]} and {first[2]}; all images must agree"
                    )
                twin = where.setdefault(seen.shown, (part, pair.image)) if seen.shown else (part, pair.image)
                if twin[0] != part:
                    raise LayoutError(
                        f"{printable(pair.image)} of the {part} part is the same image as {printable(twin[1])} of "
                        f"the {twin[0]} part: a network would be tested on what it learned"
                    )
                constants.add(part, pair.image, seen.low, seen.high)
                pixels[part] += seen.pixels
                content.update(f"{part};{pair.name};{seen.digest}\n".encode())
                if part == TRAIN:
                    sizes[seen.size] = None
                    number += int(np.prod(seen.size))
                    total, squares = total + seen.sums, squares + seen.squares
                on_file(done, len(jobs))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    mean = total / number
    deviation = np.sqrt(np.maximum(squares / number - mean**2, 0))
    # A constant channel stays at zero; of rounding its deviation may not be.
    deviation[constants.channels | (deviation == 0)] = 1.0
    return {
        "pixels": {part: counts.tolist() for part, counts in pixels.items()},
        "sizes": list(sizes),
        "mean": mean.tolist(),
        "deviation": deviation.tolist(),
        "content": content.hexdigest(),
        "constant": constants.warnings(),
    }


@dataclass(frozen=True)
class _Seen:
    size: tuple[int, ...]
    sums: Any
    squares: Any
    low: Any
    high: Any
    pixels: Any
    digest: str
    shown: str  # hash of the image alone; empty for one of a single value, which many may be


def _examine(pair: Pair, num_classes: int, ignore: Sequence[int], size: tuple[int, ...] | None) -> _Seen:
    with open_channels(pair.images) as opened, open_mask(pair.mask) as mask:
        if opened.shape[1:] != mask.shape:
            hint = "; an array must have its channels first" if opened.shape[:-1] == mask.shape else ""
            raise UnreadableFileError(
                pair.mask,
                f"has the size {mask.shape}, its image {printable(pair.image)} {opened.shape[1:]}; "
                f"expected the same{hint}",
            )
        check_same_place(pair.mask, pair.image)
        image, labels = opened.read(), mask.read()
    values, counts = np.unique(labels, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if value not in ignore and not 0 <= value < num_classes:
            raise UnreadableFileError(
                pair.mask,
                f"holds the label {value} ({count}x); expected classes 0 to {num_classes - 1}"
                + (f" or the ignored {', '.join(map(str, ignore))}" if ignore else "")
                + f". If it means void: --ignore {value}; if it is a class, store it as its index",
            )
    target = torch.from_numpy(labels.astype(np.int64))
    if size and len(size) == target.ndim:  # else it is refused when all are known
        target = _resized(target, size)
    pixels = torch.bincount(target[~torch.isin(target, torch.tensor(ignore))], minlength=num_classes).numpy()
    # Of the values that are trained on: what is not 0 in float64 may be so in float32.
    flat = image.reshape(len(image), -1).astype(np.float32).astype(np.float64)
    shown = hashlib.sha256(image.tobytes())
    digest = hashlib.sha256(shown.digest() + labels.tobytes()).hexdigest()
    varied = bool((image != image.flat[0]).any())
    low, high = flat.min(1), flat.max(1)
    shown_if_varied = shown.hexdigest() if varied else ""
    return _Seen(labels.shape, flat.sum(1), (flat**2).sum(1), low, high, pixels, digest, shown_if_varied)
