"""The test images that differ most between losses, as pictures: image, truth, predictions, errors."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lovasz.study.data.parts import IGNORE_INDEX, TEST, Data
from lovasz.study.io.class_colours import NEUTRAL
from lovasz.study.report.maps import Map, error_map, photo, prediction_map, truth_map
from lovasz.study.summary.compare import Comparison
from lovasz.study.summary.decisions import mious_of_images
from lovasz.study.train.predict import Tested, shown

# Images shown, and bytes of all their pictures.
MOST, BUDGET = 24, 2_800_000
# Longer sides of a picture in pixels: the first with which all images fit.
SIDES = (320, 240, 160)


@dataclass(frozen=True)
class View:
    """One image with one loss.

    Attributes:
        loss: Name of the loss.
        miou: Mean IoU in percent over the classes in the image's label.
        change: What that is more than with the baseline, in points; None for the baseline.
        gained: Percent of the labelled pixels shown that are right here and wrong with the baseline.
        lost: Percent that are wrong here and right with the baseline.
        prediction: The prediction.
        errors: Which pixels are wrong.
    """

    loss: str
    miou: float
    change: float | None
    gained: float
    lost: float
    prediction: Map
    errors: str


@dataclass(frozen=True)
class Item:
    """One image.

    Attributes:
        name: Its name.
        range: By how many points its mIoU differs between the losses.
        image: The image.
        truth: Its target.
        views: One a loss.
        tags: Labels of the classes in it; ``gained1`` and ``lost1`` where its mIoU is higher or lower
            with loss 1 than with the baseline.
    """

    name: str
    range: float
    image: str
    truth: Map
    views: list[View]
    tags: list[str]


def changed_images(comparison: Comparison) -> list[Item]:
    """Draws the images of the first seed that differ most between losses; of one loss, the worst.

    Args:
        comparison: What to show; predictions are kept of some of its test images.

    Returns:
        Up to ``MOST``, as many as fit into ``BUDGET``, those that differ most first.
    """
    tested = [comparison.runs[loss, comparison.seeds[0]].tested for loss in comparison.losses]
    scores = 100 * np.stack([mious_of_images(one) for one in tested], axis=1)  # (N, losses)
    kept = tested[0].kept
    spans = scores.max(1) - scores.min(1) if len(tested) > 1 else -scores[:, 0]
    known = [place for place, index in enumerate(kept.tolist()) if math.isfinite(spans[index])]
    ranked = sorted(known, key=lambda place: -spans[kept[place]])[:MOST]
    items: list[Item] = []
    for side in SIDES:
        items = [_item(comparison, tested, scores, place, side) for place in ranked]
        sizes = np.cumsum([_size(item) for item in items])
        if not len(sizes) or sizes[-1] <= BUDGET:
            break
    else:
        items = items[: int((sizes <= BUDGET).sum())]
    return items


def _item(comparison: Comparison, tested: list[Tested], scores: NDArray[np.float64], place: int, side: int) -> Item:
    index = int(tested[0].kept[place])
    part, colours = comparison.data.parts[TEST], comparison.data.colours
    image, whole = part.samples[index]
    shape = shown(whole, comparison.data.dims)
    target = whole[shape].numpy()
    void = target == IGNORE_INDEX
    drawn = _Drawn(comparison.data) if comparison.data.overlap else None
    if drawn is not None:
        colours, labels, void = drawn.colours, target, void.all(0)
        target = drawn.flat(labels == 1)
    labelled = max(1, int((~void).sum()))
    views: list[View] = []
    tags = np.flatnonzero(tested[0].images[index, 0] + tested[0].images[index, 2]).astype(str).tolist()
    before: NDArray[np.bool_] | None = None
    for number, one in enumerate(tested):
        prediction = one.predictions[place]
        if drawn is None:
            prediction = prediction.astype(np.int64)
            wrong = (prediction != target) & ~void
        else:
            wrong = ((prediction != (labels == 1)) & (labels != IGNORE_INDEX)).any(0)
            prediction = drawn.flat(prediction)
        change = None if before is None else float(scores[index, number] - scores[index, 0])
        if change is not None and round(change, 1):
            tags.append(f"{'gained' if change > 0 else 'lost'}{number}")
        views.append(
            View(
                loss=comparison.losses[number],
                miou=float(scores[index, number]),
                change=change,
                gained=0.0 if before is None else 100 * int((before & ~wrong).sum()) / labelled,
                lost=0.0 if before is None else 100 * int((wrong & ~before).sum()) / labelled,
                prediction=_without_ground(prediction_map(prediction, void, colours, side), comparison.data),
                errors=error_map(wrong, before, void, side),
            )
        )
        before = wrong if before is None else before
    return Item(
        name=part.names[index],
        range=float(scores[index].max() - scores[index].min()),
        image=photo(image[shape].numpy(), side),
        truth=_without_ground(truth_map(target, void, colours, side), comparison.data),
        views=views,
        tags=tags,
    )


class _Drawn:
    """How labels that may overlap are drawn in one picture: that of fewest test pixels on top, on a ground."""

    def __init__(self, data: Data) -> None:
        pixels = data.parts[TEST].pixels
        self.order = sorted(range(data.num_classes), key=lambda label: -pixels[label])
        self.colours = (*data.colours, NEUTRAL)

    def flat(self, masks: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return what is drawn of masks (L, H, W), (H, W): a label, or their number for none."""
        found = np.full(masks.shape[1:], len(masks), dtype=np.int64)
        for label in self.order:
            found[masks[label]] = label
        return found


def _without_ground(drawn: Map, data: Data) -> Map:
    """Return a picture without the number of the ground, on which labels that may overlap are drawn."""
    return replace(drawn, numbers=[one for one in drawn.numbers if one[0] < data.num_classes])


def _size(item: Item) -> int:
    views = sum(len(view.prediction.source) + len(view.errors) for view in item.views)
    return len(item.image) + len(item.truth.source) + views
