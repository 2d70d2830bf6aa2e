"""Labels that are decided each by itself: where the masks of an image hold them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lovasz.study.data.parts import BINARY, IGNORE_INDEX, MULTILABEL
from lovasz.study.io.classes import Classes
from lovasz.study.io.text import printable

# What masks of 0 and 1 hold where no file names it.
USUAL = Classes(("background", "foreground"), None)
# Where labels are: sets of the classes of one mask; a mask for each; the channels of one; the bits of its values.
CLASSES, FILES, CHANNELS, BITS = "classes", "files", "channels", "bits"
# Values of masks are labels below 2^31, as everywhere.
MOST_BITS = 31


@dataclass(frozen=True)
class Regions:
    """The labels of a binary or multilabel task.

    Attributes:
        task: "binary" or "multilabel".
        names: One name a label.
        source: Where they are: "classes", "files", "channels" or "bits".
        members: Of "classes" those of each label.
        colours: One a label, or None.
    """

    task: str
    names: tuple[str, ...]
    source: str
    members: tuple[tuple[int, ...], ...] = ()
    colours: tuple[str, ...] | None = None

    def masks(self, labels: Tensor) -> Tensor:
        """Return a mask of 0 and 1 for each label, (L, *) int64; ``IGNORE_INDEX`` stays.

        Args:
            labels: What is stored, (*), of labels in files or channels (L, *); ``IGNORE_INDEX`` where void.

        Example:
            >>> cells = Regions("binary", ("cell",), "classes", ((1, 2),))
            >>> cells.masks(torch.tensor([0, 1, 2, -100])).tolist()
            [[0, 1, 1, -100]]
            >>> two = Regions("multilabel", ("cell", "nucleus"), "bits")
            >>> two.masks(torch.tensor([0, 1, 3, -100])).tolist()
            [[0, 1, 1, -100], [0, 0, 1, -100]]
        """
        if self.source == CLASSES:
            found = torch.stack([torch.isin(labels, torch.tensor(members)) for members in self.members]).long()
        elif self.source == BITS:
            found = torch.stack([labels.clamp(min=0) >> bit & 1 for bit in range(len(self.names))])
        else:
            return labels
        return found.masked_fill(labels == IGNORE_INDEX, IGNORE_INDEX)

    def note(self, classes: Classes) -> str:
        """Say what the labels are, in a sentence.

        Args:
            classes: What masks hold.
        """
        if self.task == BINARY:
            (members,) = self.members
            others = [name for label, name in enumerate(classes.names) if label not in members]
            return f"The foreground is {self.names[0]}, all else ({', '.join(others)}) background."
        where = {
            CLASSES: "each is made of classes of one mask",
            FILES: "each is a mask in a folder of its name",
            CHANNELS: "each is a channel of the masks",
            BITS: "each is a bit of the values of masks, the lowest first",
        }[self.source]
        return f"The labels may overlap: {where}."


def foreground(classes: Classes, wanted: str | None) -> Regions:
    """Return the one label of a binary task.

    Args:
        classes: What the masks hold.
        wanted: The name of the foreground or its number; None for the second of two classes.

    Raises:
        ValueError: If there are other than two and none is named, or there is no such class.
    """
    names = classes.names
    if wanted is None:
        if len(names) != 2:
            raise ValueError(
                f"--task binary needs --foreground CLASS, one of {', '.join(map(printable, names))}; the others "
                "are background"
            )
        label = 1
    elif wanted in names:
        label = names.index(wanted)
    elif wanted.isascii() and wanted.isdigit() and int(wanted) < len(names):
        label = int(wanted)
    else:
        raise ValueError(
            f"--foreground must be a class, {', '.join(map(printable, names))}, or its number, got {wanted!r}"
        )
    colours = None if classes.colours is None else (classes.colours[label],)
    return Regions(BINARY, (names[label],), CLASSES, ((label,),), colours)


def overlapping(classes: Classes, source: str) -> Regions:
    """Return the labels of a multilabel task whose masks have one for each of these, or one bit.

    Raises:
        ValueError: If there are more labels than bits.
    """
    if source == BITS and len(classes.names) > MOST_BITS:
        raise ValueError(f"--map bits takes {MOST_BITS} labels at most, got {len(classes.names)}")
    return Regions(MULTILABEL, classes.names, source, colours=classes.colours)
