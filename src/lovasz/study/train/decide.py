"""Decisions besides the usual one: rules fitted on validation and training images, and one for each image."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from lovasz.decisions import DatasetDecision, Fit, image_decision
from lovasz.study.data.parts import IGNORE_INDEX, TRAIN, VAL, Data, Samples
from lovasz.study.train.network import interpolated, outputs_for_training, resolution, sides_of
from lovasz.study.train.predict import Decide, kept_indices, logits_of

VAL_RULE, TRAIN_RULE, IMAGE = DECISIONS = ("val_rule", "train_rule", "image_decision")
# The form of a decision, by whether labels may overlap.
FORMS = {False: "softmax", True: "sigmoid"}
# Bytes of logits and targets that are kept between the passes of a fit; further ones are predicted again in each.
MEMORY = 2**30


@dataclass(frozen=True)
class FittedRule(Fit):
    """A rule for a data set, ``argmax_c factor_c (p_c - threshold_c)``, ``p = softmax(x + bias)``, and its fit.

    Where labels may overlap, ``sigmoid(x_c) > threshold_c`` of each.

    Attributes:
        factor: One a class, (C,).
        threshold: One a class, (C,).
        bias: One a class, (C,); empty where labels may overlap, and in runs from before rules had one.
    """

    factor: list[float]
    threshold: list[float]
    bias: list[float] = field(default_factory=list)


class NotFiniteError(ValueError):
    """A logit is not finite, as of a network that diverged: no rule can be fitted."""


class Logits:
    """The logits of images (1, C, *) with their targets, as the losses take them, image by image.

    They can be gone through again and again; the first of them are kept in memory, up to `MEMORY`.

    Raises:
        NotFiniteError: If a logit is not finite.
    """

    def __init__(
        self, network: nn.Module, samples: Samples, indices: Sequence[int], crop: Sequence[int] | None
    ) -> None:
        self.network, self.samples, self.indices, self.crop = network, samples, indices, crop
        self.device, self.free = next(network.parameters()).device, MEMORY
        self.kept: list[tuple[Tensor, Tensor]] = []
        logits, target = self._predicted(indices[0])
        self.upsample = resolution(logits, sides_of(logits, target))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each image's."""
        for place, index in enumerate(self.indices):
            if place < len(self.kept):
                logits, target = self.kept[place]
                yield logits.to(self.device), target.to(self.device)
                continue
            logits, target = self._predicted(index)
            if self.upsample is None:
                logits = interpolated(logits, sides_of(logits, target))
            self.free -= logits.nbytes + target.nbytes
            if self.free >= 0:  # never again once one did not fit: those kept are the first
                self.kept.append((logits.cpu(), target.cpu()))
            yield logits, target

    @torch.no_grad()
    def _predicted(self, index: int) -> tuple[Tensor, Tensor]:
        image, target = self.samples[index]
        logits, target = image[None].to(self.device), target[None].to(self.device)
        if self.crop is not None and len(self.crop) == 3:  # windows are blended at the size of the image
            logits = logits_of(self.network, logits, self.crop)
        else:
            (logits, *_), target = outputs_for_training(self.network, logits, target)
        logits = logits.float()
        if not logits.isfinite().all():
            raise NotFiniteError
        return logits, target


def fitted_rules(network: nn.Module, data: Data, crop: Sequence[int] | None) -> dict[str, FittedRule]:
    """Fit a rule on the validation images, and one on training images as they are: 200 at most, evenly spread.

    Args:
        network: In evaluation mode, on its device.
        data: The data.
        crop: Size of the windows of a volume, or None.

    Returns:
        By decision; without one whose images hold no labelled pixel, or a logit that is not finite.
    """
    found = {}
    for name, part in ((VAL_RULE, VAL), (TRAIN_RULE, TRAIN)):
        samples = data.parts[part].samples
        indices = kept_indices(len(samples)) if part == TRAIN else range(len(samples))
        if any(bool((samples[index][1] != IGNORE_INDEX).any()) for index in indices):
            with contextlib.suppress(NotFiniteError):
                found[name] = _fitted(Logits(network, samples, indices, crop), data.num_classes, data.overlap)
    return found


def decisions(rules: Mapping[str, FittedRule], device: torch.device, overlap: bool = False) -> dict[str, Decide]:
    """Return the decisions besides the usual one by name: those of rules, and that for each image."""
    found: dict[str, Decide] = {}
    for name, rule in rules.items():
        decision = DatasetDecision(len(rule.factor), form=FORMS[overlap])
        numbers = {"factor": rule.factor, "threshold": rule.threshold, "bias": rule.bias}
        decision.load_state_dict({key: torch.tensor(one) for key, one in numbers.items() if one})
        found[name] = decision.to(device)
    return found | {IMAGE: partial(image_decision, form=FORMS[overlap], channels=True if overlap else None)}


def _fitted(batches: Logits, num_classes: int, overlap: bool) -> FittedRule:
    decision = DatasetDecision(
        num_classes, form=FORMS[overlap], ignore_index=IGNORE_INDEX, upsample=batches.upsample
    )
    found = decision.fit(batches)
    numbers = {name: one.tolist() for name, one in decision.named_buffers()}
    return FittedRule(**{**vars(found), **numbers})
