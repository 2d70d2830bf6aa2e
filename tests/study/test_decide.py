"""The decisions of a run: against torch on the network that was kept, in old runs, and added up by hand."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from lovasz.cli.comparison_tables import decision_table
from lovasz.study.data.parts import TEST, TRAIN, VAL, Data
from lovasz.study.summary.compare import summarise
from lovasz.study.summary.results import write_csv, write_json
from lovasz.study.train import decide, store
from lovasz.study.train.config_file import make_config
from lovasz.study.train.network import build_network
from lovasz.study.train.runs import plan
from lovasz.study.train.store import Run
from lovasz.study.train.training import train
from tests.study.made_up import made_up, pictures

NETWORK = "tests.study.own:coarse"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Data, Run, Path]:
    """A run on images of two sizes, whose logits are coarser than its labels, and its folder."""
    data, folder = pictures(4, 6, ((20, 24), (24, 20))), tmp_path_factory.mktemp("decided")
    config = make_config(
        {"losses": "ce", "seeds": 1, "steps": 30, "lr": 0.02, "accelerator": "cpu", "network": NETWORK}, None
    )
    (settings,) = plan(config, data, threads=1).runs
    run = train(settings, config, data, folder, lambda step: None)
    store.save(folder, run)
    return data, run, folder


def probabilities(data: Data, folder: Path, part: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the probabilities (C, P) of each image's labelled pixels by the weights that were kept, and labels."""
    network = build_network(NETWORK, data.channels, data.num_classes, data.dims).eval()
    (file,) = folder.glob("runs/*/last.pt")
    network.load_state_dict(torch.load(file, weights_only=True))
    samples = data.parts[part].samples
    for index in range(len(samples)):
        image, target = samples[index]
        with torch.no_grad():
            yield network(image[None])[0].softmax(0)[:, target >= 0], target[target >= 0]


def miou(pairs: list[tuple[torch.Tensor, torch.Tensor]], classes: int) -> float:
    """Return the mean IoU over all pixels, from sets of pixels."""
    preds, target = (torch.cat(one) for one in zip(*pairs, strict=True))
    iou = [
        int(((preds == c) & (target == c)).sum()) / int(((preds == c) | (target == c)).sum())
        for c in range(classes)
        if ((preds == c) | (target == c)).any()
    ]
    return sum(iou) / len(iou)


def test_decisions_are_those_of_the_network_that_was_kept(trained: tuple[Data, Run, Path]) -> None:
    data, run, folder = trained
    assert list(run.tested.decided) == list(decide.DECISIONS)
    assert run.rules is not None
    found = [probabilities(data, folder, part) for part in (VAL, TRAIN)]
    for (name, rule), images in zip(run.rules.items(), map(list, found), strict=True):
        factor, threshold, bias = (torch.tensor(one)[:, None] for one in (rule.factor, rule.threshold, rule.bias))
        assert rule.images == 6
        assert rule.usual == pytest.approx(miou([(p.argmax(0), target) for p, target in images], 4), abs=2e-3)
        by_rule = [((factor * ((p.log() + bias).softmax(0) - threshold)).argmax(0), target) for p, target in images]
        assert rule.fitted == pytest.approx(miou(by_rule, 4), abs=2e-3)  # pixels that are nearly equal
        tested = [
            ((factor * ((p.log() + bias).softmax(0) - threshold)).argmax(0), target)
            for p, target in probabilities(data, folder, TEST)
        ]
        assert np.trace(run.tested.decided[name].counts) == sum(int((a == b).sum()) for a, b in tested)
        iou = run.tested.decided[name].counts
        union = iou.sum(0) + iou.sum(1) - iou.diagonal()
        assert np.mean(iou.diagonal() / union) == pytest.approx(miou(tested, 4))
    assert any(rule.trust > 0 or any(rule.bias) for rule in run.rules.values())


