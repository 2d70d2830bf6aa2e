"""The rounds of a training: where its state is kept, and after which of them it is validated."""

from dataclasses import dataclass

from lovasz.study.data.parts import VAL, Data
from lovasz.study.train.settings import Settings

# A training is cut into at most this many rounds: after each its state is kept, so that it can be resumed there.
ROUNDS = 20


@dataclass(frozen=True)
class Rounds:
    """How a training is cut up.

    Attributes:
        steps: Optimiser steps.
        validations: Validation passes that are asked for; at most one a round is done.
    """

    steps: int
    validations: int

    @property
    def number(self) -> int:
        """Number of rounds."""
        return min(ROUNDS, self.steps)

    def first_step(self, turn: int) -> int:
        """Return the first step of a round, counted from 0; that of the round after the last is ``steps``."""
        return turn * self.steps // self.number

    def validated(self, turn: int) -> bool:
        """Whether a validation follows a round: they are evenly spread, and one always follows the last."""
        passes = min(self.validations, self.number)
        return (turn + 1) * passes // self.number > turn * passes // self.number


def rounds_of(settings: Settings, validations: int | None, data: Data) -> Rounds:
    """Return the rounds of a training.

    Args:
        settings: The training.
        validations: Validation passes; None is one a round, or fewer where they would see more images than the
            training does, but at least the last.
        data: The data.
    """
    seen = settings.steps * settings.batch * settings.devices
    fitting = max(1, seen // len(data.parts[VAL].samples))
    return Rounds(settings.steps, fitting if validations is None else validations)
