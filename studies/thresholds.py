"""What a threshold makes of the Tversky index, beside training for it: that of validation, on the test part.

It moves where labels may overlap, or there is one: recall for precision, of any network.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from lovasz import scores
from lovasz.cli.session import load
from lovasz.decisions import DatasetDecision
from lovasz.measures import Tversky
from lovasz.study.data.iou import class_counts
from lovasz.study.data.parts import IGNORE_INDEX, TEST, VAL, Data
from lovasz.study.train import store
from lovasz.study.train.config_file import make_config
from lovasz.study.train.predict import logits_of
from studies import ceiling
from studies.measures import ALPHA, BETA, COLUMNS, means

Images = list[tuple[Tensor, Tensor]]


def write(folder: Path, results: Path) -> None:
    """Decide the test images of the runs that were chosen by the threshold that validation has for Tversky.

    Args:
        folder: That of the study's runs, with their weights.
        results: Its kept results; the scores go beside them, to ``NAME-thresholds.csv``, as fractions of 1.
    """
    config = make_config({}, folder / "config.yaml", True)
    data = load(Console(quiet=True), config, folder)
    with open(results, newline="", encoding="utf-8") as text:
        wanted = {(row["loss"], int(row["seed"]), float(row["lr"])) for row in csv.DictReader(text)}
    with open(results.with_name(f"{results.stem}-thresholds.csv"), "w", newline="", encoding="utf-8") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["loss", "seed", "threshold", "iou", *COLUMNS, "ceiling"])
        for run, place in ceiling.runs(folder):
            settings = run.settings
            if (settings.loss, settings.seed, settings.lr) not in wanted:
                continue
            built = ceiling.trained(settings.network, data, place / store.LAST)
            fitted, tested = (_images(built, data, part, config.crop) for part in (VAL, TEST))
            rule, confusion = decided(fitted, tested)
            found = means(confusion)
            iou = float(scores.iou(class_counts(confusion)).nanmean())
            rows.writerow([settings.loss, settings.seed, float(rule.threshold.mean()), iou,
                           *(found[column] for column in COLUMNS), highest(tested)])  # fmt: skip
            print(f"{settings.loss}, seed {settings.seed}: Tversky {100 * found['tversky']:.2f}", flush=True)


def decided(fitted: Images, tested: Images) -> tuple[DatasetDecision, Tensor]:
    """Return the rule that images ask for, and of others the pixels by label and decision: (L, 2, 2).

    Args:
        fitted: Logits (1, L, *) and masks (1, L, *) of 0 and 1 of each image.
        tested: Likewise, of the images that are decided.
    """
    labels = fitted[0][0].shape[1]
    rule = DatasetDecision(labels, form="sigmoid", measure=Tversky(ALPHA, BETA), ignore_index=IGNORE_INDEX)
    rule.fit(fitted)
    confusion = torch.zeros(labels, 4, dtype=torch.int64)
    for logits, target in tested:
        for label, (masks, decisions) in enumerate(zip(target[0], rule(logits)[0], strict=True)):
            counts = masks != IGNORE_INDEX
            confusion[label] += torch.bincount(2 * masks[counts].long() + decisions[counts].long(), minlength=4)
    return rule, confusion.view(labels, 2, 2)


def highest(tested: Images) -> float:
    """Return the mean over labels of the Tversky index at its best threshold, which no rule may look for here."""
    best = []
    for label in range(tested[0][0].shape[1]):
        logits, masks = (torch.cat([one[i][:, label].flatten() for one in tested]) for i in range(2))
        counts = masks != IGNORE_INDEX
        best.append(ceiling.best_score(logits[counts], masks[counts].long(), Tversky(ALPHA, BETA)))
    return sum(best) / len(best)


@torch.inference_mode()
def _images(built: torch.nn.Module, data: Data, part: str, crop: tuple[int, ...] | None) -> Images:
    """Return the logits and masks of each image of a part."""

    def every() -> Iterator[tuple[Tensor, Tensor]]:
        samples = data.parts[part].samples
        for index in range(len(samples)):
            image, target = samples[index]
            yield logits_of(built, image[None], crop).float(), target[None]

    return list(every())
