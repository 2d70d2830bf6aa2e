"""From scores to labels: the usual rule, a threshold, that of a data set, and that of each image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lovasz.decisions import DatasetDecision, image_decision
from lovasz.study.io.score_files import logit

#: What `--decide` knows.
RULES = ("usual", "dataset", "image")


@dataclass(frozen=True)
class Fitted:
    """What a rule was chosen on.

    Attributes:
        images: Number of images.
        where: Their folders, `printable`; empty for the images that are evaluated.
    """

    images: int
    where: str = ""


@dataclass(frozen=True)
class Decision:
    """How scores become labels.

    Attributes:
        rule: "usual", "threshold", "dataset" or "image".
        channels: Channels of the scores; 1: those of class 1, of two.
        threshold: Of one channel: class 1 has a higher probability. The rule "image" has another in each image.
        reached: Whether class 1 has this probability, too, as in the curves that fitted thresholds are taken from.
        module: The rule of a data set for several channels.
        fitted: What a threshold, or the rule of a data set, was chosen on; None where nothing was chosen.
    """

    rule: str
    channels: int
    threshold: float = 0.5
    reached: bool = False
    module: DatasetDecision | None = None
    fitted: Fitted | None = None

    @property
    def form(self) -> str:
        """Return how the scores become probabilities."""
        return "sigmoid" if self.channels == 1 else "softmax"

    def labels(self, logits: Tensor) -> NDArray[np.integer[Any]]:
        """Return the labels (P,) of logits (1, channels, P, 1)."""
        if self.rule == "image":
            found = image_decision(logits, form=self.form)
        elif self.channels == 1:
            # Read and threshold go through the same function, so that a probability is above it or not.
            threshold = float(logit(np.array(self.threshold)))
            found = logits >= threshold if self.reached else logits > threshold
        else:
            found = logits.max(1).indices if self.module is None else self.module(logits)
        return found.flatten().numpy().astype(np.uint8 if self.channels <= 256 else np.int32)
