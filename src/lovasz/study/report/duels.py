"""The images on which two predictions differ most, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lovasz.study.report.errors import Regarded
from lovasz.study.report.gallery import Map, maps_of, regarded_in
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.summary.rivals import Contest, Rival
from lovasz.study.summary.stats import signed

# Images that are shown of each comparison, and bytes of the pictures of all.
SHOWN = 6
BUDGET = 1_200_000


@dataclass(frozen=True)
class Duel:
    """An image with the predictions of both.

    Attributes:
        name: Its name.
        said: By how much its mIoU differs.
        note: What must be said about the pictures.
        maps: The pictures.
    """

    name: str
    said: str
    note: str
    maps: list[Map]


def duels(
    evaluation: Evaluation, contest: Contest, colours: Sequence[str], photos: dict[str, Path], background: int
) -> list[Duel]:
    """Draw the images on which each of the others differs most from the baseline, as many as there is room for.

    Args:
        evaluation: What was counted of the baseline.
        contest: The comparison.
        colours: A colour for each class.
        photos: Photos by name.
        background: The class that is no thing; -1 for none.
    """
    found: list[Duel] = []
    size = 0
    for rival in contest.rivals:
        gaps = np.nan_to_num(abs(rival.image_differences))
        for image in np.argsort(-gaps, kind="stable")[:SHOWN].tolist():
            if not gaps[image]:
                break
            about = regarded_in(evaluation, image, background)
            duel = _duel(evaluation, contest.baseline, rival, image, colours, photos, about)
            size += sum(len(drawn.source) for drawn in duel.maps)
            if size > BUDGET:
                return found
            found.append(duel)
    return found


def _duel(
    evaluation: Evaluation,
    baseline: str,
    rival: Rival,
    image: int,
    colours: Sequence[str],
    photos: dict[str, Path],
    about: Regarded,
) -> Duel:
    name = evaluation.pairs.files[image][0]
    maps, note = maps_of(evaluation, image, colours, photos.get(name), about)
    others, other_note = maps_of(rival.evaluation, int(rival.places[image]), colours, None, about)
    said = f"{rival.name} − {baseline}: {signed(100 * rival.image_differences[image])} points"
    drawn = [_called(one, baseline) for one in maps] + [
        _called(one, rival.name) for one in others if one.what != "truth"
    ]
    return Duel(name, said, note or other_note, drawn)


def _called(drawn: Map, name: str) -> Map:
    """Return a picture of a prediction, or of its errors, with the name of the prediction."""
    return drawn if drawn.what in ("photo", "truth") else replace(drawn, what=f"{name}: {drawn.what}")
