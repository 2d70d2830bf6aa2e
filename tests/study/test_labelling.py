"""Masks that hold colours, palettes, scaled or other numbers: which labels are read, and what is refused."""

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lovasz.study.io.classes import Classes
from lovasz.study.io.colours import labels_of_palette
from lovasz.study.io.images import read_image
from lovasz.study.io.kinds import UnreadableFileError
from lovasz.study.io.labelling import Labelling, UnknownLabelError, make_labelling
from lovasz.study.io.labels import CITYSCAPES, READY, LabelMap, occurring, parse_map, replace
from lovasz.study.io.masks import UnknownLabelsError, fits, open_mask, read_mask
from lovasz.study.io.palette import packed_16
from lovasz.study.io.palettes import PalettesDifferError, check_palettes
from tests.study.coloured import (
    BLACK,
    BLUE,
    COLOURS,
    GREY,
    GREY_ALPHA,
    PALETTE,
    RED,
    RGB,
    RGB_ALPHA,
    TRUTH,
    coloured,
    indexed,
    png,
    tiff,
    volume,
)

CLASSES = Classes(("ground", "square", "disc"), ("#000000", "#ff0000", "#008000"))
BY_COLOUR = make_labelling(CLASSES, (), None)


def by(text: str, ignore: tuple[int, ...] = (), number: int = 3) -> Labelling:
    """What ``--map`` makes of some classes."""
    return make_labelling(Classes(tuple(map(str, range(number))), None), ignore, parse_map(text))


# ---- grey ----


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_is_read_as_its_samples(depth: int, tmp_path: Path) -> None:
    labels = np.arange(64).reshape(4, 16) * (1023 if depth == 16 else 1) % 2**depth
    np.testing.assert_array_equal(read_mask(png(tmp_path / "a.png", GREY, labels, depth=depth)), labels)


def test_tiff_is_read_as_its_samples(tmp_path: Path) -> None:
    for kind in (np.int8, np.int16, np.int32, np.uint32):
        labels = np.array([[70000, 5]] if kind == np.uint32 else [[-1, 5], [0, 100]], kind)
        found = read_mask(tiff(tmp_path / "a.tif", labels))
        np.testing.assert_array_equal(found, labels)
        assert found.dtype == kind
    with pytest.raises(
        UnreadableFileError, match="stores its labels inverted, white as 0; expected a PNG or black"
    ):
        read_mask(tiff(tmp_path / "a.tif", np.array([[0, 255]], np.uint8), photometric=0))


def test_grey_in_three_channels_or_with_opacity_is_grey(tmp_path: Path) -> None:
    three = np.repeat(TRUTH[..., None], 3, 2)
    opaque = np.full((4, 4, 1), 255)
    for name, kind, samples in (
        ("rgb", RGB, three),
        ("rgba", RGB_ALPHA, np.concatenate([three, opaque], 2)),
        ("la", GREY_ALPHA, np.concatenate([TRUTH[..., None], opaque], 2)),
    ):
        path = png(tmp_path / f"{name}.png", kind, samples)
        np.testing.assert_array_equal(read_mask(path), TRUTH, err_msg=name)
        np.testing.assert_array_equal(read_mask(path, labelling=by("2:0")), np.where(TRUTH == 2, 0, TRUTH))


def test_what_is_not_opaque_is_refused(tmp_path: Path) -> None:
    clear = np.full((4, 4, 1), 255)
    clear[0, 0] = 254
    for kind, samples in ((RGB_ALPHA, coloured(TRUTH)), (GREY_ALPHA, TRUTH[..., None])):
        path = png(tmp_path / "a.png", kind, np.concatenate([samples, clear], 2))
        for labelling in (BY_COLOUR, Labelling()):
            with pytest.raises(UnreadableFileError, match=r"a\.png: is not opaque at 1 pixel, whose label nothing"):
                read_mask(path, labelling=labelling)