def expected_best(p: torch.Tensor) -> torch.Tensor:
    """Return the class of each pixel of the highest expected IoU, from sorted probabilities (C, P) in float64."""
    p = p.double()
    found = p.sort(1, descending=True).values.cumsum(1)
    iou = found / (p.sum(1, keepdim=True) + torch.arange(1, p.shape[1] + 1) - found)
    best, number = iou.max(1)
    union = found.gather(1, number[:, None]) / best[:, None]
    present = (p > 0.5).any(1, keepdim=True)
    gain = ((1 + best[:, None]) * p - best[:, None]) / union
    return torch.where(present, gain, -torch.inf).argmax(0)


def test_image_decision_is_that_of_sorted_probabilities(trained: tuple[Data, Run, Path]) -> None:
    data, run, folder = trained
    samples, images = data.parts[TEST].samples, run.tested.decided[decide.IMAGE].images
    assert images.shape == (6, 3, 4)
    whole = replace(data, parts={TEST: replace(data.parts[TEST], samples=[(x, 0 * y) for x, y in samples])})
    differ = moved = 0
    for index, (p, _) in enumerate(probabilities(whole, folder, TEST)):  # void pixels are decided as well
        target = samples[index][1].flatten()
        preds = expected_best(p)[target >= 0]
        right = target[target >= 0]
        for c in range(4):
            hit = int(((preds == c) & (right == c)).sum())
            own = [hit, int((preds == c).sum()) - hit, int((right == c).sum()) - hit]
            differ += int(np.abs(images[index, :, c] - own).sum())
        moved += int((p.argmax(0)[target >= 0] != preds).sum())
    assert moved > 12
    assert differ <= 12  # bins of the probability: some pixels at a threshold, of 2880


