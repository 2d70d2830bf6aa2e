"""Missed, invented and other errors: by their definition, and told apart in a picture by more than hue."""

import base64
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from lovasz.study.io.palette import rgb
from lovasz.study.report.errors import (
    COLOURS,
    CORRECT,
    INVENTED,
    MISSED,
    OTHER,
    VOID,
    error_kinds,
    error_picture,
    regarded,
)

NAMES = ("sky", "road", "car")


@pytest.mark.parametrize(
    ("background", "labels", "name"), [(-1, {2}, "car"), (0, {1, 2}, "all but sky"), (1, {0, 2}, "all but road")]
)
def test_errors_are_of_all_but_the_background_or_of_one_class(background: int, labels: set[int], name: str) -> None:
    found = regarded(NAMES, background, 2)
    assert (found.labels, found.name) == (labels, name)


def test_of_two_classes_they_are_of_the_one_that_is_no_background() -> None:
    assert regarded(("nucleus", "background"), 1, 1).name == "nucleus"


@pytest.mark.parametrize("labels", [{2}, {1, 2}])
def test_each_pair_of_label_and_prediction_is_one_kind(labels: set[int]) -> None:
    target, prediction = np.divmod(np.arange(9), 3)
    void = np.arange(9) == 4
    kinds = error_kinds(prediction, target, void, frozenset(labels))
    for place, kind in enumerate(kinds.tolist()):
        label, predicted = target[place], prediction[place]
        if void[place]:
            expected = VOID
        elif label == predicted:
            expected = CORRECT
        elif label in labels and predicted not in labels:
            expected = MISSED
        elif predicted in labels and label not in labels:
            expected = INVENTED
        else:
            expected = OTHER
        assert kind == expected, (label, predicted)


def test_kinds_differ_in_lightness_and_invented_pixels_are_striped() -> None:
    def lightness(colour: tuple[int, ...]) -> float:
        share = (np.array(colour[:3]) / 255) ** 2.2
        return 116 * float(share @ (0.2126, 0.7152, 0.0722)) ** (1 / 3) - 16

    levels = [lightness(rgb(colour)) for colour in COLOURS[:VOID]]
    assert min(abs(one - other) for one, other in itertools.combinations(levels, 2)) > 12
    for kind in (CORRECT, MISSED, INVENTED, OTHER, VOID):
        source = error_picture(np.full((24, 24), kind))
        picture = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")
        assert len(picture.getcolors() or []) == (2 if kind in (INVENTED, VOID) else 1)
