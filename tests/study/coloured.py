"""Pictures of palettes and colours, and volumes, written byte by byte: by nothing that reads them here."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.study.raw import png_of, raw_nifti, raw_tiff

TRUTH = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [0, 2, 2, 1], [0, 0, 0, 1]], np.uint8)
WRONG = ((TRUTH + 1) % 3).astype(np.uint8)
CLOSE = TRUTH.copy()
CLOSE[1, 2], CLOSE[3, 3] = 1, 0  # IoU 7/8, 4/6, 3/4

BLACK, RED, GREEN, BLUE = (0, 0, 0), (255, 0, 0), (0, 128, 0), (0, 0, 255)
COLOURS = (BLACK, RED, GREEN)
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6

Colour = tuple[int, int, int]


def png(
    path: Path,
    kind: int,
    samples: NDArray[np.generic],
    palette: tuple[Colour, ...] = (),
    clear: bytes = b"",
    depth: int = 8,
) -> Path:
    """A PNG of samples (H, W) or (H, W, channels); ``clear`` is the opacity of the palette's entries."""
    between = [(b"PLTE", bytes(value for colour in palette for value in colour))] if palette else []
    between += [(b"tRNS", clear)] if clear else []
    path.parent.mkdir(parents=True, exist_ok=True)
    return png_of(path, samples.reshape(*samples.shape[:2], -1), depth, kind, between=between)


def coloured(labels: NDArray[np.integer], colours: tuple[Colour, ...] = COLOURS) -> NDArray[np.uint8]:
    """Red, green and blue of each label, (H, W, 3)."""
    return np.array(colours, np.uint8)[labels]


def indexed(path: Path, labels: NDArray[np.integer], order: tuple[int, ...] = (0, 1, 2), more: int = 0) -> Path:
    """A palette picture that shows the labels in `COLOURS`, its palette in any order and with more entries."""
    index = np.argsort(order)[labels]
    return png(path, PALETTE, index, (*(COLOURS[label] for label in order), *[BLUE] * more))


def volume(path: Path, stored: NDArray[np.integer], slope: float = 1, inter: float = 0) -> Path:
    """A NIfTI file of stored integers whose values are ``slope * stored + inter``."""
    codes = {"u1": 2, "i2": 4, "i4": 8, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280, "f4": 16}
    return raw_nifti(path, stored, codes[stored.dtype.str[1:]], slope, inter)


def tiff(path: Path, samples: NDArray[np.generic], photometric: int = 1) -> Path:
    """A little-endian TIFF of samples (H, W)."""
    return raw_tiff(path, [samples[..., None]], photometric=photometric)
