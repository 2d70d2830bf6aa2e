"""The losses that can be compared, by name: single ones, sums A+B, and A>B, one for each half of the steps."""

import itertools
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.study.data.parts import IGNORE_INDEX, MULTICLASS
from lovasz.study.train import label_terms, network, terms
from lovasz.study.train.known import HEADS, Known, Losses, Measure, Term
from lovasz.study.train.network import imported, interpolated, sides_of

# (logits (N, C, *), target, progress of the training from 0 to 1) -> loss.
NamedLoss = Callable[[Tensor, Tensor, float], Tensor]
# What else may be named, for any head.
OTHERS = "other sums A+B, other pairs A>B for one half of the steps each, or MODULE:FUNCTION for your own"


def offered(overlap: bool) -> str:
    """Say which losses there are for a head of classes, or of labels that may overlap."""
    return f"{', '.join(HEADS[overlap].names)}, {OTHERS}"


class _Part(NamedTuple):
    """A single loss as it was named; one that is known to no head is the user's own."""

    text: str
    known: Known | None
    numbers: tuple[float, ...]

    @property
    def what(self) -> str:
        """What it is, in words."""
        if self.known is None:
            return "the user's own"
        numbers = f" ({', '.join(f'{number:g}' for number in self.numbers)})" if self.numbers else ""
        return f"{self.known.what}{numbers}"

    @property
    def measure(self) -> Measure | None:
        """Of a Lovász loss its measure."""
        make = None if self.known is None else self.known.measure
        return None if make is None else make(*self.numbers)

    def built(self, pixels: Sequence[int]) -> Term:
        """Return the loss."""
        if self.known is None:
            own = imported("--loss", self.text)
            return lambda logits, target: own(interpolated(logits, sides_of(logits, target)), target)
        return self.known.build(pixels, *self.numbers)


def check_names(names: Sequence[str], task: str = "auto") -> None:
    """Check that every name is that of a loss, and that a user's own can be imported.

    Args:
        names: The names.
        task: "multiclass", "binary" or "multilabel"; "auto" where the data will tell: any is taken.

    Raises:
        ValueError: If a name is unknown, none is given, or what is imported is no function.
    """
    if not names:
        raise ValueError(f"at least one loss is needed; choose from {offered(task not in (MULTICLASS, 'auto'))}")
    for name in names:
        _check_name(name, task)
        for own in _own(name):
            imported("--loss", own)


def _check_name(name: str, task: str) -> None:
    """Check that the head of a task has the losses that a name names; "auto": one of the heads."""
    overlap = task not in (MULTICLASS, "auto")
    try:
        _parsed(name, overlap)
    except UnknownLossError as error:
        try:
            _parsed(name, not overlap)
        except ValueError:
            raise error from None
        if task != "auto":
            raise ValueError(
                f"--loss {name} is for {'one class a pixel' if overlap else 'a binary or multilabel task'}, "
                f"and the task is {task}; choose from {offered(overlap)}"
            ) from error


def check_own(names: Sequence[str], num_classes: int, dims: int, overlap: bool = False) -> None:
    """Call every loss of the user's own once, on something small with the data's classes, before any work is lost.

    Raises:
        ValueError: If it fails, or returns no loss.
    """
    sides = (8,) * dims
    for own in dict.fromkeys(itertools.chain(*map(_own, names))):
        logits = torch.zeros(2, num_classes, *sides).requires_grad_()
        labelled = (2, num_classes, *sides) if overlap else (2, *sides)
        target = (torch.arange(torch.Size(labelled).numel()) % (2 if overlap else num_classes)).view(labelled)
        target[0].select(-dims, 0).fill_(IGNORE_INDEX)
        shapes = f"logits {tuple(logits.shape)} and target {tuple(target.shape)}, void is {IGNORE_INDEX}"
        try:
            loss = imported("--loss", own)(logits, target)
        except Exception as error:  # a user's function raises what it likes
            raise ValueError(f"--loss {own} failed on {shapes}: {error}") from error
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
            raise ValueError(
                f"--loss {own} must return a scalar tensor that requires a gradient, got {_kind(loss)}"
            )


