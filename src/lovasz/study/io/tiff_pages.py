"""The pages of a TIFF: how many there are, and whether they are slices or channels."""

import json
import math
import re
import struct
from pathlib import Path
from typing import BinaryIO

from lovasz.study.io.kinds import UnreadableFileError

# Pages in a file, and entries of all: a volume has some thousand slices, and a page some twenty entries.
MOST_PAGES = 2**14
MOST_ENTRIES = 2**19
# Letters of axes that are channels, and the axes of ImageJ, the outermost first.
CHANNELS = "CS"
IMAGEJ = (("T", "frames"), ("Z", "slices"), ("C", "channels"))


def tags_of_pages(file: BinaryIO) -> list[set[int]]:
    """Return the numbers of the tags of each page, without reading one.

    Raises:
        ValueError: If the chain of pages does not end within the file, or has too many.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    order, big = (">" if head[:1] == b"M" else "<"), b"+" in head[2:4]
    number, place, entry = ("Q", "Q", 20) if big else ("H", "I", 12)
    offset = struct.unpack_from(order + place, head.ljust(16, b"\0"), 8 if big else 4)[0]
    seen, entries, tags = set[int](), 0, list[set[int]]()
    while offset:
        if offset in seen or len(seen) >= MOST_PAGES:
            raise ValueError(f"its pages have no end, or are more than {MOST_PAGES:,}")
        seen.add(offset)
        width = struct.calcsize(number)
        file.seek(offset)
        content = file.read(width)
        entries += (found := struct.unpack(order + number, content)[0] if len(content) == width else size)
        after = offset + width + entry * found
        if after + struct.calcsize(place) > size:
            raise ValueError("it ends before its pages do")
        if entries > MOST_ENTRIES:
            raise ValueError(f"its pages have more than {MOST_ENTRIES:,} entries")
        content = file.read(entry * found)
        tags.append({struct.unpack_from(order + "H", content, start)[0] for start in range(0, len(content), entry)})
        offset = struct.unpack(order + place, file.read(struct.calcsize(place)))[0]
    if not tags:
        raise ValueError("it has no page")
    file.seek(0)
    return tags


def stack_axes(path: Path, description: str, pages: int, samples: int) -> tuple[int, int]:
    """Return how many slices and how many channels the pages are, the channels of a slice next to each other.

    Args:
        path: The file, for messages.
        description: What the first page says of the file. ImageJ, OME-TIFF and tifffile write there what the
            pages are; without it they are slices.
        pages: How many pages there are.
        samples: Samples of a pixel in a page.

    Raises:
        UnreadableFileError: If the pages are others than it says, or have two axes beside channels.
    """
    axes = _described(description, pages, samples)
    if axes is None:
        return pages, 1
    sizes = [(axis, length) for axis, length in axes if length != 1]
    if math.prod(length for _, length in sizes) != pages:
        said = " x ".join(f"{length} {axis}" for axis, length in sizes) or "1"
        raise UnreadableFileError(
            path, f"says that it holds {said} pictures, and has {pages} pages; save it as OME-TIFF, NIfTI or .npy"
        )
    channels = math.prod(length for axis, length in sizes if axis in CHANNELS)
    order = [axis in CHANNELS for axis, _ in sizes]
    if len(order) - sum(order) > 1 or order != sorted(order):
        said = ", ".join(axis for axis, _ in sizes)
        raise UnreadableFileError(
            path, f"has pages along the axes {said}; expected slices, channels, or the channels of each slice"
        )
    return pages // channels, channels


def _described(description: str, pages: int, samples: int) -> list[tuple[str, int]] | None:
    """Return letter and length of the axes between pages, outermost first; None where nothing says them."""
    if description.startswith("ImageJ="):
        said = dict(re.findall(r"^(images|frames|slices|channels)=(\d{1,9})\s*$", description, re.M))
        if "images" not in said:
            return []
        axes = [(axis, int(said[name])) for axis, name in IMAGEJ if name in said]
        return axes or [("I", int(said["images"]))]
    if "<OME" in description[:2000] and (pixels := re.search(r"<(?:\w+:)?Pixels\s[^>]*>", description)):
        said = dict(re.findall(r'\b(Size[CZT]|DimensionOrder)\s*=\s*["\'](\w+)["\']', pixels[0]))
        sizes = {axis: int(said.get(f"Size{axis}", "1")) for axis in "CZT"}
        sizes["C"] = sizes["C"] // samples if sizes["C"] % samples == 0 else sizes["C"]
        return [(axis, sizes[axis]) for axis in reversed(said.get("DimensionOrder", "XYCZT")) if axis in sizes]
    if description.startswith('{"shape":'):
        try:
            said = json.loads(description)
            shape = [int(length) for length in said["shape"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        letters = str(said.get("axes", ""))
        letters = letters if len(letters) == len(shape) else "Q" * len(shape)
        inner = 2 + (samples > 1)
        axes = list(zip(letters[:-inner], shape[:-inner], strict=True))
        # Other programs copy the sentence to pictures that it does not describe.
        return axes if said.get("truncated") or math.prod(shape[:-inner]) == pages else None
    return None
