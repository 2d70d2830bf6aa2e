"""Runs and results of binary and multilabel tasks, against brute force on the network that was kept."""

import base64
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lovasz.decisions import DatasetDecision
from lovasz.study.data.iou import class_counts, iou_per_class, label_confusion
from lovasz.study.data.parts import IGNORE_INDEX, TEST, TRAIN, VAL, Data, Part
from lovasz.study.io.palette import rgb
from lovasz.study.report.changes import changed_images
from lovasz.study.report.labels import found_labels, label_thresholds
from lovasz.study.report.report import write_report
from lovasz.study.summary.compare import Comparison, summarise
from lovasz.study.summary.loss_table import write_table
from lovasz.study.summary.results import write_csv, write_json
from lovasz.study.train import store
from lovasz.study.train.config_file import make_config
from lovasz.study.train.network import build_network
from lovasz.study.train.predict import shown
from lovasz.study.train.runs import plan
from lovasz.study.train.store import Run
from lovasz.study.train.training import train

NETWORK = "tests.study.own:coarse"
TASKS = {"binary": ("cell",), "multilabel": ("cell", "wall", "dot")}


def labelled(task: str, images: int = 6, size: tuple[int, ...] = (16, 20)) -> Data:
    """Images whose channels show a mask for each label, with noise; the labels overlap, void differs."""
    names, parts = TASKS[task], {}
    for number, part in enumerate((TRAIN, VAL, TEST)):
        generator = torch.Generator().manual_seed(number)
        samples = []
        for _ in range(images):
            target = (torch.rand(len(names), *(side // 4 for side in size), generator=generator) < 0.4).long()
            for axis in range(len(size)):
                target = target.repeat_interleave(4, axis + 1)
            image = target + torch.randn(target.shape, generator=generator)
            target[0, 0] = target[-1, -2:] = IGNORE_INDEX
            samples.append((image, target))
        masks = torch.stack([target for _, target in samples])
        pixels = (masks == 1).sum(tuple(axis for axis in range(masks.ndim) if axis != 1)).tolist()
        parts[part] = Part(
            [f"{part}{index}" for index in range(images)],
            samples,
            pixels,
            int((masks != IGNORE_INDEX).any(1).sum()),
        )
    colours = ("#332288", "#cc6677", "#ddcc77")[: len(names)]
    return Data(task, names, colours, len(names), len(size), (size,), parts, task, task=task)


def trained(
    data: Data, folder: Path, losses: tuple[str, ...] = ("bce", "bce+sigmoid"), seeds: int = 1
) -> Comparison:
    given = {"losses": losses, "seeds": seeds, "steps": 30, "lr": 0.05, "accelerator": "cpu", "network": NETWORK}
    config = make_config(given, None).of_task(data.task)
    runs = []
    for settings in plan(config, data, threads=1).runs:
        run = train(settings, config, data, folder, lambda step: None)
        store.save(folder, run)
        again = store.load(folder, settings)
        assert again is not None
        runs.append(again)
    return summarise(data, config, runs)


@pytest.fixture(scope="module", params=TASKS)
def comparison(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    return trained(labelled(request.param), folder), folder


def probabilities(comparison: Comparison, run: Run, folder: Path, part: str) -> list[tuple[Tensor, Tensor]]:
    """Return the probabilities (L, *) of each image by the weights that were kept, and its target."""
    data = comparison.data
    network = build_network(NETWORK, data.channels, data.num_classes, data.dims).eval()
    network.load_state_dict(torch.load(store.finished(folder, run.settings) / store.LAST, weights_only=True))
    with torch.no_grad():
        return [(network(image[None])[0].sigmoid(), target) for image, target in data.parts[part].samples]  # type: ignore[attr-defined]


def brute(pairs: list[tuple[Tensor, Tensor]], label: int, threshold: float) -> tuple[int, int, int]:
    """Return TP, FP and FN of a label over all images."""
    p, y = (torch.cat([pair[index][label].flatten() for pair in pairs]) for index in (0, 1))
    p, y = p[y != IGNORE_INDEX] > threshold, y[y != IGNORE_INDEX] == 1
    return int((p & y).sum()), int((p & ~y).sum()), int((~p & y).sum())


def brute_iou(pairs: list[tuple[Tensor, Tensor]], label: int, threshold: float) -> float:
    tp, fp, fn = brute(pairs, label, threshold)
    return tp / (tp + fp + fn)


def test_counts_are_those_of_each_label(comparison: tuple[Comparison, Path]) -> None:
    made, folder = comparison
    for run in made.runs.values():
        pairs = probabilities(made, run, folder, TEST)
        for label in range(made.data.num_classes):
            tp, fp, fn = brute(pairs, label, 0.5)
            (tn, false), (missed, hit) = run.test_counts[label].tolist()
            assert (hit, false, missed) == (tp, fp, fn)
            assert tn + fp + fn + tp == sum(int((target[label] != IGNORE_INDEX).sum()) for _, target in pairs)
            for index, pair in enumerate(pairs):
                assert tuple(run.tested.images[index, :, label].tolist()) == brute([pair], label, 0.5)
        scores = [brute_iou(pairs, label, 0.5) for label in range(made.data.num_classes)]
        assert run.test_miou == pytest.approx(100 * np.mean(scores))
        val = probabilities(made, run, folder, VAL)
        scores = [brute_iou(val, label, 0.5) for label in range(made.data.num_classes)]
        assert run.val_miou == pytest.approx(100 * np.mean(scores))
        assert run.curve[-1].miou == pytest.approx(run.val_miou / 100)
        masks = [probability > 0.5 for probability, _ in pairs]
        assert [mask.dtype for mask in run.tested.predictions] == [np.bool_] * len(pairs)
        assert all((mask.numpy() == kept).all() for mask, kept in zip(masks, run.tested.predictions, strict=True))
        assert run.tested.curves.shape == (made.data.num_classes, 101)


def test_thresholds_are_those_of_the_decision_on_validation(comparison: tuple[Comparison, Path]) -> None:
    """Never worse there than 1/2; the test part is decided by them."""
    made, folder = comparison
    found: list[float] = []
    for run in made.runs.values():
        assert run.rules is not None
        rule = run.rules["val_rule"]
        assert rule.bias == []
        val, test = (probabilities(made, run, folder, part) for part in (VAL, TEST))
        decision = DatasetDecision(made.data.num_classes, form="sigmoid")
        decision.fit([(p.logit()[None], target[None]) for p, target in val])
        assert rule.threshold == pytest.approx(decision.threshold.tolist(), abs=1e-3)
        for label, threshold in enumerate(rule.threshold):
            assert brute_iou(val, label, threshold) >= brute_iou(val, label, 0.5) - 0.005  # to a bin
            tp, fp, fn = brute(test, label, threshold)
            assert run.tested.decided["val_rule"].images[:, :, label].sum(0).tolist() == [tp, fp, fn]
            for place in (10, 50, 90):
                expected = brute_iou(test, label, place / 100)
                assert run.tested.by_threshold[label, place] == pytest.approx(expected, abs=0.02)
        found += [threshold for threshold in rule.threshold if threshold != 0.5]
        assert set(run.tested.decided) == {"val_rule", "train_rule", "image_decision"}
    assert found  # not all stay


def test_what_is_written(comparison: tuple[Comparison, Path], tmp_path: Path) -> None:
    made, _ = comparison
    names, single = made.data.class_names, made.data.num_classes == 1
    for write, name in (
        (write_csv, "a.csv"),
        (write_json, "a.json"),
        (write_report, "a.html"),
        (write_table, "table.md"),
    ):
        write(made, tmp_path / name)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row["loss"] for row in rows] == ["bce", "bce+sigmoid"]
    assert f"iou {names[0]}" in rows[0]
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["data"]["task"] == made.data.task
    assert [row["decision"] for row in record["decisions"][:4]] == [
        "half",
        "val_rule",
        "train_rule",
        "image_decision",
    ]
    assert np.shape(record["runs"][0]["test_counts"]) == (len(names), 2, 2)
    page = (tmp_path / "a.html").read_text()
    assert page.count('by threshold"') == len(names)
    for said in ("Found, missed, invented", "<h3>Thresholds</h3>", "p &gt; 0.5", f"{made.data.task} task, "):
        assert said in page
    assert "argmax" not in page
    assert ("mIoU" in page) != single
    assert "What is taken for what" not in page
    table = (tmp_path / "table.md").read_text()
    assert (
        "Test IoU in % on binary, of cell" if single else "Test mIoU in % on multilabel, over 3 labels"
    ) in table
    verdict = " ".join(made.verdict)
    assert f"bce+sigmoid against bce: test {'IoU' if single else 'mIoU'} " in verdict
    assert f"Decided at the threshold{'' if single else 's'} chosen on validation, bce reaches a test" in verdict


def test_tables_of_the_report(comparison: tuple[Comparison, Path]) -> None:
    made, _ = comparison
    counts = made.runs["bce", 0].test_counts
    first, second = found_labels(made)[:2]
    assert (first.label, first.loss, second.loss) == (0, "bce", "bce+sigmoid")
    assert [first.found, first.missed, first.invented] == [
        int(counts[0][cell]) for cell in ((1, 1), (1, 0), (0, 1))
    ]
    assert first.recall == pytest.approx(100 * first.found / int(counts[0, 1].sum()))
    assert first.precision == pytest.approx(100 * first.found / int(counts[0, :, 1].sum()))
    row = label_thresholds(made)[0]
    run = made.runs["bce", 0]
    assert run.rules is not None
    assert row.threshold == row.lowest == row.highest == run.rules["val_rule"].threshold[0]
    assert row.half == pytest.approx(100 * float(iou_per_class(run.test_counts)[0]))
    decided = torch.from_numpy(run.tested.decided["val_rule"].counts)
    assert row.there == pytest.approx(100 * float(iou_per_class(decided)[0]))


def test_where_labels_overlap_the_rarer_is_drawn(comparison: tuple[Comparison, Path]) -> None:
    made, _ = comparison
    data = made.data
    item = changed_images(made)[0]
    target = data.parts[TEST].samples[data.parts[TEST].names.index(item.name)][1]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(item.truth.source.split(",")[1]))).convert("RGBA"))
    step = drawn.shape[0] // target.shape[1]
    pixels = data.parts[TEST].pixels
    for y, x in np.argwhere((target == 1).sum(0).numpy() == min(2, data.num_classes))[:20]:
        rarest = min(np.flatnonzero(target[:, y, x] == 1), key=lambda label: pixels[label])
        assert tuple(drawn[y * step, x * step, :3]) == rgb(data.colours[rarest])


def test_training_lowers_the_loss_and_its_memory_is_known(tmp_path: Path) -> None:
    """Volumes by windows, hinge, and two processes' worth of nothing: the other paths through a run."""
    made = trained(labelled("multilabel", images=2, size=(12, 12, 8)), tmp_path, ("bce>hinge", "jml"))
    for run in made.runs.values():
        assert not run.diverged
        assert run.tested.predictions[0].shape == (3, 12, 12)
    target = made.data.parts[TEST].samples[0][1]
    (_, index) = shown(target, 3)
    here = [(target[..., place] == 1).flatten(1).any(1).sum() for place in range(8)]
    assert here[index] == max(here)


def test_confusion_of_labels_by_hand() -> None:
    preds = torch.tensor([[[True, True, False, False]]])
    target = torch.tensor([[[1, 0, 1, IGNORE_INDEX]]])
    counts = label_confusion(preds, target)
    assert counts.tolist() == [[[0, 1], [1, 1]]]
    assert class_counts(counts).tolist() == [[1, 2, 2]]
    assert iou_per_class(counts).tolist() == [1 / 3]
