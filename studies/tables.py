"""The tables of docs/evidence.md, from the kept results."""

import csv
import math
from pathlib import Path
from typing import Any

from benchmarks.tables import filled
from lovasz.study.summary import words
from lovasz.study.summary.compare import LARGE_CLASS
from lovasz.study.summary.stats import Difference, paired_difference, signed, spread
from studies.measures import ALPHA, BETA

RESULTS = Path(__file__).parent / "results"
STUDIES = ("scene", "camvid", "camvid-pretrained", "nuclei", "nuclei-binary", "camvid-full")
OF_MEASURES = ("scene-measures", "nuclei-measures")
# Of the losses of a study that which the others are compared with.
BASELINES = ("ce", "bce")
# Columns of the test mIoU by the rule fitted on validation, by that fitted on training images, and per image.
DECIDED = ("test_miou_val_rule", "test_miou_train_rule", "test_miou_image_decision")


def read(name: str) -> list[dict[str, str]]:
    """Returns the rows of a study; none if it has not been run."""
    file = RESULTS / f"{name}.csv"
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def write(page: Path) -> None:
    """Puts every table between its marks in the page."""
    text = page.read_text(encoding="utf-8")
    made = {name: "\n".join(lines) for name, lines in tables().items()}
    for name in made:
        if f"<!-- kept {name} -->" not in text:
            raise ValueError(f"{page} has no marks for the table {name}")
    page.write_text(filled(text, made), encoding="utf-8")


def tables() -> dict[str, list[str]]:
    """Returns the lines of every table by name."""
    found = {}
    for study in STUDIES:
        rows = read(study)
        if rows:
            found[study] = losses_table(rows)
            if metric_of(rows) == "mIoU":
                found[f"{study}-classes"] = classes_table(rows)
            if DECIDED[0] in rows[0]:
                found[f"{study}-decisions"] = decisions_table(rows, read(f"{study}-ceiling"))
            if "lovasz-exact" in losses_of(rows):
                found[f"{study}-exact"] = exact_table(rows)
    for study in OF_MEASURES:
        rows = read(study)
        if rows:
            found[study] = measures_table(rows, read(f"{study}-scores"))
            moved = read(f"{study}-thresholds")
            if moved:
                found[f"{study}-thresholds"] = thresholds_table(read(f"{study}-scores"), moved)
    rows = read("gradient")
    if rows:
        found["gradient"] = gradient_table(rows)
    return found


def scores(rows: list[dict[str, str]], loss: str, column: str = "test_miou") -> list[float]:
    """Returns the percentages of a loss by seed; NaN where a class is absent."""
    mine = sorted((row for row in rows if row["loss"] == loss), key=lambda row: int(row["seed"]))
    return [100 * float(row[column]) if row[column] else math.nan for row in mine]


def baseline_of(rows: list[dict[str, str]]) -> str:
    """Returns the loss that the others are compared with."""
    return next(loss for loss in BASELINES if any(row["loss"] == loss for row in rows))


def metric_of(rows: list[dict[str, str]]) -> str:
    """Returns what the score is called: that of a single label is its IoU."""
    return "IoU" if sum(column.startswith("iou ") for column in rows[0]) == 1 else "mIoU"


def difference(rows: list[dict[str, str]], loss: str, column: str = "test_miou", baseline: str = "") -> Difference:
    """Returns the paired difference of a loss to the baseline, or to another."""
    baseline = baseline or baseline_of(rows)
    return paired_difference(loss, baseline, scores(rows, loss, column), scores(rows, baseline, column))


def gain(rows: list[dict[str, str]], loss: str, column: str, of: str = "test_miou") -> Difference:
    """Returns what a decision adds to the argmax of a loss."""
    return paired_difference(loss, "argmax", scores(rows, loss, column), scores(rows, loss, of))


def losses_of(rows: list[dict[str, str]]) -> list[str]:
    """Returns the losses in the order of the study, the baseline first."""
    return list(dict.fromkeys([baseline_of(rows), *(row["loss"] for row in rows)]))


