"""The report's maps: truth, predictions and errors as small images inside the page."""

import base64
import io

import numpy as np
from numpy.typing import NDArray

from lovasz.study.scene import Scene
from lovasz.study.split import TEST, VOID

# Sixteen classes are more than any palette can keep apart for every eye: hues are spread over
# light and dark so that greys differ as well, and the errors have a map of their own.
PALETTE = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6",
    "#a3d900", "#ff8fa3", "#008080", "#b48bff", "#9a6324", "#1d6b1d", "#800000", "#7c87a5",
)  # fmt: skip
# Neither is a colour of the first two losses.
RIGHT, WRONG, OTHER = "#a5cf7a", "#b5076b", "#808080"
# Opacity of labelled pixels outside the test part.
FAINT = 0.16


def class_map(scene: Scene, classes: NDArray[np.integer]) -> str:
    """Draws a class for every labelled pixel, test pixels in full, the others faint.

    Args:
        scene: Says which pixels are labelled and which are tested.
        classes: Class of each pixel, (H, W); what it holds at unlabelled pixels is not shown.

    Returns:
        A PNG as a data URI; unlabelled pixels are transparent.
    """
    palette = np.array([_rgb(colour) for colour in PALETTE])
    return _draw(scene, palette[np.maximum(classes, 0) % len(palette)])


def error_map(scene: Scene, prediction: NDArray[np.integer]) -> str:
    """Draws which test pixels are right and which are wrong; other labelled pixels are grey.

    Args:
        scene: Says which pixels are labelled, tested, and what they are.
        prediction: Class of each pixel, (H, W).

    Returns:
        A PNG as a data URI.
    """
    wrong = (prediction != scene.target.numpy())[..., None]
    colours = np.where(wrong, _rgb(WRONG), _rgb(RIGHT))
    tested = (scene.split == TEST)[..., None]
    return _draw(scene, np.where(tested, colours, _rgb(OTHER)))


def _draw(scene: Scene, colours: NDArray[np.float64]) -> str:
    from matplotlib import image

    alpha = np.select([scene.split == TEST, scene.split != VOID], [1.0, FAINT], 0.0)
    png = io.BytesIO()
    image.imsave(png, np.concatenate([colours, alpha[..., None]], axis=-1), format="png")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def _rgb(colour: str) -> list[float]:
    return [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
