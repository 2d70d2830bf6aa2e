"""The test part through a trained network: predictions and everything that is counted from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lovasz import Counts, count
from lovasz.study.data.iou import class_counts, counted, no_counts, usual_decision
from lovasz.study.data.parts import IGNORE_INDEX, TEST, Data

# Predictions of so many test images are kept for the report, spread evenly over all.
KEPT = 200
# Points of a class's Jaccard curve.
CURVE = 101
# Of a task whose labels are not decided by thresholds.
NO_THRESHOLDS = np.zeros((0, 0), dtype=np.float32)

# Logits (1, C, *) to class indices (1, *), or where labels may overlap to bool (1, C, *).
Decide = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Decided:
    """What one decision makes of the test part.

    Attributes:
        counts: Pixels by (target, prediction), summed over images, (C, C); where labels may overlap those of each
            by whether it is there and whether it is predicted, (C, 2, 2).
        images: For each image and class, the true positives, false positives and false negatives,
            (N, 3, C).
    """

    counts: NDArray[np.int64]
    images: NDArray[np.int64]

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Pixels of each image and class in intersection, label and prediction, (N, C, 3), as scores take them."""
        hit, false, missed = np.moveaxis(self.images, 1, 0)
        return np.stack([hit, hit + missed, hit + false], axis=-1)


@dataclass(frozen=True)
class Tested(Decided):
    """What a network did on the test part, decided by argmax, or where labels may overlap by p > 1/2.

    Attributes:
        thresholds: Errors at which the Jaccard curves are given, (101,).
        curves: The Jaccard loss of the pixels whose error is at least each threshold, (C, 101); NaN
            for a class without test pixels. The area under a curve is the class's Lovász loss.
        kept: Indices of the images whose predictions are kept.
        predictions: The class of every pixel of each of these, uint16, or where labels may overlap bool, (C, H, W);
            of a volume, the slice with the most different classes or labels.
        decided: What other decisions made of it, by name; empty where a logit was not finite, and of runs that
            were finished before there were any.
        by_threshold: Where labels may overlap, the IoU of each at the thresholds 0, 0.01, ... 1, (L, 101);
            else (0, 0).
    """

    thresholds: NDArray[np.float32]
    curves: NDArray[np.float32]
    kept: NDArray[np.int64]
    predictions: list[NDArray[Any]]
    decided: dict[str, Decided] = field(default_factory=dict)
    by_threshold: NDArray[np.float32] = field(default_factory=lambda: NO_THRESHOLDS)


def logits_of(network: nn.Module, image: Tensor, crop: Sequence[int] | None) -> Tensor:
    """Return the logits of one image (1, C_in, *): of a volume by windows of the crop's size, blended."""
    if crop is None or len(crop) == 2:
        logits: Tensor = network(image)
        return logits
    from monai.inferers.utils import sliding_window_inference

    result: Any = sliding_window_inference(image, crop, 1, network, overlap=0.25, mode="gaussian")
    return result


def shown(target: Tensor, dims: int) -> tuple[Any, ...]:
    """Return the index of what is shown of a target with so many spatial axes: of a volume one slice."""
    if dims == 2:
        return (...,)
    slices = target.unbind(-1)
    if target.ndim > dims:  # masks of labels: how many of them are there
        found = [int((one == 1).flatten(1).any(1).sum()) for one in slices]
    else:
        found = [len(one.unique()) for one in slices]
    return (..., found.index(max(found)))


def kept_indices(number: int) -> list[int]:
    """Return which of so many test images are kept, evenly spread."""
    return sorted({round(index) for index in np.linspace(0, number - 1, min(number, KEPT)).tolist()})


class _Counter:
    """Counts the pixels of images under one decision."""

    def __init__(self, data: Data) -> None:
        self.number, self.overlap = data.num_classes, data.overlap
        self.total = no_counts(self.number, self.overlap)
        self.rows: list[Tensor] = []

    def add(self, preds: Tensor, target: Tensor) -> None:
        """Add an image."""
        one = counted(preds[None], target[None], self.number, self.overlap)
        self.total += one
        hit, labelled, predicted = class_counts(one).unbind(-1)
        self.rows.append(torch.stack([hit, predicted - hit, labelled - hit]))

    def counted(self) -> dict[str, Any]:
        """Return the fields of `Decided`."""
        return {"counts": self.total.numpy(), "images": torch.stack(self.rows).numpy()}


def evaluate(
    network: nn.Module, data: Data, crop: Sequence[int] | None, decisions: Mapping[str, Decide] | None = None
) -> Tested:
    """Run the network over every test image.

    Args:
        network: In evaluation mode, on its device.
        data: The data.
        crop: Size of the windows of a volume, or None.
        decisions: Those besides the usual one, by name.
    """
    part, device = data.parts[TEST], next(network.parameters()).device
    plain, finite = _Counter(data), True
    others = {name: (decide, _Counter(data)) for name, decide in (decisions or {}).items()}
    predictions, counts = [], None
    form: dict[str, Any] = {"form": "sigmoid", "channels": True} if data.overlap else {}
    keep = kept_indices(len(part.samples))
    with torch.inference_mode():
        for index in range(len(part.samples)):
            image, target = part.samples[index]
            logits = logits_of(network, image[None].to(device), crop).float()
            preds = usual_decision(logits, data.overlap)[0].cpu()
            plain.add(preds, target)
            finite = finite and bool(logits.isfinite().all())
            for decide, counter in others.values() if finite else ():
                counter.add(decide(logits)[0], target)
            # At one number of bins, so that the counts of images of any size add up.
            more = count(logits, target[None].to(device), ignore_index=IGNORE_INDEX, bins=4096, **form)
            counts = more if counts is None else counts + more
            if index in keep:
                picture = preds[shown(target, data.dims)].numpy()
                predictions.append(picture if data.overlap else picture.astype(np.uint16))
    assert counts is not None
    thresholds, curves = _curves(counts, class_counts(plain.total)[:, 1] > 0)
    return Tested(
        **plain.counted(),
        thresholds=thresholds,
        curves=curves,
        kept=np.array(keep, dtype=np.int64),
        predictions=predictions,
        decided={name: Decided(**counter.counted()) for name, (_, counter) in others.items()} if finite else {},
        by_threshold=_by_threshold(counts) if data.overlap else NO_THRESHOLDS,
    )


def _by_threshold(counts: Counts) -> NDArray[np.float32]:
    """Return the IoU of each label at thresholds on the probability; NaN where it divides by nothing."""
    curve = counts.threshold_curve()
    thresholds, scores = curve.thresholds.cpu().numpy(), curve.score("jaccard").cpu().numpy()
    places = np.linspace(0, 1, CURVE)
    return np.stack([np.interp(places, thresholds, one) for one in scores]).astype(np.float32)


def _curves(counts: Any, present: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Take the curves at errors that lie closer towards 0 and 1, where a trained network's pixels are."""
    thresholds, curves = (tensor.cpu().numpy() for tensor in counts.curve())
    places = (1 - np.cos(np.pi * np.linspace(0, 1, CURVE))) / 2
    order = np.argsort(thresholds)
    taken = np.stack([np.interp(places, thresholds[order], curve[order]) for curve in curves[0]])
    taken[~present.numpy()] = np.nan
    return places.astype(np.float32), taken.astype(np.float32)
