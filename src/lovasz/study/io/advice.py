"""Hints for masks whose labels are no class: only such as give the right result when they are followed."""

from lovasz.study.io.kinds import suffix
from lovasz.study.io.labelling import Labelling
from lovasz.study.io.labels import Labels, occurring
from lovasz.study.io.masks import Mask

# A mask with more values that are no class was smoothed, or numbers its classes in another way.
FEW = 3
# A longer map is not written out.
WRITTEN = 20
SAY = "or say what they are: --scores logits or --scores probabilities"


def advice(mask: Labels, labelling: Labelling, in_target: bool) -> str:
    """Return what may help with a mask that holds labels that are neither a class nor ignored; empty for nothing.

    Args:
        mask: Its labels.
        labelling: How it was read, with the number of classes.
        in_target: Whether it is the truth; a prediction may not hold void.
    """
    num_classes = labelling.num_classes
    values = [value for value in occurring(mask) if value not in labelling.ignored]
    unknown = [value for value in values if not 0 <= value < num_classes]
    if labelling.label_map is not None:
        hint = f". These are labels after {labelling.label_map.name}"
        if not in_target and labelling.void in occurring(mask) and labelling.void in labelling.ignored:
            hint += f", of which {labelling.void} is void: a prediction holds a class wherever a pixel counts"
        if not in_target:
            hint += "; predictions that hold class indices already: --map-predictions none"
        return hint
    if not unknown:
        return ""
    if len(unknown) > FEW:
        return (
            f". With {len(unknown)} values that are no class it is no label mask of {_classes(num_classes)}: made "
            "smaller or smoothed it must be made again with nearest neighbour; other numbers of classes need --map"
        )
    if num_classes == 1 and set(values) <= {0, 1}:
        return ". The background is a class as well: --num-classes 2"
    if num_classes <= 2 and set(values) <= {0, 255}:
        number = "--num-classes 2 " if num_classes == 1 else ""
        return f". If 255 is the foreground: {number}--map 255:1"
    if unknown == [num_classes] and values[0] == 1:
        pairs = ",".join(f"{label + 1}:{label}" for label in range(num_classes))
        if num_classes == 150:
            return ". If labels count from 1, as ADE20K's do: --map ade20k"
        return (
            f". If labels count from 1: --map {pairs}"
            if num_classes <= WRITTEN
            else ". If labels count from 1: --map"
        )
    if not in_target:
        return ""
    means = "it means" if len(unknown) == 1 else "they mean"
    return f". If {means} void: {' '.join(f'--ignore {value}' for value in unknown)}"


def scores_hint(predicted: Mask, target: tuple[int, ...]) -> str:
    """Return a hint where a prediction holds scores of each class and not the class; else nothing."""
    shape = predicted.shape
    if suffix(predicted.path) != ".npy" or len(shape) != len(target) + 1:
        return ""
    axis = 0 if shape[1:] == target else len(shape) - 1
    if shape[axis] < 2 or predicted.stored.dtype.kind != "f":
        return "; expected one class index of each pixel"
    return f"; expected class indices: of scores take the argmax over the classes, axis {axis}, {SAY}"


def unread_scores(predicted: Mask) -> str:
    """Return a hint for a prediction that could not be read as a mask and may hold scores; else nothing."""
    return f"; of scores {SAY[3:]}" if predicted.stored.dtype.kind == "f" else ""


def _classes(number: int) -> str:
    return f"{number} class{'' if number == 1 else 'es'}"
