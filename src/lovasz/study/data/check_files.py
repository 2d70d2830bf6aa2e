"""Every file of the data looked through once before any training, and what was found kept for the next time."""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lovasz.study.data.constant import Constants
from lovasz.study.data.examine import examine
from lovasz.study.data.pairs import Layout, LayoutError, Pair
from lovasz.study.data.parts import PARTS, TRAIN
from lovasz.study.data.regions import Regions
from lovasz.study.io.digests import sealed, unsealed
from lovasz.study.io.disk import replaced
from lovasz.study.io.labelling import Labelling
from lovasz.study.io.palettes import Palettes, check_palettes
from lovasz.study.io.text import printable

# Counts the changes of what a file is read as, so that what was found before is not believed.
READERS = 4


def check_files(
    layout: Layout,
    labelling: Labelling,
    size: tuple[int, ...] | None,
    regions: Regions | None,
    known: Path,
    on_file: Callable[[int, int], None],
) -> dict[str, Any]:
    """Check every file, unless none has changed since, and return what the training needs to know.

    Args:
        layout: The pairs.
        labelling: How what masks store becomes labels.
        size: Images and masks are resized to this.
        regions: The labels of a binary or multilabel task, or None.
        known: A file that holds what an earlier check found; written after another.
        on_file: Called with the number of files checked and that of all.

    Raises:
        UnreadableFileError: If a file cannot be read, sizes differ, or a label is no class.
        LayoutError: If images differ in channels or axes, or one is in two parts.
    """
    stamp = _stamp(layout, labelling, size, regions)
    found = _recall(known, stamp)
    if found is None:
        found = {"stamp": stamp, **_check(layout, labelling, size, on_file, regions)}
        with replaced(known, binary=True) as file:
            file.write(sealed(json.dumps(found).encode()))
    return found


def _stamp(layout: Layout, labelling: Labelling, size: tuple[int, ...] | None, regions: Regions | None) -> str:
    """Hash what tells that no file has changed: names, sizes and times."""
    digest = hashlib.sha256(f"{READERS};{labelling.key};{size};{regions}".encode())
    for part in PARTS:
        for pair in layout.pairs[part]:
            for file in (*pair.images, *pair.masks):
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
    labelling: Labelling,
    size: tuple[int, ...] | None,
    on_file: Callable[[int, int], None],
    regions: Regions | None,
) -> dict[str, Any]:
    """Decode every file, on all cores, and add up what the training needs to know."""
    jobs = [(part, pair) for part in PARTS for pair in layout.pairs[part]]
    number_of_labels = labelling.num_classes if regions is None else len(regions.names)
    pixels = {part: np.zeros(number_of_labels, dtype=np.int64) for part in PARTS}
    known = dict.fromkeys(PARTS, 0)
    content = hashlib.sha256()
    sizes: dict[tuple[int, ...], None] = {}
    first: tuple[Pair, int, int] | None = None
    where: dict[str, tuple[str, Path]] = {}
    number, total, squares = 0, np.zeros(1), np.zeros(1)
    constants = Constants()
    palettes, named, dtypes = Palettes(), set[int](), dict[str, str]()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        pending = threads.map(lambda job: examine(job[1], labelling, size, regions), jobs)
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
                agreed = palettes.agree
                for palette in seen.palettes:
                    palettes.take(palette)
                if agreed and not palettes.agree:
                    check_palettes(pair.mask for _, pair in jobs)
                named |= seen.named
                for dtype in seen.dtypes:
                    dtypes.setdefault(dtype, str(pair.image))
                pixels[part] += seen.pixels
                known[part] += seen.known
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
        "known": known,
        "sizes": list(sizes),
        "mean": mean.tolist(),
        "deviation": deviation.tolist(),
        "content": content.hexdigest(),
        "constant": constants.warnings(),
        "named": sorted(named),
        "dtypes": dtypes,
    }
