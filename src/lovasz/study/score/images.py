"""One image of an evaluation: prediction and target as labels, or why there are none."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lovasz.study.io.advice import scores_hint, unread_scores
from lovasz.study.io.kinds import TooLargeError, UnreadableFileError, suffix
from lovasz.study.io.labelling import Labelling
from lovasz.study.io.labels import Labels
from lovasz.study.io.masks import Mask, UnknownLabelsError, fits, open_mask
from lovasz.study.io.score_files import MisfitError, ScoreFile, open_scores
from lovasz.study.io.text import printable
from lovasz.study.io.volumes import check_same_place
from lovasz.study.score.pairing import Pairs, Problem


@dataclass(frozen=True)
class ScorePair:
    """Scores with their target.

    Attributes:
        logits: (1, channels, P, 1), float32.
        target: The true labels.
        mask: The file of the target, once it is read.
        scores: The file of the scores, once it is read.
    """

    logits: Tensor
    target: Labels
    mask: Mask
    scores: ScoreFile

    @property
    def labels(self) -> Tensor:
        """Return the true labels as the losses and decisions take them: (1, P, 1), for one channel (1, 1, P, 1)."""
        kind = np.uint8 if self.target.dtype == np.uint8 else np.int64
        flat = torch.from_numpy(self.target.reshape(-1).astype(kind))[None, :, None]
        return flat[None] if self.logits.shape[1] == 1 else flat


@dataclass(frozen=True)
class Image:
    """An image that was read.

    Attributes:
        prediction: Its labels, in the shape of the target.
        target: The true labels.
        masks: The files of prediction, None for scores, and target.
        scores: The scores, if the prediction is some.
    """

    prediction: Labels
    target: Labels
    masks: tuple[Mask | None, Mask]
    scores: ScorePair | None = None


def read_masks(pairs: Pairs, image: int, labellings: tuple[Labelling, Labelling]) -> Image | Problem:
    """Read a prediction that is a mask, and its target."""
    name, paths = pairs.files[image][0], pairs.paths(image)
    first, second = labellings
    try:
        with (
            open_mask(paths[0], pairs.most, first) as predicted,
            open_mask(paths[1], pairs.most, second) as labelled,
        ):
            mismatch = _mismatch(predicted, labelled)
            if mismatch:
                return Problem(name, "mismatched", mismatch)
            try:
                # A picture, a stack or a NIfTI volume has one label of each pixel, and so has what fits on it.
                prediction = predicted.read(one_label=suffix(paths[1]) != ".npy")
            except UnreadableFileError as error:
                raise type(error)(error.path, error.reason + unread_scores(predicted)) from error
            target = labelled.read()
    except UnreadableFileError as error:
        return _unread(name, error)
    if prediction.shape != target.shape:  # by an axis of length 1
        prediction = prediction.reshape(target.shape)
    return Image(prediction, target, (predicted, labelled))


def read_scores(pairs: Pairs, image: int, kind: str, channels: int, labelling: Labelling) -> ScorePair | Problem:
    """Read scores and their target.

    Args:
        pairs: What belongs together.
        image: Which of them.
        kind: What the scores are, one of `lovasz.study.io.score_files.KINDS`.
        channels: How many they have.
        labelling: How what targets store becomes labels, with the number of classes.
    """
    name, paths = pairs.files[image][0], pairs.paths(image)
    try:
        with (
            open_scores(paths[0], pairs.most, kind) as scores,
            open_mask(paths[1], pairs.most, labelling) as labelled,
        ):
            found, last = scores.layout(labelling.num_classes, labelled.shape, paths[1])
            if found != channels:
                alone = "the scores of class 1 alone", "the scores of both classes"
                first, second = alone if found == 1 else alone[::-1]
                raise MisfitError(paths[0], f"holds {first}; expected {second}, as in the files before")
            check_same_place(*paths)
            logits = scores.logits(channels, last, labelled.shape)
            target = labelled.read()
    except UnreadableFileError as error:
        return _unread(name, error)
    if not logits.flags.writeable or min(logits.strides) < 0:
        logits = logits.copy()
    return ScorePair(torch.from_numpy(logits)[None, :, :, None], target, labelled, scores)


def find_channels(pairs: Pairs, kind: str, labelling: Labelling) -> int:
    """Return how many channels the scores have, of two classes by the headers of the first files that fit."""
    number = labelling.num_classes
    for image in range(len(pairs.files) if number == 2 else 0):
        paths = pairs.paths(image)
        try:
            with open_scores(paths[0], pairs.most, kind) as scores, open_mask(paths[1], pairs.most) as labelled:
                return scores.layout(number, labelled.shape, paths[1])[0]
        except UnreadableFileError:  # which is told when it is read
            continue
    return number


def _unread(name: str, error: UnreadableFileError) -> Problem:
    if isinstance(error, TooLargeError):
        return Problem(name, "unreadable", f"{error}, or read it with --max-values {error.values}")
    if isinstance(error, MisfitError):
        return Problem(name, "mismatched", str(error))
    return Problem(name, "labels" if isinstance(error, UnknownLabelsError) else "unreadable", str(error))


def _mismatch(predicted: Mask, labelled: Mask) -> str:
    """Say why two masks do not fit on each other, before any pixel is decoded; empty if they do."""
    prediction, target = predicted.path, labelled.path
    if not fits(prediction, predicted.shape, labelled.shape) and not fits(target, labelled.shape, predicted.shape):
        hint = scores_hint(predicted, labelled.shape)
        return (
            f"{printable(prediction)} has the shape {predicted.shape}, {printable(target)} {labelled.shape}{hint}"
        )
    try:
        check_same_place(prediction, target)
    except UnreadableFileError as error:
        return str(error)
    return ""
