"""The figures of the metrics: as torchmetrics draws its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torchmetrics import Metric

from lovasz.metrics import ConfusionMatrix, DiceScore, ImageJaccardIndex, JaccardIndex, PixelAccuracy

matplotlib = pytest.importorskip("matplotlib")

PREDS = torch.tensor([[0, 1, 1, 2], [0, 0, 1, 1]])
TARGET = torch.tensor([[0, 1, 2, 2], [0, 1, 1, 1]])
SCALARS = {
    "iou": lambda: JaccardIndex(3),
    "dice": lambda: DiceScore(3),
    "accuracy": lambda: PixelAccuracy(3),
    "image": lambda: ImageJaccardIndex(3),
    "class": lambda: ImageJaccardIndex(3, average="class", worst=50),
}
PER_CLASS = {
    "iou": lambda c: JaccardIndex(c, average="none"),
    "dice": lambda c: DiceScore(c, average="none"),
    "image": lambda c: ImageJaccardIndex(c, average="none"),
}


@pytest.fixture(autouse=True)
def agg() -> Iterator[None]:
    matplotlib.use("Agg")
    yield
    matplotlib.pyplot.close("all")


def updated(metric: Metric) -> Metric:
    metric.update(PREDS, TARGET)
    return metric


def drawn(axes: Any) -> list[list[float]]:
    """What stands in the axes: the values of each line of points."""
    return [[float(y) for y in line.get_ydata()] for line in axes.lines]


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def assert_score(axes: Any, metric: Metric) -> None:
    assert axes.get_ylabel() == type(metric).__name__
    low, high = axes.get_ylim()
    assert -0.2 < low < 0 < 1 < high < 1.2  # the whole range of a score, with its bounds dashed
    (bounds,) = axes.collections
    assert [segment[0][1] for segment in bounds.get_segments()] == [0, 1]
    assert [text.get_text() for text in axes.texts] == ["Optimal \n value"]


@pytest.mark.parametrize("name", SCALARS)
def test_one_value(name: str) -> None:
    metric = updated(SCALARS[name]())
    figure, axes = metric.plot()
    assert figure is not None
    assert drawn(axes) == [[pytest.approx(float(metric.compute()))]]
    assert_score(axes, metric)


@pytest.mark.parametrize("name", SCALARS)
def test_values_of_steps(name: str) -> None:
    metric = SCALARS[name]()
    values = [metric(PREDS, TARGET), metric(TARGET, TARGET)]
    _, axes = metric.plot(values)
    assert drawn(axes) == [pytest.approx([float(v) for v in values])]
    assert axes.get_xlabel() == "Step"
    assert_score(axes, metric)


@pytest.mark.parametrize("name", PER_CLASS)
@pytest.mark.parametrize("num_classes", [1, 3, 5], ids=["one class", "three", "two absent"])
def test_values_of_classes(name: str, num_classes: int) -> None:
    metric = PER_CLASS[name](num_classes)
    metric.update(*(x.clamp(max=num_classes - 1) for x in (PREDS, TARGET)))
    _, axes = metric.plot()
    expected = [[value] for value in metric.compute().reshape(-1).tolist()]
    assert drawn(axes) == [pytest.approx(value, nan_ok=True) for value in expected]
    if num_classes > 1:
        assert legend(axes) == [f"Class {c}" for c in range(num_classes)]
    assert math.isnan(expected[-1][0]) == (num_classes == 5)  # an absent class has its name and no point
    assert_score(axes, metric)


@pytest.mark.parametrize("name", PER_CLASS)
def test_values_of_classes_over_steps_on_given_axes(name: str) -> None:
    metric = PER_CLASS[name](3)
    values = [metric(PREDS, TARGET), metric(TARGET, TARGET), metric(PREDS, PREDS)]
    _, given = matplotlib.pyplot.subplots()
    _, axes = metric.plot(values, ax=given)
    assert axes is given
    assert drawn(axes) == [pytest.approx(row) for row in torch.stack(values).T.tolist()]
    assert legend(axes) == ["Class 0", "Class 1", "Class 2"]
    assert_score(axes, metric)


# torchmetrics hands matplotlib tensors, of which NumPy says that they do not know its newest protocol.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_confusion_matrix() -> None:
    metric = updated(ConfusionMatrix(3))
    figure, axes = metric.plot(labels=["sky", "road", "car"])
    counts = metric.compute()
    assert [text.get_text() for text in axes.texts] == [str(n) for n in counts.flatten().tolist()]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted class", "True class")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["sky", "road", "car"]
    again, _ = metric.plot(counts, add_text=False, cmap="Blues")
    assert figure is not again
    assert not again.axes[0].texts
