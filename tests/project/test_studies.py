"""The evidence: its configurations are ones that the command takes, its page holds what the kept results say."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lovasz import scores
from lovasz.study.data.parts import IGNORE_INDEX
from lovasz.study.summary.stats import Difference, signed
from lovasz.study.train.config_checks import check_config
from lovasz.study.train.config_file import make_config
from studies import __main__ as study
from studies import ceiling, gradient, measures, tables, thresholds

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda file: file.stem)
def test_configurations_are_taken(file: Path) -> None:
    data = {} if file.stem.startswith("scene") else {"data": ROOT}
    config = make_config({**data, "workers": 0, "precision": "32"}, file)
    if config.weights is not None and find_spec("segmentation_models_pytorch") is None:
        pytest.skip("the extra pretrained is not installed")
    check_config(config)
    assert config.seeds >= 5
    assert len(config.lr) > 1  # chosen for each loss, on validation
    if file.stem in tables.OF_MEASURES:  # by name, with and without cross-entropy
        base = "bce" if config.task == "binary" else "ce"
        tversky = f"lovasz-tversky({measures.ALPHA:g},{measures.BETA:g})"
        assert {base, f"{base}+dice", "lovasz-dice", tversky, f"{base}+{tversky}"} <= set(config.losses)
        return
    of_classes = {"ce", "ce+dice", "lovasz", "ce+lovasz", "ce>lovasz"}
    of_labels = {"bce", "bce+dice", "hinge", "sigmoid", "bce+sigmoid"}
    assert (of_labels if config.task == "binary" else of_classes) <= set(config.losses)
    assert ("weighted-ce" in config.losses) is (config.task == "auto" and config.weights is None)


def test_the_page_holds_the_tables_of_the_kept_results() -> None:
    found = tables.tables()
    assert {"scene", "gradient"} <= set(found)
    for name, lines in found.items():
        assert f"<!-- kept {name} -->\n" + "\n".join(lines) + "\n<!-- end -->" in PAGE, name


def test_the_readme_says_what_the_kept_results_say() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for name, said in (
        (
            "camvid-pretrained",
            "`ce+lovasz` gained {} points of test mIoU over cross-entropy (95 % interval {} to {})",
        ),
        ("camvid", "from a pretrained encoder and {} ({} to {}) from random weights, in the small classes"),
        ("nuclei", "where both classes are large, {} ({} to {})"),
        ("nuclei-binary", "BCE with `lovasz_sigmoid` against BCE, {} points of their IoU ({} to {})"),
    ):
        gap = tables.difference(tables.read(name), "bce+sigmoid" if name == "nuclei-binary" else "ce+lovasz")
        assert gap.low is not None
        assert gap.high is not None
        assert said.format(f"{gap.mean:.1f}", signed(gap.low), signed(gap.high)) in readme
    for name, loss, said in (
        ("nuclei", "weighted-ce", "worth {} points ({} to {}) to a network trained so"),
        ("camvid", "ce", "worth {} points on CamVid ({} to {})"),
    ):
        gap = tables.gain(tables.read(name), loss, tables.DECIDED[0])
        assert gap.low is not None
        assert gap.high is not None
        assert said.format(f"{gap.mean:.1f}", signed(gap.low), signed(gap.high)) in readme


@pytest.mark.parametrize("study", [name for name in tables.STUDIES if tables.read(name)])
def test_kept_results_are_complete_and_paired(study: str) -> None:
    rows = tables.read(study)
    config = make_config({} if study == "scene" else {"data": ROOT}, ROOT / "studies" / f"{study}.yaml")
    for loss in config.losses:
        mine = [row for row in rows if row["loss"] == loss]
        assert sorted(int(row["seed"]) for row in mine) == list(range(config.seeds)), loss
        assert len({row["lr"] for row in mine}) == 1
        assert float(mine[0]["lr"]) in config.lr
    assert len(rows) == len(config.losses) * config.seeds


def test_tables_hold_means_and_paired_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = {"lr": "0.01", "val_miou": "0.5", "test_miou_large": "", "loss_share": "0.25", "iou Pole": ""}
    rows = [
        {"loss": loss, "seed": str(seed), "test_miou": str(score / 100), "iou Sky": str(score / 100), **rest}
        for loss, scores in (("lovasz", (52, 50, 54)), ("ce", (50, 47, 53)))
        for seed, score in enumerate(scores)
    ]
    assert tables.losses_of(rows) == ["ce", "lovasz"]
    lines = tables.losses_table(rows)
    assert lines[2].startswith("| `ce` | 0.01 | 50.0 ± 3.0 |  | 50.0 | 25 % |")
    # The differences are 2, 3 and 1: mean 2, deviation 1, t(0.975, 2) = 4.303.
    half = 4.303 / 3**0.5
    assert f"| {signed(2)} ({signed(2 - half)} to {signed(2 + half)}) |" in lines[3]
    assert sorted(tables.classes_table(rows)[2:]) == ["| Pole | nan | – |", "| Sky | 50.0 | +2.0 |"]


def test_the_gradients_error_is_measured_against_float64() -> None:
    published, counting, sorting = gradient.errors(2**16)
    assert published > 1e-3 > 1e-4 > counting > 1e-6 > sorting
    rows = {int(row["pixels"]): float(row["published_error"]) for row in tables.read("gradient")}
    assert rows[2**16] == pytest.approx(published, rel=0.1)
    assert {2**20, 2**23, 2**25} <= set(rows)


def test_the_page_of_decisions_says_what_one_per_image_did_to_the_images() -> None:
    gaps = {
        (study, loss): tables.gain(rows, loss, "image_miou_image_decision", "image_miou")
        for study in ("scene", "camvid", "camvid-pretrained", "nuclei", "nuclei-binary")
        if (rows := tables.read(study))
        for loss in tables.losses_of(rows)
    }
    raised = {case: gap.mean for case, gap in gaps.items() if gap.low is not None and gap.low > 0}
    lowered = [case for case, gap in gaps.items() if gap.high is not None and gap.high < 0]
    assert {case: round(mean, 1) for case, mean in raised.items()} == {
        ("camvid", "ce"): 0.3,
        ("camvid", "ce+dice"): 0.3,
    }
    assert (len(gaps), len(lowered)) == (30, 14)
    page = " ".join((ROOT / "docs" / "decisions.md").read_text(encoding="utf-8").split())
    said = "in two of 30 cases for sure (+0.3, CamVid, `ce` and `ce+dice`), and lowered it in fourteen"
    assert f"raised the mean IoU of the images {said}" in page


def test_figures_are_drawn_and_linked(tmp_path: Path) -> None:
    from studies import figures

    figures.draw(tmp_path)
    drawn = {file.name for file in tmp_path.iterdir()}
    assert drawn >= {"evidence-scene.svg", "evidence-gradient.svg"}
    for name in drawn:
        assert f"({name})" in PAGE
        # Text stays text, and the same results give the same file; another Matplotlib draws other bytes.
        same = (tmp_path / name).read_bytes() == (ROOT / "docs" / name).read_bytes()
        assert same or f"matplotlib=={version('matplotlib')}\n" not in (ROOT / "constraints.txt").read_text()
    assert set(re.findall(r"\((evidence-[\w-]+\.svg)\)", PAGE)) == drawn


def test_tables_without_marks_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="has no marks for the table"):
        tables.write(page)


@pytest.mark.parametrize("more", [[], ["--steps", "2"]])
def test_a_study_with_other_settings_is_not_kept(
    more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        (tmp_path / "results.csv").write_text("new")
        return subprocess.CompletedProcess(command, 0)

    (tmp_path / "results").mkdir()
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    (tmp_path / "scene.yaml").touch()
    monkeypatch.setattr(sys, "argv", ["studies", "scene", "--out", str(tmp_path), *more])
    study.main()
    assert asked[0][1:6] == ["-m", "lovasz", "compare", "--config", str(tmp_path / "scene.yaml")]
    assert (tmp_path / "results" / "scene.csv").exists() is not bool(more)
    assert ("makes it another study" in capsys.readouterr().out) is bool(more)


def test_the_ceiling_of_two_classes_is_that_of_the_best_threshold() -> None:
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(150, generator=generator) < 0.2).long()
    logits = torch.randn(2, 150, generator=generator)
    logits[1] += target - 1.5
    gaps = (logits[0] - logits[1]).sort().values
    best = max(
        float(scores.iou(scores.class_counts(_confusion(logits[1] + place > logits[0], target))).nanmean())
        for place in [gaps[0] - 1, *((gaps[1:] + gaps[:-1]) / 2), gaps[-1] + 1]
    )
    argmax = float(scores.iou(scores.class_counts(_confusion(logits[1] > logits[0], target))).nanmean())
    assert ceiling.ceiling(logits, target) == pytest.approx(best, abs=0.01)
    assert best > argmax + 0.03


def test_the_ceiling_is_never_below_the_argmax() -> None:
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(0, 4, (400,), generator=generator)
    logits = torch.nn.functional.one_hot(target, 4).T * 20.0
    assert ceiling.ceiling(logits, target) == 1


def test_the_ceiling_of_labels_is_that_of_the_best_threshold_of_each() -> None:
    generator = torch.Generator().manual_seed(2)
    pixels = []
    for shift in (0.0, 2.0):
        target = (torch.rand(90, generator=generator) < 0.3).long()
        logits = (torch.randn(90, generator=generator) + target - shift).mul(4).round() / 4  # with equal ones
        pixels.append((logits[None], target))
    best = []
    for logits, target in pixels:
        decided = [logits[0] >= place for place in logits[0].unique()]
        best.append(max(float((one & (target == 1)).sum() / (one | (target == 1)).sum()) for one in decided))
    assert ceiling.label_ceiling(pixels) == pytest.approx(sum(best) / 2)


def _confusion(decided: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return torch.bincount(2 * target + decided.long(), minlength=4).view(2, 2)


def test_scores_by_other_measures(tmp_path: Path) -> None:
    """From pixels by label and prediction, in both forms of a confusion; an unseen class counts nowhere."""
    confusion = torch.tensor([[6, 2, 0], [1, 1, 0], [0, 0, 0]])
    found = measures.means(confusion)
    assert found == pytest.approx(
        {
            "dice": (12 / 15 + 2 / 5) / 2,
            "tversky": (6 / (6 + 0.3 * 1 + 0.7 * 2) + 1 / (1 + 0.3 * 2 + 0.7 * 1)) / 2,
            "precision": (6 / 7 + 1 / 3) / 2,
            "recall": (6 / 8 + 1 / 2) / 2,
        }
    )
    labels = torch.tensor([[[9, 2], [1, 5]], [[8, 0], [4, 0]]])  # the second is nowhere predicted
    found = measures.means(labels)
    assert found["precision"] == pytest.approx(5 / 7 / 2)
    assert found["recall"] == pytest.approx(5 / 6 / 2)
    assert found["tversky"] == pytest.approx(5 / (5 + 0.3 * 2 + 0.7 * 1) / 2)
    runs = [{"loss": "ce", "seed": 0, "test_counts": labels.tolist()}]
    (tmp_path / "results.json").write_text(json.dumps({"runs": runs}))
    measures.write(tmp_path, tmp_path / "some.csv")
    kept = (tmp_path / "some-scores.csv").read_text().splitlines()
    assert kept[0] == "loss,seed,dice,tversky,precision,recall"
    assert float(kept[1].split(",")[4]) == pytest.approx(5 / 7 / 2)


def test_a_threshold_is_chosen_for_tversky_where_it_is_not_scored() -> None:
    """By trying every one, of the images it was fitted to; others are decided, ignored pixels left out."""
    generator = torch.Generator().manual_seed(0)

    def image() -> tuple[torch.Tensor, torch.Tensor]:
        target = (torch.rand(1, 1, 20, 30, generator=generator) < 0.3).long()
        logits = 2.0 * target - 1.5 + torch.randn(target.shape, generator=generator)
        target[..., :3] = IGNORE_INDEX
        return logits, target

    fitted, tested = [image() for _ in range(5)], [image() for _ in range(3)]
    rule, confusion = thresholds.decided(fitted, tested)

    def at(images: list[tuple[torch.Tensor, torch.Tensor]], threshold: float) -> torch.Tensor:
        x, y = (torch.cat([one[i].flatten() for one in images]) for i in range(2))
        return _confusion((x.sigmoid() >= threshold)[y != IGNORE_INDEX], y[y != IGNORE_INDEX])[None]

    found = rule.threshold.item()
    assert found < 0.5  # a missed pixel costs more than a false one
    assert torch.equal(confusion, at(tested, found))
    highest = max(measures.means(at(fitted, t / 200))["tversky"] for t in range(1, 200))
    half, own = (measures.means(at(fitted, t))["tversky"] for t in (0.5, found))
    places = torch.cat([logits.flatten() for logits, _ in tested]).sigmoid().unique()
    best = max(measures.means(at(tested, place.item()))["tversky"] for place in places)
    assert thresholds.highest(tested) == pytest.approx(best, abs=1e-6)
    assert max(half, highest - 0.02) < own  # the rule goes as far from 1/2 as other images of the fit bear out
    usual = [{"loss": loss, "seed": str(seed), "tversky": "0.5"} for loss in ("bce", "sigmoid") for seed in (0, 1)]
    moved = [
        {
            **row,
            "tversky": str(0.6 + 0.1 * i),
            "iou": "0.4",
            "precision": "0.3",
            "recall": "0.2",
            "threshold": "0.25",
            "ceiling": "0.9",
        }
        for i, row in enumerate(usual)
    ]
    lines = tables.thresholds_table(usual, moved)
    assert lines[2] == "| `bce` | 50.0 | 0.25 | 65.0 |  | 40.0 | 30.0 | 20.0 | 90.0 |"
    assert lines[3].startswith("| `sigmoid` | 50.0 | 0.25 | 85.0 | +20.0")


def test_the_page_says_what_a_good_start_changes() -> None:
    words, rows, before = " ".join(PAGE.split()), tables.read("camvid-pretrained"), tables.read("camvid")
    ce, ce_before = (tables.mean(tables.scores(one, "ce")) for one in (rows, before))
    gain = signed(tables.difference(rows, "ce+lovasz").mean).lstrip("+")
    assert (
        f"the start brings cross-entropy from {ce_before:.1f} to {ce:.1f}, and `ce+lovasz` gains {gain} points"
        in words
    )
    bicycles = [tables.mean(tables.scores(rows, loss, "iou Bicyclist")) for loss in ("ce", "ce+lovasz")]
    assert "bicycles stay at {:.1f}, where `ce+lovasz` brings {:.1f}".format(*bicycles) in words
    dice, jml = (tables.difference(rows, "ce+lovasz", baseline=loss) for loss in ("ce+dice", "ce+jml"))
    assert (
        f"`ce+lovasz` is {dice.mean:.1f} points above it, {signed(dice.low or 0)} to {signed(dice.high or 0)}"
        in words
    )
    assert f"`ce+jml` less, by {jml.mean:.1f} points ({jml.low:.1f} to {jml.high:.1f})" in words
    usual = tables.scores(rows, "ce+lovasz")
    above = [
        tables.paired_difference("", "", usual, tables.scores(rows, "ce", column)).mean
        for column in tables.DECIDED[:2]
    ]
    said = "is {:.1f} points above `ce` by the rule of the validation part, and {:.1f} above"
    assert said.format(*above) in words


def test_the_page_says_how_many_rules_gain() -> None:
    gaps = [
        tables.gain(rows, loss, tables.DECIDED[0])
        for study in ("scene", "camvid", "camvid-pretrained", "nuclei")
        for rows in [tables.read(study)]
        for loss in tables.losses_of(rows)
        if loss != "weighted-ce"
    ]
    sure = [gap.mean > 0 for gap in gaps if gap.decided]
    assert (len(gaps), sure.count(True), sure.count(False)) == (22, 2, 4)
    said = "of all 22 rules fitted on validation for losses without weights two gained for sure, and four lost"
    assert said in " ".join(PAGE.split())


def test_the_page_says_what_other_measures_gained() -> None:
    rows, found = tables.read("scene-measures"), tables.read("scene-measures-scores")
    scored = [(rows, "test_miou"), *((found, column) for column in measures.COLUMNS)]
    for base in ("lovasz", "ce+lovasz"):
        for measure in ("dice", "tversky(0.3,0.7)"):
            gaps = [tables.difference(kept, f"{base}-{measure}", column, base) for kept, column in scored]
            assert not any(gap.decided and gap.mean > 0 for gap in gaps)
            assert base == "lovasz" or abs(gaps[0].mean) < 0.65
    words = " ".join(PAGE.split())
    recall, precision = (
        tables.difference(found, "lovasz-tversky(0.3,0.7)", column, "lovasz") for column in ("recall", "precision")
    )
    assert f"recall higher ({signed(recall.mean)} points on `lovasz`, not sure" in words
    assert f"its precision lies {signed(precision.mean).lstrip('−')} lower, for sure)" in words
    assert (recall.decided, precision.decided) == (False, True)


def test_the_page_says_what_tversky_does_with_one_channel() -> None:
    kept = {name: tables.read(f"nuclei-measures{name}") for name in ("", "-scores", "-thresholds")}
    columns = {"iou": ("", "test_miou"), **{column: ("-scores", column) for column in measures.COLUMNS}}
    trained, fused, soft = "lovasz-tversky(0.3,0.7)", "bce+lovasz-tversky(0.3,0.7)", "bce+tversky(0.3,0.7)"

    def gap(loss: str, baseline: str, score: str) -> Difference:
        file, column = columns[score]
        return tables.difference(kept[file], loss, column, baseline)

    words = " ".join(PAGE.split())
    gaps = [gap(trained, "sigmoid", score) for score in ("tversky", "recall", "precision", "iou")]
    assert all(one.decided for one in gaps)
    above, recall, precision, iou = (signed(one.mean).lstrip("+−") for one in gaps)
    assert [one.mean > 0 for one in gaps] == [True, True, False, False]
    assert f"lies {above} points above `sigmoid` by the Tversky index, with a recall {recall} higher" in words
    assert f"and a precision {precision} lower, and pays {iou} points of IoU, each for sure" in words
    gains = [gap(loss, "bce", score) for score in ("tversky", "iou") for loss in (fused, soft)]
    assert all(one.decided and one.mean > 0 for one in gains)
    numbers = [signed(one.mean).lstrip("+") for one in gains]
    said = "gain {} and {} points of Tversky on `bce`, and {} and {} of IoU, for sure"
    assert said.format(*numbers) in words
    assert not any(gap(fused, soft, score).decided for score in columns)
    by_dice = [gap("lovasz-dice", "sigmoid", score) for score in ("iou", "dice")]
    assert not any(one.decided for one in by_dice)
    assert "by IoU or Dice ({} and {})".format(*(signed(one.mean) for one in by_dice)) in words

    moved = [
        [
            tables.paired_difference(
                "", "", tables.scores(kept[file], trained, column), tables.scores(kept["-thresholds"], loss, at)
            )
            for loss in tables.losses_of(kept[""])
        ]
        for file, column, at in (("-scores", "tversky", "tversky"), ("", "test_miou", "iou"))
    ]
    assert all(one.decided and one.mean > 0 for row in moved for one in row)
    ends = [
        signed(end).lstrip("+") for row in moved for end in (min(o.mean for o in row), max(o.mean for o in row))
    ]
    said = "by {} to {} points of Tversky, and {} to {} points of IoU above them, all for sure"
    assert said.format(*ends) in words
    back = [
        tables.paired_difference(
            "", "", tables.scores(kept["-thresholds"], "bce", at), tables.scores(kept[file], "bce", column)
        ).mean
        for file, column, at in (("-scores", "tversky", "tversky"), ("", "test_miou", "iou"))
    ]
    assert f"takes back {back[0]:.1f} points, and pays {-back[1]:.1f} points of IoU" in words
    usual = tables.scores(kept["-scores"], trained, "tversky")
    below = {
        loss: tables.paired_difference("", "", usual, tables.scores(kept["-thresholds"], loss, "ceiling"))
        for loss in tables.losses_of(kept[""])
    }
    assert [loss for loss, one in below.items() if one.decided and one.mean > 0] == ["sigmoid"]
    assert f"only `sigmoid` still lies below it for sure, by {below['sigmoid'].mean:.1f}" in words
    seeds = [tables.scores(kept[""], loss) for loss in ("sigmoid", "bce")]
    assert sum(ours > theirs for ours, theirs in zip(*seeds, strict=True)) == 4


def test_the_table_of_measures_is_of_differences() -> None:
    rows = [
        {
            "loss": loss,
            "seed": str(seed),
            "lr": "0.01",
            "test_miou": str((50 + gain * (1 + seed / 10) + seed) / 100),
            "iou a": "0.5",
        }
        for loss, gain in (("ce", 0), ("lovasz-dice", 2))
        for seed in range(3)
    ]
    found = [
        {
            "loss": loss,
            "seed": str(seed),
            **dict.fromkeys(measures.COLUMNS, str((40 + gain * (1 + seed / 10) + seed) / 100)),
        }
        for loss, gain in (("ce", 0), ("lovasz-dice", -3))
        for seed in range(3)
    ]
    lines = tables.measures_table(rows, found)
    assert lines[0] == "| loss | learning rate | IoU | Dice | Tversky(0.3, 0.7) | precision | recall |"
    assert lines[2] == "| `ce` | 0.01 | 51.0 | 41.0 | 41.0 | 41.0 | 41.0 |"
    ours = "**−3.3 (−4.0 to −2.6)**"
    assert lines[3] == f"| `lovasz-dice` | 0.01 | **+2.2 (+1.7 to +2.7)** | {ours} | {ours} | {ours} | {ours} |"


@pytest.mark.parametrize("module", [ceiling, thresholds], ids=lambda module: module.__name__)
def test_what_was_kept_stays_where_there_are_no_runs(module: ModuleType, tmp_path: Path) -> None:
    kept = tmp_path / f"some-{module.__name__.rpartition('.')[2]}.csv"
    kept.write_text("kept")
    with pytest.raises((OSError, ValueError)):
        module.write(tmp_path / "none", tmp_path / "some.csv")
    assert kept.read_text() == "kept"