def losses_table(rows: list[dict[str, str]]) -> list[str]:
    """One line a loss: its rate, its scores, and the difference to the baseline, over all and large classes."""
    metric, baseline = metric_of(rows), baseline_of(rows)
    columns = ["loss", "learning rate", f"test {metric}, mean ± sd", f"− {baseline}, 95 % interval"]
    large = any(row["test_miou_large"] not in ("", row["test_miou"]) for row in rows)
    if large:
        columns.append(f"over classes of at least {LARGE_CLASS} test pixels")
    columns += [f"val {metric}", "loss's share of a step"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for loss in losses_of(rows):
        values, val = scores(rows, loss), scores(rows, loss, "val_miou")
        mine = [row for row in rows if row["loss"] == loss]
        gap = "" if loss == baseline else interval(difference(rows, loss))
        share = sorted(float(row["loss_share"]) for row in mine)[len(mine) // 2]
        cells = [f"`{loss}`", f"{float(mine[0]['lr']):g}", f"{mean(values):.1f} ± {spread(values) or 0:.1f}", gap]
        if large:
            some = mean(scores(rows, loss, "test_miou_large"))
            cells.append(f"{some:.1f}" if loss == baseline else interval(difference(rows, loss, "test_miou_large")))
        cells += [f"{mean(val):.1f}", f"{100 * share:.0f} %"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def classes_table(rows: list[dict[str, str]]) -> list[str]:
    """One line a class: its IoU with the baseline and the gain of every other loss, bold where it is sure."""
    baseline, *others = losses_of(rows)
    lines = [
        f"| class | `{baseline}` | " + " | ".join(f"`{loss}`" for loss in others) + " |",
        "|---|---|" + "---|" * len(others),
    ]
    for column in (name for name in rows[0] if name.startswith("iou ")):
        cells = []
        for loss in others:
            gap = difference(rows, loss, column)
            cells.append(f"**{signed(gap.mean)}**" if gap.decided else signed(gap.mean))
        lines.append(f"| {column[4:]} | {mean(scores(rows, baseline, column)):.1f} | " + " | ".join(cells) + " |")
    return lines


def decisions_table(rows: list[dict[str, str]], ceilings: list[dict[str, str]]) -> list[str]:
    """One line a loss: what each decision adds to the usual, and the loss to the baseline, both by that of val."""
    said = words.OF_CLASSES if metric_of(rows) == "mIoU" else words.OF_LABELS
    baseline, names = baseline_of(rows), list(said.decisions.values())
    columns = ["loss", *names]
    if ceilings:
        columns.append("ceiling")
    columns += [f"− {baseline}, both by {names[1]}", f"{names[0]} − {baseline} by {names[1]}"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for loss in losses_of(rows):
        usual = scores(rows, loss)
        gains = [gain(rows, loss, column) for column in DECIDED]
        if ceilings:
            gains.append(paired_difference(loss, "argmax", scores(ceilings, loss, "ceiling"), usual))
        ruled = paired_difference(loss, baseline, usual, scores(rows, baseline, DECIDED[0]))
        over = ["", ""] if loss == baseline else [interval(difference(rows, loss, DECIDED[0])), interval(ruled)]
        cells = [f"`{loss}`", f"{mean(usual):.1f}", *map(interval, gains), *over]
        lines.append("| " + " | ".join(cells) + " |")
        known = [row for row in ceilings if row["loss"] == loss and row.get("unweighted")]
        if known:
            off = scores(known, loss, "unweighted")
            gap = paired_difference(loss, baseline, off, scores(rows, baseline, DECIDED[0]))
            empty = [""] * (len(columns) - 3)
            cells = [f"`{loss}`, log weights taken off", f"{mean(off):.1f}", *empty, interval(gap)]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def measures_table(rows: list[dict[str, str]], measured: list[dict[str, str]]) -> list[str]:
    """One line a loss: its score by each measure, of the baseline; the differences to it of every other loss."""
    metric, baseline = metric_of(rows), baseline_of(rows)
    mean_of = "mean " if metric == "mIoU" else ""
    names = {
        "dice": "Dice",
        "tversky": f"Tversky({ALPHA:g}, {BETA:g})",
        "precision": "precision",
        "recall": "recall",
    }
    columns = ["loss", "learning rate", metric, *(f"{mean_of}{name}" for name in names.values())]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for loss in losses_of(rows):
        rate = next(row["lr"] for row in rows if row["loss"] == loss)
        found = [(rows, "test_miou"), *((measured, column) for column in names)]
        cells = [f"`{loss}`", f"{float(rate):g}"]
        for kept, column in found:
            if loss == baseline:
                cells.append(f"{mean(scores(kept, loss, column)):.1f}")
            else:
                cells.append(interval(difference(kept, loss, column)))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def thresholds_table(usual: list[dict[str, str]], moved: list[dict[str, str]]) -> list[str]:
    """One line a loss: Tversky at 0.5 and at the threshold of validation, and the other scores there."""
    names = (f"Tversky({ALPHA:g}, {BETA:g})", "IoU", "precision", "recall")
    baseline, columns = losses_of(usual)[0], ("tversky", "iou", "precision", "recall", "ceiling")
    head = [
        "loss",
        f"{names[0]} at 0.5",
        "threshold",
        f"{names[0]} there",
        f"− {baseline} there",
        *names[1:],
        "ceiling",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for loss in losses_of(usual):
        found = {column: f"{mean(scores(moved, loss, column)):.1f}" for column in columns}
        gap = "" if loss == baseline else interval(difference(moved, loss, "tversky"))
        threshold = mean(scores(moved, loss, "threshold")) / 100
        cells = [
            f"`{loss}`",
            f"{mean(scores(usual, loss, 'tversky')):.1f}",
            f"{threshold:.2f}",
            found["tversky"],
            gap,
        ]
        lines.append("| " + " | ".join([*cells, *(found[column] for column in columns[1:])]) + " |")
    return lines


def exact_table(rows: list[dict[str, str]]) -> list[str]:
    """Counting against sorting, with the same seeds."""
    lines = ["| | counting − sorting, 95 % interval |", "|---|---|"]
    for column, name in (("test_miou", "test mIoU"), ("val_miou", "val mIoU")):
        lines.append(f"| {name} | {interval(difference(rows, 'lovasz', column, 'lovasz-exact'))} |")
    return lines


def gradient_table(rows: list[dict[str, Any]]) -> list[str]:
    """One line a size."""
    lines = ["| pixels | published, float32 differences | counting | sorting, closed form |", "|---|---|---|---|"]
    for row in rows:
        errors = [float(row[f"{name}_error"]) for name in ("published", "counting", "sorting")]
        power = int(row["pixels"]).bit_length() - 1
        lines.append(f"| 2^{power} | {100 * errors[0]:.2g} % | {errors[1]:.1e} | {errors[2]:.1e} |")
    return lines


def interval(gap: Difference) -> str:
    """Returns a difference with its interval, bold where it leaves out 0."""
    if gap.low is None or gap.high is None:
        return signed(gap.mean)
    text = f"{signed(gap.mean)} ({signed(gap.low)} to {signed(gap.high)})"
    return f"**{text}**" if gap.decided else text


def mean(values: list[float]) -> float:
    """Returns the mean of the numbers among them."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else math.nan
