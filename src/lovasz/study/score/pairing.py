"""Predictions and targets that belong together: by the names in two folders, or by a list."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lovasz.study.io.kinds import MOST_VALUES, SUFFIXES, suffix_of
from lovasz.study.io.lists import ListError, read_list
from lovasz.study.io.matching import match
from lovasz.study.io.names import listing, shown_name
from lovasz.study.io.passed import PassedOver
from lovasz.study.io.text import printable

Kind = Literal["missing", "extra", "passed over", "unreadable", "mismatched", "labels"]


@dataclass(frozen=True)
class Problem:
    """Why one name is left out of an evaluation.

    Attributes:
        name: The name, without suffix; like the message it is `printable`.
        kind: "missing" prediction, "extra" prediction without a target, "passed over" as a file of
            the pair is of a kind that is not read, "unreadable" file, "mismatched" shapes, or
            "labels" that are no class.
        message: What is wrong, with the file.
    """

    name: str
    kind: Kind
    message: str


@dataclass(frozen=True)
class Pairs:
    """Two folders whose files belong together by name, ``0001.png`` to ``0001.npy``, or by a list.

    Attributes:
        predictions: The folder of predictions.
        targets: The folder of targets.
        files: Name, `printable`, file of the prediction and file of the target of each pair, in the order of names,
            or of the list.
        problems: Names with a target but no prediction, then those with a prediction but no target,
            then those of which a file is of a kind that is not read.
        most: How many values of a file are read at most.
        rule: What was left out of the names to pair them, a sentence; empty for nothing.
        passed: What lies in the folder of predictions, and in that of targets, and is not read.
        by: The list, if the files belong together by one.
    """

    predictions: Path
    targets: Path
    files: list[tuple[str, str, str]]
    problems: list[Problem]
    most: int = MOST_VALUES
    rule: str = ""
    passed: tuple[PassedOver, PassedOver] = (PassedOver(), PassedOver())
    by: Path | None = None

    def paths(self, index: int) -> tuple[Path, Path]:
        """Return the paths of prediction and target of a pair."""
        _, prediction, target = self.files[index]
        return self.predictions / prediction, self.targets / target

    def told(self) -> list[str]:
        """Return how the names were paired and what was passed over, in sentences."""
        folders = zip((self.predictions, self.targets), self.passed, strict=True)
        return [said for said in (self.rule, *(passed.sentence(folder) for folder, passed in folders)) if said]


def pair(
    predictions: Path,
    targets: Path,
    most: int = MOST_VALUES,
    on_files: Callable[[int], None] = lambda number: None,
    kinds: Collection[str] = SUFFIXES,
) -> Pairs:
    """List two folders with their subfolders and match what they hold.

    Args:
        predictions: The folder of predictions.
        targets: The folder of targets.
        most: How many values of a file are read at most.
        on_files: Called now and then with the number of files found in one of them.
        kinds: Suffixes of predictions that are read.

    Raises:
        UnreadableFileError: If a folder cannot be listed or two of its files share a name.
        ValueError: If the folders are the same one, or a file could have two partners.
    """
    if predictions.exists() and targets.exists() and predictions.samefile(targets):
        raise ValueError(f"PREDICTIONS and TARGETS must be two folders, got {predictions} and {targets}")
    found = match(listing(predictions, on_files, targets, kinds), listing(targets, on_files, predictions))
    predicted, labelled = found.folders
    problems = [
        _alone(kind, here, files[name], there)
        for kind, here, files, names, there in (
            ("missing", targets, labelled.files, found.alone[1], predictions),
            ("extra", predictions, predicted.files, found.alone[0], targets),
        )
        for name in names
    ]
    problems += [
        Problem(name, "passed over", _unread(predictions / prediction, targets / target))
        for name, prediction, target in found.unread
    ]
    passed = predicted.passed, labelled.passed
    return Pairs(predictions, targets, found.pairs, problems, most, found.rule, passed)


def pair_list(file: Path, most: int = MOST_VALUES, kinds: Collection[str] = SUFFIXES) -> Pairs:
    """Pair the files of a list: CSV with the columns prediction, target and perhaps name.

    Args:
        file: The list. Paths are relative to it; without a name the path of the target is the name.
        most: How many values of a file are read at most.
        kinds: Suffixes of predictions that are read.

    Returns:
        The pairs; names of which a file is not there, or of a kind that is not read, are problems.

    Raises:
        ValueError: If the list cannot be read, or a name or a pair is in it twice.
    """
    folder, files, problems = file.parent, list[tuple[str, str, str]](), list[Problem]()
    lines: dict[object, str] = {}
    for line, row in read_list(file, ("prediction", "target"), ("name",)):
        prediction, target = row["prediction"], row["target"]
        if not prediction or not target:
            raise ListError(f"{line}: a prediction and a target are needed")
        name = printable(row["name"]) if row["name"] else shown_name(target)
        for key, what in ((name, f"the name {name}"), ((prediction, target), "this pair")):
            if lines.setdefault(key, line) != line:
                hint = "; a column name tells the two apart" if key == name else ""
                raise ListError(f"{line}: {what} is also in {lines[key].rpartition(', ')[2]}{hint}")
        problem = _absent(line, name, folder / prediction, folder / target, kinds)
        if problem:
            problems.append(problem)
        else:
            files.append((name, prediction, target))
    return Pairs(folder, folder, files, problems, most, by=file)


def _alone(kind: str, here: Path, file: str, there: Path) -> Problem:
    lacks = "prediction" if kind == "missing" else "target"
    message = f"{printable(here / file)} has no {lacks} of that name in {printable(there)}"
    return Problem(shown_name(file), "missing" if kind == "missing" else "extra", message)


def _absent(line: str, name: str, prediction: Path, target: Path, kinds: Collection[str]) -> Problem | None:
    if not prediction.exists():
        return Problem(name, "missing", f"{line}: there is no file {printable(prediction)}")
    if not target.exists():
        return Problem(name, "extra", f"{line}: there is no file {printable(target)}")
    if suffix_of(prediction.name) not in kinds or suffix_of(target.name) not in SUFFIXES:
        return Problem(name, "passed over", f"{line}: {_unread(prediction, target)}")
    return None


def _unread(prediction: Path, target: Path) -> str:
    """Say which file of a pair is of a kind that is not read."""
    path, partner = (prediction, target) if suffix_of(prediction.name) not in SUFFIXES else (target, prediction)
    kind = suffix_of(path.name) or "no suffix"
    return (
        f"{printable(path)} is of a kind that is not read ({kind}), and belongs to {printable(partner)}; "
        "save it as a PNG, TIFF, NumPy or NIfTI file"
    )