def describe(name: str, overlap: bool = False) -> str:
    """Return what a loss is, in words."""
    sums = [" + ".join(part.what for part in half) for half in _parsed(name, overlap)]
    return sums[0] if len(sums) == 1 else f"{sums[0]} for the first half of the steps, then {sums[1]}"


def code_of(name: str) -> str:
    """Return hashes of the files of a user's own losses in a name; empty if there are none."""
    return "-".join(network.code_of(own) for own in _own(name))


def named_loss(name: str, pixels: Sequence[int], overlap: bool = False) -> NamedLoss:
    """Build the loss of a name; every loss leaves out the pixels labelled ``IGNORE_INDEX``.

    Args:
        name: As `check_names` takes it.
        pixels: Training pixels of each class, (C,); ``weighted-ce`` weighs by their inverse.
        overlap: Whether labels may overlap: the head has a channel for each, decided by itself.

    Returns:
        A function of logits (N, C, *), target (N, *), or (N, C, *) where labels may overlap, and the share of the
        training that is done.

    Raises:
        ValueError: If the name is unknown.
    """
    halves = [_sum(half, pixels, HEADS[overlap]) for half in _parsed(name, overlap)]
    return lambda logits, target, progress: halves[0 if progress < 0.5 else -1](logits, target)


class UnknownLossError(ValueError):
    """A name is not that of a loss of the head."""


def _own(name: str) -> list[str]:
    """Return the losses of the user's own in a name, each once."""
    return list(dict.fromkeys(text for text in re.split("[+>]", name) if ":" in text))


def _sum(parts: Sequence[_Part], pixels: Sequence[int], losses: Losses) -> Term:
    """Build a sum; cross-entropy and a Lovász loss share their passes."""
    rest = list(parts)
    found: list[Term] = []
    plain = next((part for part in rest if part.known is losses.losses[losses.joined]), None)
    extension = next((part for part in rest if part.measure is not None), None)
    if plain is not None and extension is not None and extension.known is not None:
        rest.remove(plain)
        rest.remove(extension)
        form, measure = extension.known.form, extension.measure or "jaccard"
        found.append(
            partial(label_terms.bce_lovasz, form=form, measure=measure)
            if form
            else partial(terms.ce_lovasz, measure=measure)
        )
    found += [part.built(pixels) for part in rest]
    if len(found) == 1:
        return found[0]
    return lambda logits, target: torch.stack([one(logits, target) for one in found]).sum()


def _parsed(name: str, overlap: bool) -> list[list[_Part]]:
    """Return the sums of a name, one, or one for each half of the steps.

    Raises:
        ValueError: If it is no name of a loss of this head.
    """
    halves = name.split(">")
    if len(halves) > 2:
        raise ValueError(f"--loss {name}: expected at most one >, between the losses of the halves of the steps")
    return [[_part(text, name, overlap) for text in half.split("+")] for half in halves]


def _part(text: str, name: str, overlap: bool) -> _Part:
    if ":" in text:
        return _Part(text, None, ())
    found = re.fullmatch(r"([a-z-]+)(?:\(([0-9.,]+)\))?", text)
    known = HEADS[overlap].losses.get(found[1]) if found else None
    if found is None or known is None:
        where = "" if text == name else f" in {name!r}"
        raise UnknownLossError(f"unknown loss {text!r}{where}; choose from {offered(overlap)}")
    base, usual = found[1], known.numbers
    if found[2] is None:
        return _Part(text, known, usual)
    try:
        part = _Part(text, known, tuple(float(number) for number in found[2].split(",")))
        if len(part.numbers) != len(usual):
            example = f", as {base}({','.join(f'{number:g}' for number in usual)})" if usual else ""
            raise ValueError(f"expected {len(usual)} numbers{example}, got {len(part.numbers)}")
        _ = part.measure  # refuses what it does not take
    except ValueError as error:
        raise ValueError(f"--loss {text}: {error}") from error
    return part


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}{'' if value.requires_grad else ' without a gradient'}"
    return type(value).__name__