def test_whole_numbers_of_every_type_are_labels(tmp_path: Path) -> None:
    labels = np.array([[[0, 1, 100]]])
    for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"):
        low = -1 if kind[0] == "i" else 0
        stored = np.where(labels == 0, low, labels).astype(kind)
        np.testing.assert_array_equal(read_mask(volume(tmp_path / "a.nii", stored)), stored)
        np.save(tmp_path / "a.npy", stored[0])
        np.testing.assert_array_equal(read_mask(tmp_path / "a.npy"), stored[0])
    for name in ("b.npy", "b.nii"):
        stored = np.array([[[2**63]]], np.uint64)
        np.save(tmp_path / name, stored[0]) if name == "b.npy" else volume(tmp_path / name, stored)
        with pytest.raises(
            UnreadableFileError, match="holds the uint64 value 9223372036854775808; expected labels b"
        ):
            read_mask(tmp_path / name)


# ---- scale factors ----


@pytest.mark.parametrize(
    ("slope", "inter", "most"), [(7 / 65535, 0, 65535), (255 / 65535, 0, 65535), (20 / 255, 0, 255), (0.5, -1, 255)]
)
def test_labels_that_were_stored_with_a_scale_come_back(
    slope: float, inter: float, most: int, tmp_path: Path
) -> None:
    """As NiBabel stores floating point as integers: each label as the nearest of the steps."""
    labels = np.arange(int(slope * most + inter) + 1)[None, None]
    stored = np.rint((labels - inter) / slope).astype(np.uint16)
    np.testing.assert_array_equal(read_mask(volume(tmp_path / "a.nii", stored, slope, inter)), labels)


def test_fractions_of_a_scale_are_refused(tmp_path: Path) -> None:
    for stored, slope, value in (([0, 1], 0.5, "0.5"), ([0, 9363], 7 / 65535, "1.00009"), ([9, 10], 0.9, "8.1")):
        path = volume(tmp_path / "a.nii", np.array([[stored]], np.uint16), slope)
        with pytest.raises(UnreadableFileError, match=f"values that are not whole numbers, such as {value}"):
            read_mask(path)


def test_probabilities_are_told_to_need_a_threshold(tmp_path: Path) -> None:
    p = np.array([[0.9, 0.2], [0.5, 0.51]], np.float32)
    np.save(tmp_path / "a.npy", p)
    with pytest.raises(
        UnreadableFileError, match=r"such as 0\.5.*of probabilities save the labels, such as (.*)"
    ) as e:
        read_mask(tmp_path / "a.npy")
    assert "(p > 0.5) as uint8" in str(e.value)
    np.save(tmp_path / "a.npy", (p > 0.5).astype(np.uint8))
    assert read_mask(tmp_path / "a.npy").tolist() == [[1, 0], [0, 1]]


# ---- colours ----


def test_colours_are_the_classes_that_list_them(tmp_path: Path) -> None:
    opaque = np.full((4, 4, 1), 255)
    for kind, samples in ((RGB, coloured(TRUTH)), (RGB_ALPHA, np.concatenate([coloured(TRUTH), opaque], 2))):
        found = read_mask(png(tmp_path / "a.png", kind, samples), labelling=BY_COLOUR)
        np.testing.assert_array_equal(found, TRUTH)
    tifffile = pytest.importorskip("tifffile")
    stack = np.stack([TRUTH, (TRUTH + 1) % 3])
    for one in (stack, stack[..., :2]):
        tifffile.imwrite(tmp_path / "stack.tif", coloured(one), photometric="rgb")
        np.testing.assert_array_equal(read_mask(tmp_path / "stack.tif", labelling=BY_COLOUR), one)
    with pytest.raises(UnreadableFileError, match=r"first \(0, 128, 0\) at page 1, row 1, column 1; expected"):
        read_mask(tmp_path / "stack.tif")
    for name in ("a.tif", "a.bmp"):
        Image.fromarray(coloured(TRUTH)).save(tmp_path / name)
        np.testing.assert_array_equal(read_mask(tmp_path / name, labelling=BY_COLOUR), TRUTH)
    Image.fromarray(coloured(TRUTH)).save(tmp_path / "a.webp", lossless=True)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.webp", labelling=BY_COLOUR), TRUTH)


def test_the_first_colour_that_is_not_listed_is_named(tmp_path: Path) -> None:
    picture = coloured(TRUTH)
    picture[1, 3], picture[2, 0], picture[3, 3] = (250, 4, 0), (1, 2, 3), (250, 4, 0)
    path = png(tmp_path / "a.png", RGB, picture)
    said = (
        f"{path}: holds 2 pixels of the colour #fa0400, which --classes does not list; the nearest listed is "
        "#ff0000, square, and 1 other colour that it does not list"
    )
    with pytest.raises(UnknownLabelsError, match=re.escape(said)):
        read_mask(path, labelling=BY_COLOUR)
    wide = png(tmp_path / "b.png", RGB, picture.astype(np.uint16), depth=16)
    with pytest.raises(UnreadableFileError, match="holds colours of uint16, and those of --classes have 8 bits"):
        read_mask(wide, labelling=BY_COLOUR)


