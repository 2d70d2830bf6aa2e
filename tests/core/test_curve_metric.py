"""The curve as a metric: streaming, over processes, drawn; and the same scores as scikit-learn."""

import copy
import warnings

import matplotlib
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, jaccard_score, precision_recall_curve
from torch.testing import assert_close
from torchmetrics import MetricCollection

from lovasz.metrics import JaccardCurve
from tests.core import cases
from tests.core.processes import run
from tests.core.test_curves import problem

FORMS = ["softmax", "sigmoid"]


@pytest.mark.parametrize("form", FORMS)
def test_it_is_what_scikit_learn_says_of_the_same_scores(form: str) -> None:
    logits, target = problem(form, 7, scale=1.0)
    metric = JaccardCurve(3, form=form)
    for part in range(0, 5000, 1700):
        metric.update(logits[part : part + 1700], target[part : part + 1700])
    curve = metric.threshold_curve()
    wide = logits.double()
    p = wide.softmax(1) if form == "softmax" else wide.sigmoid()
    truth = torch.nn.functional.one_hot(target, 3) if form == "softmax" else target
    best, scores = curve.best()
    for c in range(3):
        scored, true = p[:, c].numpy(), truth[:, c].numpy()
        assert curve.average_precision()[c] == pytest.approx(average_precision_score(true, scored), abs=5e-4)
        assert scores[c] == pytest.approx(jaccard_score(true, scored >= best[c].item()), abs=2e-3)
        precision, recall, at = precision_recall_curve(true, scored)
        threshold, other = curve.at(recall=0.8)
        place = abs(at - threshold[c].item()).argmin()
        assert recall[place] == pytest.approx(0.8, abs=1e-2)
        assert other[c] == pytest.approx(precision[place], abs=1e-2)
        frequency, confidence = calibration_curve(true, scored, n_bins=15)
        found = curve.calibration(15)
        filled = found.pixels[c] > 0
        assert_close(found.frequency[c][filled], torch.from_numpy(frequency), rtol=0, atol=2e-2)
        assert_close(found.confidence[c][filled], torch.from_numpy(confidence), rtol=0, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_batches_add_up_to_the_counts_of_all(form: str) -> None:
    logits, target = problem(form, 8)
    counts = cases.count(logits, target, form=form, ignore_index=2)
    metric, half = (JaccardCurve(3, form=form, ignore_index=2, measure="dice") for _ in range(2))
    metric.update(logits[:1000], target[:1000])
    half.update(logits[1000:], target[1000:])
    metric.merge_state(half)
    thresholds, scores = metric.compute()
    assert_close(scores, counts.threshold_curve().score("dice"), rtol=0, atol=0, equal_nan=True)
    assert_close(thresholds, counts.threshold_curve().thresholds, rtol=0, atol=0)
    again = JaccardCurve(3, form=form, ignore_index=2)
    again.load_state_dict(metric.state_dict())
    metric.reset()
    assert metric.table.sum() == 0
    for other in (JaccardCurve(3, form=form, bins=64), JaccardCurve(2, form=form, ignore_index=2)):
        with pytest.raises(ValueError, match=r"must be .* as in this metric"):
            metric.merge_state(other)
    collection = MetricCollection(
        {"iou": JaccardCurve(3, form=form), "coarse": JaccardCurve(3, form=form, bins=64)}
    )
    for part in range(0, 2000, 1000):
        collection.update(logits[part : part + 1000], target[part : part + 1000])
    assert collection["coarse"].table.shape[-1] == 65
    assert collection.compute()["iou"][1].shape[0] == 3


def test_masks_layouts_and_resolution_are_those_of_count() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 6, 5), torch.randint(0, 3, (2, 12, 10))
    mask = torch.rand(2, 12, 10) > 0.3
    metric = JaccardCurve(3, upsample="bilinear", bins=256)
    metric.update(logits, target, mask=mask)
    expected = cases.count(logits, target, mask=mask, upsample="bilinear", bins=256)
    assert_close(metric.table, expected.table[0], rtol=0, atol=0)


@pytest.mark.parametrize(("given", "message"), [
    ({"form": "hinge"}, "form must be"),
    ({"measure": "iou"}, "measure must be"),
    ({"bins": None}, "bins must be an integer here"),
    ({"num_classes": 0}, "num_classes must be an integer of at least 1, got 0"),
])  # fmt: skip
def test_arguments_that_do_not_fit_are_named(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JaccardCurve(**{"num_classes": 3, **given})


def test_another_number_of_classes_is_named() -> None:
    metric = JaccardCurve(3, form="sigmoid")
    with pytest.raises(ValueError, match=r"logits must have 3 channels, got 4 in \(1, 4, 5\)"):
        metric.update(torch.zeros(1, 4, 5), torch.zeros(1, 4, 5).long())


def _counted(rank, world):
    logits, target = problem("softmax", 9)
    metric = JaccardCurve(3)
    part = slice(0, 1500) if rank == 0 else slice(1500, 5000)
    metric.update(logits[part], target[part])
    return metric.threshold_curve().table, metric.compute()[1], metric.table.sum().item()


def test_processes_have_the_curve_of_all(tmp_path) -> None:
    logits, target = problem("softmax", 9)
    expected = cases.count(logits, target)
    for (table, scores, own), pixels in zip(run(_counted, 2, tmp_path), (1500, 3500), strict=True):
        assert_close(table, expected.table[0], rtol=0, atol=0)
        assert_close(scores, expected.threshold_curve().score(), rtol=0, atol=0, equal_nan=True)
        assert own == 3 * pixels


@pytest.mark.parametrize("labels", [None, ["road", "car", "person"]])
def test_the_figure_has_a_line_and_its_best_point_for_each_class(labels: list[str] | None) -> None:
    matplotlib.use("Agg")
    logits, target = problem("softmax", 10)
    metric = JaccardCurve(3, bins=64)
    metric.update(logits, target)
    figure, axes = metric.plot(labels=labels)
    assert figure is not None
    assert len(axes.lines) == 6
    _, scores = metric.compute()
    for line, point, row in zip(axes.lines[:3], axes.lines[3:], scores, strict=True):
        assert line.get_ydata() == pytest.approx(row.numpy(), nan_ok=True)
        assert point.get_ydata()[0] == pytest.approx(row.nan_to_num().max().item())
        assert point.get_color() == line.get_color()
    assert axes.get_xlabel() == "threshold"
    assert axes.get_ylabel() == "jaccard"
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == (labels or ["class_0", "class_1", "class_2"])
    _, same = JaccardCurve(1, form="sigmoid", bins=64).plot((metric.compute()[0], scores[:1]), ax=axes)
    assert same is axes
    matplotlib.pyplot.close("all")


def test_it_survives_copies_and_devices() -> None:
    metric = copy.deepcopy(JaccardCurve(3, bins=64)).half()
    assert metric.table.dtype == torch.int64
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing was updated
        assert metric.compute()[1].isnan().all()
