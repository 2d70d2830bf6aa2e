"""The losses that can be compared, by name: single ones, sums A+B, and A>B, one for each half of the steps."""

import itertools
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.measures import FBeta, Tversky
from lovasz.study.data.parts import IGNORE_INDEX
from lovasz.study.train import network, terms
from lovasz.study.train.network import imported, interpolated

# (logits (N, C, *), target (N, *)) -> loss; the target may be finer.
Term = Callable[[Tensor, Tensor], Tensor]
# The same with the progress of the training, from 0 to 1.
NamedLoss = Callable[[Tensor, Tensor, float], Tensor]


class _Known(NamedTuple):
    """A single loss.

    Attributes:
        what: What it is, in words.
        build: Makes it, of the training pixels of each class and its numbers.
        numbers: Those in parentheses, if none are given.
        measure: Of a Lovász loss, makes its measure of its numbers.
    """

    what: str
    build: Callable[..., Term]
    numbers: tuple[float, ...] = ()
    measure: Callable[..., str | Tversky | FBeta] | None = None


def _extension(what: str, measure: Callable[..., str | Tversky | FBeta], numbers: tuple[float, ...] = ()) -> _Known:
    return _Known(what, lambda _, *given: partial(terms.lovasz, measure=measure(*given)), numbers, measure)


KNOWN = {
    "ce": _Known("cross-entropy", lambda _: terms.cross_entropy),
    "weighted-ce": _Known(
        "cross-entropy, each class weighted by 1 / its number of training pixels",
        lambda pixels: partial(terms.cross_entropy, weight=terms.inverse_frequency(pixels)),
    ),
    "focal": _Known("focal loss (MONAI)", lambda _, gamma: partial(terms.focal, gamma=gamma), (2.0,)),
    "dice": _Known("soft Dice loss (MONAI)", lambda _: terms.dice),
    "tversky": _Known(
        "soft Tversky loss (MONAI)",
        lambda _, alpha, beta: partial(terms.tversky, alpha=alpha, beta=beta),
        (0.3, 0.7),
    ),
    "jml": _Known("Jaccard metric loss", lambda _: terms.jaccard_metric),
    "lovasz": _extension("Lovász-Softmax loss", lambda: "jaccard"),
    "lovasz-dice": _extension("Lovász extension of 1 - Dice", lambda: "dice"),
    "lovasz-tversky": _extension("Lovász extension of 1 - Tversky index", Tversky, (0.3, 0.7)),
    "lovasz-fbeta": _extension("Lovász extension of 1 - F score", FBeta, (2.0,)),
    "lovasz-exact": _Known(
        "Lovász-Softmax loss by sorting (bins=None), to compare with counting", lambda _: terms.lovasz_exact
    ),
}
# What is offered: of sums and pairs those that are usual.
NAMES = (*KNOWN, "ce+dice", "ce+jml", "ce+lovasz", "ce>lovasz")
OFFERED = (
    f"{', '.join(NAMES)}, other sums A+B, other pairs A>B for one half of the steps each, or "
    "MODULE:FUNCTION for your own"
)


class _Part(NamedTuple):
    """A single loss as it was named."""

    text: str
    name: str
    numbers: tuple[float, ...]

    @property
    def own(self) -> bool:
        return ":" in self.text

    @property
    def what(self) -> str:
        """What it is, in words."""
        if self.own:
            return "the user's own"
        numbers = f" ({', '.join(f'{number:g}' for number in self.numbers)})" if self.numbers else ""
        return f"{KNOWN[self.name].what}{numbers}"

    @property
    def measure(self) -> str | Tversky | FBeta | None:
        """Of a Lovász loss its measure."""
        make = None if self.own else KNOWN[self.name].measure
        return None if make is None else make(*self.numbers)

    def built(self, pixels: Sequence[int]) -> Term:
        """Return the loss."""
        if self.own:
            own = imported("--loss", self.text)
            return lambda logits, target: own(interpolated(logits, target.shape[1:]), target)
        return KNOWN[self.name].build(pixels, *self.numbers)


