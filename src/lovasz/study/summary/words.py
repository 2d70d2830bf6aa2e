"""What scores, decisions and classes are called, which differs between tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lovasz.study.data.parts import Data
from lovasz.study.train.decide import IMAGE, TRAIN_RULE, VAL_RULE

# The decision of every network, unless another is fitted: the argmax; where labels may overlap p > 1/2.
ARGMAX = "argmax"


@dataclass(frozen=True)
class Words:
    """The words of a task.

    Attributes:
        metric: The score over all classes: "mIoU", of a single label "IoU".
        one: What one of these is called: "class" or "label".
        several: The same of several.
        usual: The usual decision, after "on" or "by".
        rule: The decision that is fitted on validation, after "Decided".
        decisions: What tables call each decision, the usual one first.
    """

    metric: str
    one: str
    several: str
    usual: str
    rule: str
    decisions: Mapping[str, str]

    def of(self, number: int) -> str:
        """Say so many of them: "1 class", "3 labels"."""
        return f"{number} {self.one if number == 1 else self.several}"


OF_CLASSES = Words(
    "mIoU",
    "class",
    "classes",
    "argmax",
    "by the rule fitted on validation",
    {ARGMAX: "argmax", VAL_RULE: "rule (val)", TRAIN_RULE: "rule (train)", IMAGE: "per image"},
)
OF_LABELS = Words(
    "mIoU",
    "label",
    "labels",
    "p > 0.5",
    "at the threshold chosen on validation",
    {ARGMAX: "p > 0.5", VAL_RULE: "threshold (val)", TRAIN_RULE: "threshold (train)", IMAGE: "per image"},
)


def words_of(data: Data) -> Words:
    """Return the words of the task that data have."""
    if not data.overlap:
        return OF_CLASSES
    rule = OF_LABELS.rule if data.num_classes == 1 else "at the thresholds chosen on validation"
    return replace(OF_LABELS, metric=data.metric, rule=rule)
