"""What a threshold makes of the Tversky index, beside training for it: that of validation, on the test part.

It moves where labels may overlap, or there is one: recall for precision, of any network.
"""

import csv
from pathlib import Path

from torch import Tensor

from lovasz import scores
from lovasz.decisions import DatasetDecision
from lovasz.measures import Tversky
from lovasz.study.data.iou import class_counts, label_confusion
from lovasz.study.data.parts import IGNORE_INDEX, TEST, VAL
from studies.ceiling import Images, chosen, label_ceiling, pixels
from studies.measures import ALPHA, BETA, COLUMNS, means

MEASURE = Tversky(ALPHA, BETA)


def write(folder: Path, results: Path) -> None:
    """Decide the test images of the runs that were chosen by the threshold that validation has for Tversky.

    Args:
        folder: That of the study's runs, with their weights.
        results: Its kept results; the scores go beside them, to ``NAME-thresholds.csv``, as fractions of 1.
    """
    trained = chosen(folder, results)
    with open(results.with_name(f"{results.stem}-thresholds.csv"), "w", newline="", encoding="utf-8") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["loss", "seed", "threshold", "iou", *COLUMNS, "ceiling"])
        for run, _, images in trained:
            tested = images(TEST)
            rule, confusion = decided(images(VAL), tested)
            found = means(confusion)
            iou = float(scores.iou(class_counts(confusion)).nanmean())
            rows.writerow([run.settings.loss, run.settings.seed, float(rule.threshold.mean()), iou,
                           *(found[column] for column in COLUMNS), highest(tested)])  # fmt: skip
            print(
                f"{run.settings.loss}, seed {run.settings.seed}: Tversky {100 * found['tversky']:.2f}", flush=True
            )


def decided(fitted: Images, tested: Images) -> tuple[DatasetDecision, Tensor]:
    """Return the rule that images ask for, and of others the pixels by label and decision: (L, 2, 2).

    Args:
        fitted: Logits (1, L, *) and masks (1, L, *) of 0 and 1 of each image.
        tested: Likewise, of the images that are decided.
    """
    rule = DatasetDecision(fitted[0][0].shape[1], form="sigmoid", measure=MEASURE, ignore_index=IGNORE_INDEX)
    rule.fit(fitted)
    first, *others = (label_confusion(rule(logits), target) for logits, target in tested)
    return rule, sum(others, first)


def highest(tested: Images) -> float:
    """Return the mean over labels of the Tversky index at its best threshold, which no rule may look for here."""
    return label_ceiling(pixels(tested, True), MEASURE)