def test_colours_without_a_list_are_refused_and_the_remedy_helps(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", RGB, coloured(TRUTH))
    with pytest.raises(UnreadableFileError, match=r"first \(255, 0, 0\) at row 0, column 2.*--classes FILE\.json"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, labelling=BY_COLOUR), TRUTH)


def test_a_colour_of_two_classes_is_refused_where_it_occurs(tmp_path: Path) -> None:
    labelling = make_labelling(Classes(tuple("abcd"), ("#000000", "#ff0000", "#ff0000", "#008000")), (), None)
    for path in (png(tmp_path / "a.png", RGB, coloured(TRUTH)), indexed(tmp_path / "b.png", TRUTH)):
        with pytest.raises(UnknownLabelsError, match="the colour #ff0000, which --classes lists for b and c"):
            read_mask(path, labelling=labelling)
    black = png(tmp_path / "c.png", RGB, coloured(np.zeros((2, 2), int)))
    assert not read_mask(black, labelling=labelling).any()


def test_void_has_colours(tmp_path: Path) -> None:
    labelling = make_labelling(Classes(CLASSES.names, CLASSES.colours, None, ("#0000ff",)), (), None)
    picture = coloured(TRUTH)
    picture[0, 0] = BLUE
    expected = TRUTH.copy()
    expected[0, 0] = 255
    found = read_mask(png(tmp_path / "a.png", RGB, picture), labelling=labelling)
    np.testing.assert_array_equal(found, expected)
    assert labelling.ignored == {255}


def test_two_bands_of_floats_are_no_grey_with_opacity(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    scores = np.stack([np.zeros((4, 5)), np.ones((4, 5))], -1).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", scores, photometric="minisblack", planarconfig="contig")
    with pytest.raises(UnreadableFileError, match="holds 2 channels; expected one of class indices"):
        read_mask(tmp_path / "a.tif", labelling=Labelling(2))


@pytest.mark.parametrize("read", [read_mask, read_image])
def test_a_picture_within_a_page_is_a_smaller_copy_or_refused(read: Any, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")

    def write(*inner: tuple[Any, int]) -> Path:
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            file.write(TRUTH, subifds=len(inner), photometric="minisblack")
            for picture, kind in inner:
                file.write(picture, photometric="minisblack", subfiletype=kind)
        return tmp_path / "a.tif"

    found = read(write((TRUTH[::2, ::2], 1), (TRUTH[::4, ::4], 0)))
    np.testing.assert_array_equal(found.reshape(4, 4), TRUTH)
    with pytest.raises(UnreadableFileError, match=r"another picture within a page \(SubIFD\).*save each alone"):
        read(write((TRUTH[::2, ::2], 1), ((TRUTH + 1) % 3, 0)))
    with pytest.raises(UnreadableFileError, match="more than 64 pictures within a page"):
        read(write(*[(TRUTH[::2, ::2], 1)] * 65))


def test_other_channels_are_no_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 0, 0, 255)).save(tmp_path / "a.tif")
    for labelling in (BY_COLOUR, Labelling()):
        with pytest.raises(UnreadableFileError, match="CMYK"):
            read_mask(tmp_path / "a.tif", labelling=labelling)


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_webp_with_loss_is_refused(name: str, tmp_path: Path) -> None:
    for options in ({"quality": 100}, {"quality": 90, "xmp": b"<x/>"}):
        Image.fromarray(np.repeat(TRUTH[..., None], 3, 2)).save(tmp_path / name, "WEBP", **options)
        with pytest.raises(UnreadableFileError, match="compressed with loss, which changes labels; expected a PNG"):
            read_mask(tmp_path / name)
    Image.fromarray(np.repeat(TRUTH[..., None], 3, 2)).save(tmp_path / name, "WEBP", lossless=True, xmp=b"<x/>")
    np.testing.assert_array_equal(read_mask(tmp_path / name), TRUTH)


