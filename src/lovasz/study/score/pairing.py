"""Predictions and targets of two folders, matched by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lovasz.study.io.arrays import MOST_VALUES
from lovasz.study.io.names import names_in
from lovasz.study.io.text import printable

Kind = Literal["missing", "extra", "unreadable", "mismatched", "labels"]


@dataclass(frozen=True)
class Problem:
    """Why one name is left out of an evaluation.

    Attributes:
        name: The name, without suffix; like the message it is `printable`.
        kind: "missing" prediction, "extra" prediction without a target, "unreadable" file,
            "mismatched" shapes, or "labels" that are no class.
        message: What is wrong, with the file.
    """

    name: str
    kind: Kind
    message: str


@dataclass(frozen=True)
class Pairs:
    """Two folders whose files belong together by name: ``0001.png`` to ``0001.npy``.

    Attributes:
        predictions: The folder of predictions.
        targets: The folder of targets.
        files: Name, `printable`, file of the prediction and file of the target of each pair, in the order of names.
        problems: Names with a target but no prediction, then those with a prediction but no target.
        most: How many values of a file are read at most.
    """

    predictions: Path
    targets: Path
    files: list[tuple[str, str, str]]
    problems: list[Problem]
    most: int = MOST_VALUES

    def paths(self, index: int) -> tuple[Path, Path]:
        """Returns the paths of prediction and target of a pair."""
        _, prediction, target = self.files[index]
        return self.predictions / prediction, self.targets / target


def pair(predictions: Path, targets: Path, most: int = MOST_VALUES) -> Pairs:
    """Lists two folders and matches what they hold.

    Args:
        predictions: The folder of predictions.
        targets: The folder of targets.
        most: How many values of a file are read at most.

    Raises:
        UnreadableFileError: If a folder cannot be listed or two of its files share a name.
        ValueError: If the folders are the same one.
    """
    if predictions.exists() and targets.exists() and predictions.samefile(targets):
        raise ValueError(f"PREDICTIONS and TARGETS must be two folders, got {predictions} and {targets}")
    predicted, labelled = names_in(predictions), names_in(targets)
    missing = [
        Problem(
            name,
            "missing",
            f"{printable(targets / file)} has no prediction of that name in {printable(predictions)}",
        )
        for name, file in labelled.items()
        if name not in predicted
    ]
    extra = [
        Problem(
            name, "extra", f"{printable(predictions / file)} has no target of that name in {printable(targets)}"
        )
        for name, file in predicted.items()
        if name not in labelled
    ]
    files = [(name, predicted[name], file) for name, file in labelled.items() if name in predicted]
    return Pairs(predictions, targets, files, missing + extra, most)