def check_names(names: Sequence[str]) -> None:
    """Check that every name is that of a loss, and that a user's own can be imported.

    Raises:
        ValueError: If a name is unknown, none is given, or what is imported is no function.
    """
    if not names:
        raise ValueError(f"at least one loss is needed; choose from {OFFERED}")
    for name in names:
        for own in _own(name):
            imported("--loss", own)


def check_own(names: Sequence[str], num_classes: int, dims: int) -> None:
    """Call every loss of the user's own once, on something small with the data's classes, before any work is lost.

    Raises:
        ValueError: If it fails, or returns no loss.
    """
    sides = (8,) * dims
    for own in dict.fromkeys(itertools.chain(*map(_own, names))):
        logits = torch.zeros(2, num_classes, *sides).requires_grad_()
        target = (torch.arange(2 * 8**dims) % num_classes).view(2, *sides)
        target[0, 0] = IGNORE_INDEX
        shapes = f"logits {tuple(logits.shape)} and target {tuple(target.shape)}, void is {IGNORE_INDEX}"
        try:
            loss = imported("--loss", own)(logits, target)
        except Exception as error:  # a user's function raises what it likes
            raise ValueError(f"--loss {own} failed on {shapes}: {error}") from error
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
            raise ValueError(
                f"--loss {own} must return a scalar tensor that requires a gradient, got {_kind(loss)}"
            )


def describe(name: str) -> str:
    """Return what a loss is, in words."""
    sums = [" + ".join(part.what for part in half) for half in _parsed(name)]
    return sums[0] if len(sums) == 1 else f"{sums[0]} for the first half of the steps, then {sums[1]}"


def code_of(name: str) -> str:
    """Return hashes of the files of a user's own losses in a name; empty if there are none."""
    return "-".join(network.code_of(own) for own in _own(name))


def named_loss(name: str, pixels: Sequence[int]) -> NamedLoss:
    """Build the loss of a name; every loss leaves out the pixels labelled ``IGNORE_INDEX``.

    Args:
        name: As `check_names` takes it.
        pixels: Training pixels of each class, (C,); ``weighted-ce`` weighs by their inverse.

    Returns:
        A function of logits (N, C, *), target (N, *) and the share of the training that is done.

    Raises:
        ValueError: If the name is unknown.
    """
    halves = [_sum(half, pixels) for half in _parsed(name)]
    return lambda logits, target, progress: halves[0 if progress < 0.5 else -1](logits, target)


def _own(name: str) -> list[str]:
    """Return the losses of the user's own in a name, each once."""
    return list(dict.fromkeys(part.text for half in _parsed(name) for part in half if part.own))


def _sum(parts: Sequence[_Part], pixels: Sequence[int]) -> Term:
    """Build a sum; cross-entropy and a Lovász loss share their passes."""
    rest = list(parts)
    found: list[Term] = []
    plain = next((part for part in rest if part.name == "ce"), None)
    extension = next((part for part in rest if part.measure is not None), None)
    measure = None if extension is None else extension.measure
    if plain is not None and extension is not None and measure is not None:
        rest.remove(plain)
        rest.remove(extension)
        found.append(partial(terms.ce_lovasz, measure=measure))
    found += [part.built(pixels) for part in rest]
    if len(found) == 1:
        return found[0]
    return lambda logits, target: torch.stack([one(logits, target) for one in found]).sum()


def _parsed(name: str) -> list[list[_Part]]:
    """Return the sums of a name, one, or one for each half of the steps.

    Raises:
        ValueError: If it is no name of a loss.
    """
    halves = name.split(">")
    if len(halves) > 2:
        raise ValueError(f"--loss {name}: expected at most one >, between the losses of the halves of the steps")
    return [[_part(text, name) for text in half.split("+")] for half in halves]


def _part(text: str, name: str) -> _Part:
    if ":" in text:
        return _Part(text, "", ())
    found = re.fullmatch(r"([a-z-]+)(?:\(([0-9.,]+)\))?", text)
    if found is None or found[1] not in KNOWN:
        where = "" if text == name else f" in {name!r}"
        raise ValueError(f"unknown loss {text!r}{where}; choose from {OFFERED}")
    base, usual = found[1], KNOWN[found[1]].numbers
    if found[2] is None:
        return _Part(text, base, usual)
    try:
        part = _Part(text, base, tuple(float(number) for number in found[2].split(",")))
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
