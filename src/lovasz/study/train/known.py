"""The single losses that can be named: what each is, and how it is made, for each kind of head."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor

from lovasz.measures import FBeta, Tversky
from lovasz.study.train import label_terms, terms

# (logits (N, C, *), target (N, *) or (N, C, *)) -> loss; the target may be finer.
Term = Callable[[Tensor, Tensor], Tensor]
Measure = str | Tversky | FBeta


class Known(NamedTuple):
    """A single loss.

    Attributes:
        what: What it is, in words.
        build: Makes it, of the training pixels of each class and its numbers.
        numbers: Those in parentheses, if none are given.
        measure: Of a Lovász loss, makes its measure of its numbers.
        form: Of a Lovász loss of labels, "sigmoid" or "hinge".
    """

    what: str
    build: Callable[..., Term]
    numbers: tuple[float, ...] = ()
    measure: Callable[..., Measure] | None = None
    form: str = ""


class Losses(NamedTuple):
    """The losses of one kind of head.

    Attributes:
        losses: By name.
        joined: The name of the loss that shares its passes with a Lovász loss.
        usual: Sums and pairs that are usual.
    """

    losses: Mapping[str, Known]
    joined: str
    usual: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What is offered: of sums and pairs those that are usual."""
        return (*self.losses, *self.usual)


def _extension(what: str, measure: Callable[..., Measure], numbers: tuple[float, ...] = ()) -> Known:
    return Known(what, lambda _, *given: partial(terms.lovasz, measure=measure(*given)), numbers, measure)


def _of_labels(
    what: str, measure: Callable[..., Measure], numbers: tuple[float, ...] = (), form: str = "sigmoid"
) -> Known:
    def build(_: Sequence[int], *given: float) -> Term:
        return partial(label_terms.lovasz, form=form, measure=measure(*given))

    return Known(what, build, numbers, measure, form)


OF_CLASSES = Losses(
    {
        "ce": Known("cross-entropy", lambda _: terms.cross_entropy),
        "weighted-ce": Known(
            "cross-entropy, each class weighted by 1 / its number of training pixels",
            lambda pixels: partial(terms.cross_entropy, weight=terms.inverse_frequency(pixels)),
        ),
        "focal": Known("focal loss (MONAI)", lambda _, gamma: partial(terms.focal, gamma=gamma), (2.0,)),
        "dice": Known("soft Dice loss (MONAI)", lambda _: terms.dice),
        "tversky": Known(
            "soft Tversky loss (MONAI)",
            lambda _, alpha, beta: partial(terms.tversky, alpha=alpha, beta=beta),
            (0.3, 0.7),
        ),
        "jml": Known("Jaccard metric loss", lambda _: terms.jaccard_metric),
        "lovasz": _extension("Lovász-Softmax loss", lambda: "jaccard"),
        "lovasz-dice": _extension("Lovász extension of 1 - Dice", lambda: "dice"),
        "lovasz-tversky": _extension("Lovász extension of 1 - Tversky index", Tversky, (0.3, 0.7)),
        "lovasz-fbeta": _extension("Lovász extension of 1 - F score", FBeta, (2.0,)),
        "lovasz-exact": Known(
            "Lovász-Softmax loss by sorting (bins=None), to compare with counting", lambda _: terms.lovasz_exact
        ),
    },
    "ce",
    ("ce+dice", "ce+jml", "ce+lovasz", "ce>lovasz"),
)
OF_LABELS = Losses(
    {
        "bce": Known("binary cross-entropy", lambda _: label_terms.binary_cross_entropy),
        "focal": Known(
            "focal loss of the sigmoid (MONAI)", lambda _, gamma: partial(label_terms.focal, gamma=gamma), (2.0,)
        ),
        "dice": Known("soft Dice loss of the sigmoid (MONAI)", lambda _: label_terms.dice),
        "tversky": Known(
            "soft Tversky loss of the sigmoid (MONAI)",
            lambda _, alpha, beta: partial(label_terms.tversky, alpha=alpha, beta=beta),
            (0.3, 0.7),
        ),
        "jml": Known("Jaccard metric loss of the sigmoid", lambda _: label_terms.jaccard_metric),
        "sigmoid": _of_labels("Lovász-sigmoid loss", lambda: "jaccard"),
        "hinge": _of_labels("Lovász hinge", lambda: "jaccard", form="hinge"),
        "lovasz-dice": _of_labels("Lovász extension of 1 - Dice, of the sigmoid", lambda: "dice"),
        "lovasz-tversky": _of_labels("Lovász extension of 1 - Tversky index, of the sigmoid", Tversky, (0.3, 0.7)),
        "lovasz-fbeta": _of_labels("Lovász extension of 1 - F score, of the sigmoid", FBeta, (2.0,)),
    },
    "bce",
    ("bce+dice", "bce+jml", "bce+sigmoid", "bce+hinge", "bce>sigmoid"),
)
# By whether labels may overlap.
HEADS = {False: OF_CLASSES, True: OF_LABELS}
