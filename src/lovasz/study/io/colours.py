"""Labels of masks that hold colours: pictures of several channels, and palettes."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.kinds import UnreadableFileError
from lovasz.study.io.labelling import Labelling, UnknownLabelError
from lovasz.study.io.labels import Labels, occurring, replace
from lovasz.study.io.palette import deep, hexadecimal
from lovasz.study.io.pictures import FORMATS

# How Pillow calls pictures whose channels are red, green, blue, or one grey, and opacity.
MODES = ("RGB", "RGBA", "LA")
# What to write a class file like, for those who have colours and no such file.
LISTED = '--classes FILE.json with the colour of each: [{"name": "sky", "color": "#0000ff"}, ...]'


def labels_of_colours(path: Path, picture: NDArray[Any], labelling: Labelling) -> tuple[Labels, bool]:
    """Return the labels of a picture of several channels, and whether they are those of its colours.

    Red, green and blue are looked up in the colours of the labelling; where it has none, and in grey
    with opacity, the labels are the grey values.

    Args:
        path: The file.
        picture: (H, W, C), or (D, H, W, C) of a stack.
        labelling: What the colours stand for.

    Raises:
        UnreadableFileError: If it has other channels, is not opaque, or holds colours that nothing says the
            labels of.
        UnknownLabelError: If it holds a colour that is not listed.
    """
    channels = picture.shape[-1]
    kind = _mode(path)
    floating = channels != 3 and picture.dtype.kind == "f"  # in which no value is opaque
    if channels not in (2, 3, 4) or kind not in (*MODES, "") or floating:
        raise UnreadableFileError(
            path,
            f"holds {channels} channels{f' ({kind})' if kind else ''}; expected one of class indices, a palette, "
            "or red, green and blue",
        )
    if channels in (2, 4):
        _check_opaque(path, picture[..., -1])
    if channels == 2 or not labelling.colours:
        same = (picture[..., 0] == picture[..., 1]) & (picture[..., 0] == picture[..., 2]) if channels > 2 else True
        if not np.all(same):
            *pages, row, column = np.argwhere(~np.asarray(same))[0].tolist()
            shown = ", ".join(str(value) for value in picture[(*pages, row, column)][:3].tolist())
            page = f"page {pages[0] + 1}, " if pages else ""
            raise UnreadableFileError(
                path,
                f"holds {channels} channels of colour, first ({shown}) at {page}row {row}, column {column}; "
                f"expected class indices. Colours are read with {LISTED}",
            )
        return picture[..., 0], False
    if picture.dtype != np.uint8:
        raise UnreadableFileError(
            path, f"holds colours of {picture.dtype}, and those of --classes have 8 bits a channel; save it with 8"
        )
    red, green, blue = (picture[..., channel].astype(np.int32) for channel in range(3))
    return _looked_up(red << 16 | green << 8 | blue, labelling), True


def labels_of_palette(indices: Labels, palette: NDArray[np.int64], labelling: Labelling) -> Labels:
    """Return the labels of the colours that indices stand for.

    An index that is itself left out, as 255 often is, keeps that label where its colour is not listed.

    Args:
        indices: (H, W).
        palette: The colour of each, as in `Stored`.
        labelling: What the colours stand for.

    Raises:
        UnknownLabelError: If a colour that is used is not listed, or an index that is left out has the colour
            of a class.
    """
    label_of = {}
    for index in occurring(indices):
        colour = int(palette[index]) if 0 <= index < len(palette) else -1
        left_out = index in labelling.ignored and not 0 <= index < labelling.num_classes
        if colour in labelling.shared:
            raise UnknownLabelError(f"holds {_shared(colour, labelling)}")
        if colour in labelling.colours:
            label = labelling.colours[colour]
            if left_out and label not in labelling.ignored:
                raise UnknownLabelError(
                    f"holds the palette's index {index}, which --ignore leaves out, in the colour "
                    f"{hexadecimal(colour)} of {labelling.names[colour]}; which of the two is meant?"
                )
            label_of[index] = label
        elif left_out:
            label_of[index] = index
        else:
            pixels = int(np.count_nonzero(indices == index))
            if deep(colour):
                raise UnknownLabelError(
                    f"holds {_pixels(pixels)} of the palette's index {index}, the colour {hexadecimal(colour)} of "
                    "uint16, and those of --classes have 8 bits a channel; save it with 8"
                )
            shown = "no opaque colour" if colour < 0 else f"the colour {_unlisted(colour, labelling)}"
            raise UnknownLabelError(
                f"holds {_pixels(pixels)} of the palette's index {index}, {shown}. If the indices are the labels, "
                "give --classes without colours"
            )
    return replace(indices, label_of)


def _looked_up(colours: NDArray[np.int32], labelling: Labelling) -> Labels:
    label_of = {}
    # First the quick way: pixels beside each other mostly have one colour.
    flat = colours.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    found, first = np.unique(flat[starts], return_index=True)
    unknown = [(place, int(colour)) for colour, place in zip(found, first, strict=True)
               if int(colour) not in labelling.colours]  # fmt: skip
    if unknown:
        _, colour = min(unknown)
        more = len(unknown) - 1
        others = f", and {more} other colour{'s' if more > 1 else ''} that it does not list" if more else ""
        pixels = _pixels(int(np.count_nonzero(flat == colour)))
        raise UnknownLabelError(f"holds {pixels} of the colour {_unlisted(colour, labelling)}{others}")
    for colour in found.tolist():
        if colour in labelling.shared:
            raise UnknownLabelError(f"holds {_shared(colour, labelling)}")
        label_of[colour] = labelling.colours[colour]
    labels = replace(flat[starts], label_of)
    return np.repeat(labels, np.diff(np.append(starts, len(flat)))).reshape(colours.shape)


def _unlisted(colour: int, labelling: Labelling) -> str:
    def distance(other: int) -> int:
        return sum(((colour >> bits & 255) - (other >> bits & 255)) ** 2 for bits in (16, 8, 0))

    nearest = min(labelling.colours, key=lambda other: (distance(other), other))
    return (
        f"{hexadecimal(colour)}, which --classes does not list; the nearest listed is {hexadecimal(nearest)}, "
        f"{labelling.names[nearest]}"
    )


def _shared(colour: int, labelling: Labelling) -> str:
    return f"the colour {hexadecimal(colour)}, which --classes lists for {labelling.shared[colour]}"


def _pixels(number: int) -> str:
    return f"{number} pixel{'' if number == 1 else 's'}"


def _check_opaque(path: Path, alpha: NDArray[Any]) -> None:
    clear = int(np.count_nonzero(alpha != np.iinfo(alpha.dtype).max))
    if clear:
        raise UnreadableFileError(
            path,
            f"is not opaque at {_pixels(clear)}, whose label nothing says; save it without an alpha channel, those "
            "pixels in the colour or grey of their class",
        )


def _mode(path: Path) -> str:
    """Return how Pillow calls the channels; empty if it does not know the picture."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as picture:
            return str(picture.mode)
    except Exception:  # whatever has decoded the picture knows more than Pillow does
        return ""