# ---- palettes ----


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_palette_is_read_by_its_colours_where_they_are_listed(order: tuple[int, ...], tmp_path: Path) -> None:
    path = indexed(tmp_path / "a.png", TRUTH, order, more=3)
    np.testing.assert_array_equal(read_mask(path, labelling=BY_COLOUR), TRUTH)
    np.testing.assert_array_equal(read_mask(path), np.argsort(order)[TRUTH])


@pytest.mark.parametrize("name", ["a.tif", "a.bmp", "a.png"])
def test_palettes_that_pillow_wrote_are_read_by_their_colours(name: str, tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([2, 0, 1], np.uint8)[TRUTH])
    picture.putpalette([*COLOURS[1], *COLOURS[2], *COLOURS[0], *[7] * 759])
    picture.save(tmp_path / name)
    np.testing.assert_array_equal(read_mask(tmp_path / name, labelling=BY_COLOUR), TRUTH)
    other = png(tmp_path / "b.png", PALETTE, TRUTH, COLOURS)
    with pytest.raises(PalettesDifferError, match="has #000000 at index 0"):
        check_palettes([other, tmp_path / name])


def _palette_tiff(path: Path, order: tuple[int, ...], kind: Any = np.uint8, scale: int = 257, **kept: Any) -> Path:
    """A TIFF that shows the truth in the colours, its palette in any order."""
    tifffile = pytest.importorskip("tifffile")
    colours = np.zeros((3, 2 ** (8 * np.dtype(kind).itemsize)), np.uint16)
    colours[:, :3] = np.array(COLOURS)[list(order)].T * scale
    indices = np.argsort(order).astype(kind)[TRUTH]
    tifffile.imwrite(path, indices, photometric="palette", colormap=colours, **kept)
    return path


@pytest.mark.parametrize(
    "stored",
    [{"bigtiff": True, "byteorder": ">"}, {"kind": np.uint16}, {"scale": 1}, {"scale": 256}, {"tile": (16, 16)}],
)
def test_the_palette_of_any_tiff_is_read(stored: dict[str, Any], tmp_path: Path) -> None:
    paths = [_palette_tiff(tmp_path / f"{order[0]}.tif", order, **stored) for order in ((0, 1, 2), (2, 0, 1))]
    for path in paths:
        np.testing.assert_array_equal(read_mask(path, labelling=BY_COLOUR), TRUTH)
    with pytest.raises(PalettesDifferError, match=r"0\.tif has #000000 at index 0"):
        check_palettes(paths)


def test_a_palette_of_16_bits_is_not_narrowed(tmp_path: Path) -> None:
    """Two of its colours may begin with the same 8 bits."""
    tifffile = pytest.importorskip("tifffile")
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 1], colours[:, 2] = (0xFF34, 0, 0), (0xFFCC, 0, 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, TRUTH, photometric="palette", colormap=colours)
    said = r"a\.tif: holds \d+ pixels of the palette's index 1, the colour #ff3400000000 of uint16, and those of"
    with pytest.raises(UnreadableFileError, match=said):
        read_mask(path, labelling=BY_COLOUR)
    np.testing.assert_array_equal(read_mask(path), TRUTH)
    with pytest.raises(UnknownLabelError, match="the colour #ff3400000000 of uint16"):
        labels_of_palette(TRUTH, packed_16(colours.T), BY_COLOUR)
    # What no pixel uses, and colours that were made of 8 bits, by either rule, are no reason.
    np.testing.assert_array_equal(labels_of_palette(TRUTH * 0, packed_16(colours.T), BY_COLOUR), TRUTH * 0)
    mixed = packed_16(np.array([(0, 0, 0), (0xFF00, 0, 0), (0, 0x8080, 0), (0x1234, 0, 0)], np.uint16))
    np.testing.assert_array_equal(labels_of_palette(TRUTH, mixed, BY_COLOUR), TRUTH)
    other = tmp_path / "b.tif"
    tifffile.imwrite(other, TRUTH, photometric="palette", colormap=colours[:, [0, 2, 1, *range(3, 256)]])
    with pytest.raises(PalettesDifferError, match=r"a\.tif has #ff3400000000 at index 1"):
        check_palettes([path, other])


