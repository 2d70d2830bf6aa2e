"""Scores by other measures than IoU of the runs that a study kept: what some of its losses were trained for."""

import csv
import json
from pathlib import Path

import torch
from torch import Tensor

from lovasz import scores
from lovasz.study.data.iou import class_counts

#: Weights of false positives and false negatives of the Tversky index that the losses are given.
ALPHA, BETA = 0.3, 0.7
COLUMNS = ("dice", "tversky", "precision", "recall")


def write(folder: Path, results: Path) -> None:
    """Score the runs that were chosen, from the pixels by label and prediction that the comparison writes.

    Args:
        folder: That of the study's runs.
        results: Its kept results; the scores go beside them, to ``NAME-scores.csv``, as fractions of 1.
    """
    runs = json.loads((folder / "results.json").read_text(encoding="utf-8"))["runs"]
    with open(results.with_name(f"{results.stem}-scores.csv"), "w", newline="", encoding="utf-8") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["loss", "seed", *COLUMNS])
        for run in runs:
            found = means(torch.tensor(run["test_counts"]))
            rows.writerow([run["loss"], run["seed"], *(found[column] for column in COLUMNS)])


def means(confusion: Tensor) -> dict[str, float]:
    """Return the mean of each measure over the classes labelled or predicted anywhere, or over the labels.

    Precision is 0 for a class that is nowhere predicted, recall for one that is nowhere labelled.

    Args:
        confusion: Pixels by label and prediction: (C, C), or (L, 2, 2) where labels may overlap.
    """
    counts = class_counts(confusion)
    hit, labelled, predicted = counts.double().unbind(-1)
    known = labelled + predicted > 0
    found = {
        "dice": scores.dice(counts),
        "tversky": hit / (hit + ALPHA * (predicted - hit) + BETA * (labelled - hit)),
        "precision": hit / predicted.clamp_min(1),
        "recall": hit / labelled.clamp_min(1),
    }
    return {name: values[known].mean().item() for name, values in found.items()}
