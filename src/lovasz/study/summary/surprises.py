"""What of an evaluation would surprise a reader of its numbers, in sentences."""

from collections.abc import Sequence

from lovasz.study.io.classes import numbered
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.scores import Scores

# Classes that a sentence names.
NAMED = 8


def surprises(evaluation: Evaluation, scores: Scores) -> list[str]:
    """Return a sentence on the classes that are ignored, on those nobody labelled, and on those only predicted.

    Args:
        evaluation: What was counted.
        scores: Its scores.
    """
    classes = range(evaluation.num_classes)
    predicted = evaluation.confusion.sum(0).tolist()
    ignored = [label for label in classes if label in evaluation.ignored]
    unlabelled = [label for label in classes if label not in ignored and not scores.classes[label].pixels]
    alarms = [label for label in unlabelled if predicted[label]]
    nowhere = [label for label in unlabelled if not predicted[label]]
    mean = f"the mean is over {_number(scores.averaged)}"
    found = []
    if nowhere:
        found.append(
            f"No target holds {_classes(evaluation, nowhere)}, nor is it predicted where a pixel counts: no IoU, "
            f"and {mean}."
        )
    if alarms:
        pixels = sum(predicted[label] for label in alarms)
        found.append(
            f"No target holds {_classes(evaluation, alarms)}, but {pixels:,} pixel{'' if pixels == 1 else 's'} are "
            "predicted so: IoU 0, which counts in the mean."
        )
    if ignored:
        found.append(
            f"The ignored {_classes(evaluation, ignored)} has no score, and {mean}; what is predicted so where "
            "another class is labelled is an error there."
        )
    return found


def foreground(evaluation: Evaluation, scores: Scores) -> str:
    """Name the class that the mean over the foreground leaves out, and how large it is."""
    name, one = evaluation.names[scores.background], scores.classes[scores.background]
    plain = evaluation.names == numbered(evaluation.num_classes).names
    share = one.pixels / scores.pixels if scores.pixels else 0
    return f"{'class ' if plain else ''}{name} ({100 * share:.0f} % of the pixels)"


def _classes(evaluation: Evaluation, labels: Sequence[int]) -> str:
    """Name a few classes, "class 1" or "class 3 (car)"; of many the first."""
    plain = evaluation.names == numbered(evaluation.num_classes).names
    named = [str(label) if plain else f"{label} ({evaluation.names[label]})" for label in labels[:NAMED]]
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return f"class{'' if len(labels) == 1 else 'es'} {', '.join(named)}{more}"


def _number(classes: int) -> str:
    return "no class" if not classes else f"{classes} class{'' if classes == 1 else 'es'}"