def _bmp(path: Path, indices: Any, bits: int, colours: tuple[tuple[int, int, int], ...]) -> Path:
    """A BMP of a palette, the lowest row first."""
    height, width = indices.shape
    numbers = np.unpackbits(indices[::-1].astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
    rows = np.packbits(numbers.reshape(height, -1), axis=1)
    content = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes()
    table = b"".join(bytes((blue, green, red, 0)) for red, green, blue in colours)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(content), 0, 0, len(colours), 0)
    start = 14 + len(header) + len(table)
    head = b"BM" + struct.pack("<IHHI", start + len(content), 0, 0, start)
    path.write_bytes(head + header + table + content)
    return path


def test_a_bmp_of_few_greys_is_read_or_refused(tmp_path: Path) -> None:
    shown = TRUTH == 1
    black_and_white = BLACK, (255, 255, 255)
    first = _bmp(tmp_path / "a.bmp", shown, 1, black_and_white)
    other = _bmp(tmp_path / "b.bmp", ~shown, 1, black_and_white[::-1])
    np.testing.assert_array_equal(read_mask(first), shown)
    np.testing.assert_array_equal(read_image(first)[0], 255 * shown)
    with pytest.raises(PalettesDifferError, match=r"has #000000 at index 0, .* has #ffffff at index 0"):
        check_palettes([first, other])
    by_colour = make_labelling(Classes(("no", "yes"), ("#000000", "#ffffff")), (), None)
    for path in (first, other):
        np.testing.assert_array_equal(read_mask(path, labelling=by_colour), shown)
    # Pillow takes the palette for greys and then the pixels for others than they are.
    greys = tuple((level, level, level) for level in range(16))
    for bits, colours in ((8, black_and_white), (4, black_and_white), (4, greys)):
        path = _bmp(tmp_path / "c.bmp", shown, bits, colours)
        for read in (read_mask, read_image):
            with pytest.raises(UnreadableFileError, match=f"greys alone and {bits} bits a pixel.*save it as PNG"):
                read(path)
    np.testing.assert_array_equal(read_mask(_bmp(tmp_path / "d.bmp", TRUTH, 8, greys)), TRUTH)