def test_logits_are_predicted_again_where_memory_is_short(
    trained: tuple[Data, Run, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two of six images in memory the rules are the same; of more images than kept, some are fitted."""
    data, run, folder = trained
    network = build_network(NETWORK, data.channels, data.num_classes, data.dims).eval()
    (file,) = folder.glob("runs/*/last.pt")
    network.load_state_dict(torch.load(file, weights_only=True))
    monkeypatch.setattr(decide, "MEMORY", 2 * (20 * 24 * 8 + 10 * 12 * 4 * 4))
    assert decide.fitted_rules(network, data, None) == run.rules
    batches = decide.Logits(network, data.parts[VAL].samples, range(6), None)
    assert batches.upsample == "bilinear"
    assert [tuple(logits.shape[2:]) for logits, _ in batches] == 3 * [(10, 12), (12, 10)]
    assert len(batches.kept) == 2
    monkeypatch.setattr("lovasz.study.train.predict.KEPT", 3)
    assert [rule.images for rule in decide.fitted_rules(network, data, None).values()] == [6, 3]


def test_a_network_that_diverged_is_decided_by_argmax_alone(trained: tuple[Data, Run, Path]) -> None:
    data, _, _ = trained
    network = build_network(NETWORK, data.channels, data.num_classes, data.dims).eval()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    assert decide.fitted_rules(network, data, None) == {}
    empty = replace(data, parts=data.parts | {VAL: replace(data.parts[VAL], samples=[])})
    network = build_network(NETWORK, data.channels, data.num_classes, data.dims).eval()
    assert list(decide.fitted_rules(network, empty, None)) == [decide.TRAIN_RULE]


def test_decisions_are_kept_and_older_runs_are_read_without(
    trained: tuple[Data, Run, Path], tmp_path: Path
) -> None:
    _, run, folder = trained
    again = store.load(folder, run.settings)
    assert again is not None
    assert again.rules == run.rules
    for name, decided in run.tested.decided.items():
        np.testing.assert_array_equal(again.tested.decided[name].counts, decided.counts)
        np.testing.assert_array_equal(again.tested.decided[name].images, decided.images)
    assert again.seconds == run.seconds
    store.save(tmp_path, replace(run, rules=None, seconds=None, tested=replace(run.tested, decided={})))
    place = store.finished(tmp_path, run.settings)
    record = json.loads((place / store.RECORD).read_text())
    del record["rules"], record["seconds"]  # as it was written before
    (place / store.RECORD).write_text(json.dumps(record))
    lines = [line for line in store.sums(place).splitlines(True) if store.SUMS not in line]
    (place / store.SUMS).write_text("".join(lines))
    old = store.load(tmp_path, run.settings)
    assert old is not None
    assert (old.rules, old.seconds, old.tested.decided) == (None, None, {})


def test_older_runs_are_blank_and_said_so(tmp_path: Path) -> None:
    comparison = made_up(("ce", "lovasz"), 2)
    runs = [replace(run, rules=None, tested=replace(run.tested, decided={})) for run in comparison.runs.values()]
    mixed = summarise(comparison.data, comparison.config, [runs[0], *list(comparison.runs.values())[1:]])
    assert mixed.decision_notes == [
        "Without decisions other than argmax, as finished before they were kept: ce seed 0."
    ]
    old = summarise(comparison.data, comparison.config, runs)
    assert old.decision_notes[0].endswith("kept: all runs.")
    assert not any("Decided by" in sentence for sentence in old.verdict)
    assert [next(iter(column.cells)) for column in decision_table(old, 80).columns][2:5] == ["–", "–", "–"]
    write_csv(old, tmp_path / "results.csv")
    write_json(old, tmp_path / "results.json")
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {rows[0][f"test_miou_{name}"] for name in decide.DECISIONS} == {""}
    assert float(rows[0]["image_miou"]) > 0
    assert json.loads((tmp_path / "results.json").read_text())["decisions"][1]["miou"]["mean"] is None


def test_differences_by_hand(tmp_path: Path) -> None:
    comparison = made_up(("ce", "lovasz"), 3)

    def score(loss: str, decision: str) -> list[float]:
        counts = [comparison.runs[loss, seed].tested for seed in range(3)]
        tables = [(one.decided[decision] if decision != "argmax" else one).counts for one in counts]
        return [100 * np.mean(t.diagonal() / (t.sum(0) + t.sum(1) - t.diagonal())) for t in tables]

    rows = {(row.loss, row.decision): row for row in comparison.decisions}
    assert len(rows) == 8
    row = rows["lovasz", "val_rule"].miou
    assert row.scores == pytest.approx(score("lovasz", "val_rule"))
    assert row.spread == pytest.approx(np.std(score("lovasz", "val_rule"), ddof=1))
    others = {
        "over_argmax": ("lovasz", "argmax"),
        "over_baseline": ("ce", "val_rule"),
        "over_plain": ("ce", "argmax"),
    }
    for name, other in others.items():
        values = np.subtract(score("lovasz", "val_rule"), score(*other))
        difference = getattr(row, name)
        assert difference.mean == pytest.approx(values.mean())
        low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
        assert (difference.low, difference.high) == pytest.approx((low, high))
    assert rows["ce", "argmax"].miou.over_plain is None
    assert rows["ce", "val_rule"].miou.over_baseline is None
    (said,) = [sentence for sentence in comparison.verdict if sentence.startswith("Decided by")]
    gain = rows["ce", "val_rule"].miou.over_argmax
    assert gain is not None
    assert ("so no difference is shown)" in said) == (not gain.decided)
    assert f"ce reaches a test mIoU of {rows['ce', 'val_rule'].miou.mean:.1f} (" in said
    more = rows["lovasz", "val_rule"].miou.over_baseline
    assert more is not None
    assert f"training with lovasz adds {more.mean:.1f} points (95 % interval" in said or not more.decided

    tested = comparison.runs["ce", 0].tested.decided["image_decision"].images
    hit, false, missed = tested[0].astype(float)
    present = hit + missed > 0
    assert rows["ce", "image_decision"].image_miou.scores[0] == pytest.approx(
        100 * np.mean((hit / (hit + false + missed))[present])
    )
