"""The worst images of an evaluation as small pictures: truth, prediction, errors, photo."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.images import read_image
from lovasz.study.io.kinds import UnreadableFileError
from lovasz.study.io.palette import rgb
from lovasz.study.report import page
from lovasz.study.report.errors import Regarded, error_kinds, error_picture, regarded
from lovasz.study.report.maps import LINES, numbers
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.pairing import Problem
from lovasz.study.score.scored import read_image as read_pair
from lovasz.study.score.scores import Scores, image_iou

# Pixels along the longer side of a picture.
SIDE = 480
# Bytes of all pictures; the page around them is small.
BUDGET = 3_200_000
# Classes, those of lowest IoU first, whose worst image is shown as well.
MOST_CLASSES = 150


@dataclass(frozen=True)
class Map:
    """One picture.

    Attributes:
        what: What it shows.
        source: The picture as a data URI.
        numbers: Label, and place from the left and from the top in percent, of each large region.
    """

    what: str
    source: str
    numbers: list[tuple[int, float, float]]


@dataclass(frozen=True)
class Item:
    """One image of the gallery.

    Attributes:
        name: Its name.
        miou: Its mean IoU over the classes in its label.
        accuracy: Share of its pixels that are right.
        iou: Label and IoU of each class in its label, the lowest first.
        tags: The labels it holds or is predicted to hold.
        note: What must be said about the pictures.
        maps: The pictures; none if the masks are no pictures.
    """

    name: str
    miou: float
    accuracy: float
    iou: list[tuple[int, float]]
    tags: list[int]
    note: str
    maps: list[Map]


def gallery(
    evaluation: Evaluation, scores: Scores, colours: Sequence[str], photos: dict[str, Path], worst: int
) -> list[Item]:
    """Draws the images of lowest mIoU and, after them, the worst image of each class.

    Args:
        evaluation: What was counted.
        scores: Its scores.
        colours: A colour for each class, ``#rrggbb``.
        photos: Photos by name.
        worst: How many images of lowest mIoU; 0 for no gallery at all.

    Returns:
        The images, as many as fit into `BUDGET`, the worst first.
    """
    if not worst:
        return []
    known = int(np.count_nonzero(~np.isnan(scores.images)))
    ranked = scores.images.argsort(kind="stable")[: min(worst, known)].tolist()
    by_iou = sorted(
        range(len(scores.classes)),
        key=lambda label: (math.isnan(scores.classes[label].iou), scores.classes[label].iou),
    )
    ranked += [scores.lowest[label] for label in by_iou[:MOST_CLASSES] if scores.lowest[label] >= 0]
    items, size = [], 0
    for image in dict.fromkeys(ranked):
        item = _item(evaluation, scores, image, colours, photos)
        size += sum(len(drawn.source) for drawn in item.maps)
        if size > BUDGET:
            break
        items.append(item)
    return items


def _item(
    evaluation: Evaluation, scores: Scores, image: int, colours: Sequence[str], photos: dict[str, Path]
) -> Item:
    counts = evaluation.rows[image]
    name = evaluation.pairs.files[image][0]
    iou = image_iou(counts[None], scores.empty, evaluation.ignored)[0]
    pixels = int(counts[:, 1].sum())
    listed = sorted(
        ((int(label), float(iou[label])) for label in np.flatnonzero(counts[:, 1])), key=lambda one: one[1]
    )
    about = regarded_in(evaluation, image, scores.background)
    maps, note = maps_of(evaluation, image, colours, photos.get(name), about)
    return Item(
        name=name,
        miou=float(scores.images[image]),
        accuracy=int(counts[:, 0].sum()) / pixels,
        iou=listed,
        tags=np.flatnonzero(counts.any(1)).tolist(),
        note=note,
        maps=maps,
    )


def regarded_in(evaluation: Evaluation, image: int, background: int) -> Regarded:
    """Return the classes whose errors the map of an image tells apart: of single ones that with most errors."""
    right, labelled, predicted = evaluation.rows[image].T
    return regarded(evaluation.names, background, int((labelled + predicted - 2 * right).argmax()))


def maps_of(
    evaluation: Evaluation, image: int, colours: Sequence[str], photo: Path | None, about: Regarded
) -> tuple[list[Map], str]:
    scoring = None if evaluation.scored is None else evaluation.scored.scoring
    read = read_pair(evaluation.pairs, image, evaluation.labellings, scoring)
    if isinstance(read, Problem):
        return [], f"could not be read again: {read.message}"
    prediction, target = read.prediction, read.target
    void = np.isin(target, list(evaluation.ignored))
    wrong = (prediction != target) & ~void
    place: tuple[Any, ...] = (...,)
    note = ""
    if target.ndim == 3:
        index = int(wrong.sum((0, 1)).argmax())
        place, note = (
            (..., index),
            f"slice {index} of 0 to {target.shape[2] - 1} along the last axis, where most is wrong",
        )
    elif target.ndim != 2:
        return [], f"no picture: the masks have the shape {target.shape}"
    step = -(-max(target.shape[:2]) // SIDE)
    place = (slice(None, None, step), slice(None, None, step), *place[1:])
    prediction, target, void = prediction[place], target[place], void[place]
    classes = evaluation.num_classes
    maps = [
        Map("truth", *_classes(np.where(void, classes, target), colours)),
        Map(
            "prediction",
            *_classes(np.where((prediction < 0) | (prediction >= classes), classes, prediction), colours),
        ),
        Map(f"errors, of {about.name}", error_picture(error_kinds(prediction, target, void, about.labels)), []),
    ]
    if photo is not None:
        try:
            maps.insert(0, Map("photo", _photo(read_image(photo, evaluation.pairs.most), place), []))
        except UnreadableFileError as error:
            note += f"{'; ' if note else ''}no photo: {error}"
    return maps, note


def _classes(labels: NDArray[np.int64], colours: Sequence[str]) -> tuple[str, list[tuple[int, float, float]]]:
    """Draws classes, the number beyond the last as void, and places the numbers of the large regions."""
    return _png(labels, colours, len(colours)), numbers(labels, labels == len(colours))


def _png(indices: NDArray[np.int64], colours: Sequence[str], void: int) -> str:
    """Draws indices in their colours; void is hatched, so that no class looks the same."""
    y, x = np.indices(indices.shape)
    line = (x + y) % 8 < 2
    indices = np.where((indices == void) & line, void + 1, indices)
    palette = np.array([rgb(colour) for colour in (*colours, LINES, "#ffffff")], dtype=np.uint8)
    return page.indexed(indices, palette)


def _photo(image: NDArray[Any], place: tuple[Any, ...]) -> str:
    """Draws one channel or the first three, of a volume the slice; bytes as they are, other values stretched."""
    image = np.moveaxis(image[: 3 if image.shape[0] >= 3 else 1], 0, -1)
    if image.ndim == 4:
        index = place[2] if len(place) == 3 else image.shape[2] // 2
        image = image[:, :, min(index, image.shape[2] - 1)]
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = (255 * (image.astype(np.float64) - low) / ((high - low) or 1)).astype(np.uint8)
    return page.photo(image, SIDE)