def test_a_broken_palette_is_refused(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", PALETTE, TRUTH, ((0, 0, 0), (1, 2)))  # type: ignore[arg-type]
    with pytest.raises(UnreadableFileError, match=r"a\.png: "):
        read_mask(path, labelling=BY_COLOUR)


def test_a_palettes_colour_that_is_not_listed_is_named(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", PALETTE, TRUTH, (BLACK, RED, (0, 120, 9)))
    said = (
        f"{path}: holds 4 pixels of the palette's index 2, the colour #007809, which --classes does not list; the "
        "nearest listed is #008000, disc."
    )
    with pytest.raises(UnknownLabelsError, match=re.escape(said)):
        read_mask(path, labelling=BY_COLOUR)
    clear = png(tmp_path / "a.png", PALETTE, TRUTH, COLOURS, b"\xff\xff\0")
    with pytest.raises(UnknownLabelsError, match="index 2, no opaque colour"):
        read_mask(clear, labelling=BY_COLOUR)
    np.testing.assert_array_equal(read_mask(clear), TRUTH)


def test_an_index_that_is_ignored_may_have_any_colour_but_that_of_a_class(tmp_path: Path) -> None:
    labels = TRUTH.copy()
    labels[0, 0] = 255
    labelling = make_labelling(CLASSES, (255,), None)
    for palette in ((*COLOURS, *[BLUE] * 253), COLOURS):
        path = png(tmp_path / "a.png", PALETTE, labels, palette)
        np.testing.assert_array_equal(read_mask(path, labelling=labelling), labels)
    path = png(tmp_path / "a.png", PALETTE, labels, (*COLOURS, *[BLACK] * 253))
    with pytest.raises(
        UnknownLabelsError, match="index 255, which --ignore leaves out, in the colour #000000 of grou"
    ):
        read_mask(path, labelling=labelling)


def test_palettes_of_one_order_agree(tmp_path: Path) -> None:
    blacks = (*COLOURS, *[BLACK] * 253)
    files = [
        indexed(tmp_path / "a.png", TRUTH),
        indexed(tmp_path / "b.png", TRUTH, more=200),
        png(tmp_path / "c.png", PALETTE, TRUTH % 2, (BLACK, RED, BLUE)),  # blue is not used
        png(tmp_path / "d.png", GREY, TRUTH),
        tmp_path / "absent.png",
    ]
    check_palettes(files)
    check_palettes([png(tmp_path / f"{n}.png", PALETTE, np.array([[0, 1, n]]), blacks) for n in (100, 101, 255)])


def test_the_first_difference_of_two_palettes_is_named(tmp_path: Path) -> None:
    one, other = indexed(tmp_path / "a.png", TRUTH), indexed(tmp_path / "b.png", TRUTH, (0, 2, 1))
    said = f"{one} has #ff0000 at index 1, {other} has #008000 at index 1"
    with pytest.raises(PalettesDifferError, match=re.escape(said)):
        check_palettes([one, other])
    # One colour at two indices, each of which the other does not use.
    one = png(tmp_path / "a.png", PALETTE, TRUTH % 2, (BLACK, RED))
    other = png(tmp_path / "b.png", PALETTE, TRUTH % 2 * 2, (BLACK, BLUE, RED))
    said = f"{one} has #ff0000 at index 1, {other} has #ff0000 at index 2"
    with pytest.raises(PalettesDifferError, match=re.escape(said)):
        check_palettes([one, other])


# ---- maps ----


def test_a_map_names_values_and_others_stay(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", GREY, np.array([[0, 7, 2, 255]]))
    assert read_mask(path, labelling=by("7:1,255:void")).tolist() == [[0, 1, 2, 255]]
    assert read_mask(path, labelling=by("0:255,7:0", (255,))).tolist() == [[255, 0, 2, 255]]
    assert read_mask(path, labelling=by("7:2, 255:2")).tolist() == [[0, 2, 2, 2]]
    with open_mask(path, labelling=by("7:1,9:0")) as mask:
        mask.read()
        assert mask.named == {7}
    np.save(tmp_path / "a.npy", np.array([[-1, 10**6, 1]]))
    assert read_mask(tmp_path / "a.npy", labelling=by("-1:void,1000000:0")).tolist() == [[255, 0, 1]]


@pytest.mark.parametrize("label", [2**63, -(2**63) - 1, 10**20])
def test_a_label_beyond_int64_cannot_be_left_out(label: int) -> None:
    with pytest.raises(ValueError, match=rf"--ignore must be a label from -2\^63 to 2\^63 - 1, got {label}"):
        make_labelling(CLASSES, (255, label), None)
    make_labelling(CLASSES, (2**63 - 1, -(2**63)), None)


def test_what_stands_for_void_by_chance_is_refused(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", GREY, np.array([[0, 255, 255]]))
    with pytest.raises(UnknownLabelsError, match=r"a\.png: holds the value 255 at 2 pixels, which --map 0:void do"):
        read_mask(path, labelling=by("0:void"))
    assert read_mask(path, labelling=by("0:void,255:void")).tolist() == [[255, 255, 255]]
    assert read_mask(path, labelling=by("0:void", (255,))).tolist() == [[255, 255, 255]]
    # Where a map names all there is, a value stays if it is left out, and is no class.
    complete = LabelMap("--map x", ((7, 0), (9, None)), complete=True)
    labelling = make_labelling(Classes(("a", "b"), None), (255, 0), complete)
    assert read_mask(png(path, GREY, np.array([[7, 9, 255]])), labelling=labelling).tolist() == [[0, 255, 255]]
    with pytest.raises(UnknownLabelsError, match="holds the value 0 at 1 pixel, which --map x does not name"):
        read_mask(png(path, GREY, np.array([[7, 9, 0]])), labelling=labelling)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("7", "--map must be pairs of a stored value and its label, as 0:void,7:0, or one of cityscapes"),
        ("7:", "--map must be pairs"),
        ("", "--map must be pairs"),
        ("7:0,", "--map must be pairs"),
        ("7:0:1", "--map must be pairs"),
        ("Cityscape", "--map must be pairs"),
        ("7:99999999999", "--map must be pairs"),
        ("7:0,7:1", "--map 7:0,7:1: names the value 7 twice"),
        ("7:3", "--map 7:3: the label 3 is neither a class, 0 to 2, nor left out by --ignore; to leave"),
        ("7:-1", "the label -1 is neither a class"),
        ("cityscapes", "--map cityscapes makes 19 classes, got 3"),
    ],
)  # fmt: skip
def test_a_map_that_cannot_be_used_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        by(text)


def test_the_map_of_cityscapes_makes_train_ids(tmp_path: Path) -> None:
    """By the table that Cityscapes publishes: trainId of each id from -1 to 33."""
    train_ids = [-1, 255, 255, 255, 255, 255, 255, 255, 0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9,
                 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18]  # fmt: skip
    ids = np.arange(-1, 34)
    np.save(tmp_path / "a.npy", ids)
    labelling = by("cityscapes", number=19)
    found = read_mask(tmp_path / "a.npy", labelling=labelling)
    np.testing.assert_array_equal(found, [255, *train_ids[1:]])
    assert labelling.ignored == {255}
    assert labelling.never({7, 8, 11}) == tuple(one for one in CITYSCAPES if one > 11)
    np.testing.assert_array_equal(
        read_mask(png(tmp_path / "a.png", GREY, ids[None, 1:]), labelling=labelling), [train_ids[1:]]
    )
    np.save(tmp_path / "a.npy", np.array([34, 34]))
    with pytest.raises(UnknownLabelsError, match="holds the value 34 at 2 pixels, which --map cityscapes doe"):
        read_mask(tmp_path / "a.npy", labelling=labelling)


def test_the_map_of_ade20k_counts_from_zero(tmp_path: Path) -> None:
    stored = np.arange(151, dtype=np.uint8)[None]
    found = read_mask(png(tmp_path / "a.png", GREY, stored), labelling=by("ade20k", number=150))
    np.testing.assert_array_equal(found, [[255, *range(150)]])
    assert READY["ade20k"].num_classes == 150


def test_values_far_apart_are_replaced_as_near_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for scale in (1, 10**6):
        values = rng.integers(-5, 5, (30, 40)) * scale
        label_of = {int(value): int(rng.integers(0, 300)) for value in np.unique(values)}
        expected = np.vectorize(label_of.__getitem__)(values)
        np.testing.assert_array_equal(replace(values, label_of), expected)
        assert occurring(values) == sorted(label_of)


# ---- several labels of a pixel, and axes of length 1 ----


@pytest.mark.parametrize(
    ("shape", "kind", "number"),
    [((5, 20, 30), np.uint8, 5), ((20, 30, 5), np.int64, 5), ((5, 20, 30), bool, 5), ((5, 20, 30), np.uint8, 2),
     ((5, 20, 30), np.float32, 5), ((20, 30, 5), np.float64, 5),
     ((40, 20, 30), bool, 2), ((2, 5, 20, 30), bool, 5)],
)  # fmt: skip
def test_several_labels_of_a_pixel_are_refused(
    shape: tuple[int, ...], kind: Any, number: int, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).integers(0, 2, shape).astype(kind)
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(
        UnreadableFileError, match="which may be several labels of each pixel; expected one class ind"
    ):
        read_mask(tmp_path / "a.npy", labelling=Labelling(number))
    # What the message says helps: one label alone, and a volume as NIfTI.
    np.save(tmp_path / "a.npy", values[0] if shape[0] < 10 and len(shape) == 3 else values[..., 0])
    if len(shape) == 3:
        read_mask(tmp_path / "a.npy", labelling=Labelling(2))
        np.testing.assert_array_equal(
            read_mask(volume(tmp_path / "a.nii", values.astype(np.uint8)), labelling=Labelling(number)), values
        )


def test_volumes_in_arrays_are_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for values, number in (
        (rng.integers(0, 3, (5, 20, 30)), 3),
        (rng.integers(0, 2, (40, 50, 60)), 2),
        (rng.integers(0, 2, (7, 20, 30)), 3),
        (rng.integers(0, 2, (1, 20, 30)).astype(bool), 2),
        (rng.integers(0, 2, (20, 30)).astype(bool), 20),
    ):
        np.save(tmp_path / "a.npy", values)
        np.testing.assert_array_equal(read_mask(tmp_path / "a.npy", labelling=Labelling(number)), values)


def test_an_array_fits_but_for_an_axis_of_length_1() -> None:
    array, picture = Path("a.npy"), Path("a.png")
    assert fits(array, (1, 4, 5), (4, 5))
    assert fits(array, (4, 5, 1), (4, 5))
    assert fits(picture, (4, 5), (4, 5))
    assert not fits(array, (2, 4, 5), (4, 5))
    assert not fits(array, (1, 5, 4), (4, 5))
    assert not fits(picture, (4, 5), (1, 4, 5))
