"""How the rule of a `DatasetDecision` is found: passes over the images, folds of them, and shrinkage.

First the probabilities are put right as a whole: a bias of the logits, of the highest likelihood of the labels. The
multiclass rule then depends on the counts that it makes itself. So each pass decides all images by the rules at
hand, averages the counts with those before (the method of Frank and Wolfe; Narasimhan et al., ICML 2015) and takes
the next rules from them. Beside the rule of all images there is one for each fold, fitted without it. How far the
first is trusted is what the others earn on the folds that they have not seen: between the rule, 1, and the argmax
or the threshold 1/2, 0, the factors go geometrically and the thresholds evenly; the bias is taken or not.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._inputs import arguments, labels, layouts
from ._kernels import operators
from ._kernels.contract import Pixels
from ._math import binning, decision, interpolation, thresholds
from ._math.tally import tally
from .curves import ThresholdCurve
from .measures import Tversky

FOLDS = 5
#: In which the bias is found, and then the rule.
BIAS_PASSES = 3
PASSES = 10
#: How far the fitted rule is followed, of which one is chosen.
SHRINKAGE = (0.0, 0.25, 0.5, 0.75, 1.0)
#: The factor of a class that the measure leaves out, of the largest: it takes what gains nothing as another.
LEFT_OUT = 1e-6

Batches = Iterable[Sequence[Tensor]]
Progress = Callable[[int, int], None] | None


class Rule(NamedTuple):
    """One affine rule for each class: that of the largest factor * (p - threshold), p the softmax with a bias."""

    factor: Tensor
    threshold: Tensor
    bias: Tensor

    @classmethod
    def stacked(cls, rules: Sequence["Rule"]) -> "Rule":
        """Return rules as one, whose tensors have an axis more, the first."""
        return cls(*map(torch.stack, zip(*rules, strict=True)))

    def of(self, place: Any) -> "Rule":
        """Return the rules at a place of stacked ones."""
        return Rule(*(one[place] for one in self))

    def shrunk(self, trust: float, neutral: float) -> "Rule":
        """Return the rule between the neutral one (factors 1, thresholds `neutral`) at 0 and this one at 1."""
        return Rule(self.factor**trust, neutral + trust * (self.threshold - neutral), self.bias)


@dataclass(frozen=True)
class Fit:
    """What a fit has found; scores are means over the classes, as the metrics and `lovasz evaluate` make them.

    Attributes:
        images: number of images.
        trust: how far factors and thresholds go, from 0, the usual ones, to 1, as they were fitted.
        usual: score of the argmax, or of the threshold 1/2.
        fitted: score of the rule on the same images.
        held_out: score of rules fitted without the images that they decide; NaN for a single image.
    """

    images: int
    trust: float
    usual: float
    fitted: float
    held_out: float


@dataclass(frozen=True)
class Task:
    """What is fitted, as the arguments of `DatasetDecision` say."""

    num_classes: int
    form: str
    measure: Tversky
    counted: Tensor  # bool (C,), classes of the measure
    ignore_index: list[int]
    upsample: str | None
    align_corners: bool
    group: Any

    def score(self, counts: Tensor) -> Tensor:
        """Return the mean over the classes, float64 (...), of counts (..., C, 3)."""
        score, _ = decision.measured(counts, self.measure)
        return torch.where(self.counted, score, torch.nan).nanmean(-1)

    def rule(self, counts: Tensor, bias: Tensor) -> Rule:
        """Return the rule that counts (C, 3) ask for, of probabilities with a bias (C,)."""
        factor, threshold = decision.rule(counts, self.measure)
        judged = self.counted & (counts[:, 1] > 0)
        if not judged.any():  # a fold may hold all pixels of the classes that count
            return Rule(torch.ones_like(factor), torch.zeros_like(threshold), bias)
        # Of a class without a labelled pixel nothing is known: it is favoured no more than any other.
        factor = torch.where(judged, factor, factor[judged].min())
        threshold = torch.where(judged, threshold, torch.where(self.counted, threshold[judged].max(), 0.0))
        factor = torch.where(self.counted, factor, LEFT_OUT * factor[judged].max())
        return Rule(factor / factor[judged].log().mean().exp(), threshold, bias)

    def summed(self, counts: Tensor) -> Tensor:
        """Return integer counts summed over the processes."""
        if self.group is None:
            return counts
        name = ", ".join(str(c) for c in self.counted.nonzero()[:, 0].tolist())
        kind = arguments.kind(self.form, self.num_classes, 0, self.measure, name)
        return torch.ops.lovasz.all_reduce(counts, self.group.group_name, kind)

    def views(self, batches: Batches) -> Iterator[layouts.View]:
        """Return the one view of the pixels of each batch."""
        for batch in batches:
            if not isinstance(batch, (tuple, list)) or not 2 <= len(batch) <= 3:
                got = f"{len(batch)} values" if isinstance(batch, (tuple, list)) else type(batch).__name__
                raise TypeError(f"batches must hold (logits, target) or (logits, target, mask), got {got}")
            logits, target, mask = (*batch, None)[:3]
            channels = layouts.known_channels(logits, self.num_classes, self.form)
            view = layouts.view(logits, target, mask, self.form, self.upsample, self.align_corners, channels)
            if view.logits.shape[1] != self.num_classes:
                what = f"{self.num_classes} classes" if self.form == "softmax" else f"{self.num_classes} channels"
                raise ValueError(f"logits must have {what}, got {view.logits.shape[1]} in {tuple(logits.shape)}")
            yield view


def fit(task: Task, batches: Batches, progress: Progress) -> tuple[Rule, Fit]:
    """Fit the rule, and say what it is worth."""
    return (_multiclass if task.form == "softmax" else _channels)(
        task, batches, progress or (lambda done, of: None)
    )


def _multiclass(task: Task, batches: Batches, progress: Callable[[int, int], None]) -> tuple[Rule, Fit]:
    """Fit one rule for the largest gain: passes for the bias, the argmax first; for the rule; the folds last."""
    passes = BIAS_PASSES + PASSES + 2
    zeros = torch.zeros(task.num_classes, dtype=torch.float64, device="cpu")
    usual = Rule(torch.ones_like(zeros), zeros, zeros)
    first, sums = _passed(task, batches, [[usual]], None, with_sums=True)
    images, folds = len(first), _folds(len(first))
    labelled = first[:, 0, :, 1]
    total = int(task.summed(torch.tensor([images], device="cpu"))[0])
    several = 1 if total < 2 else FOLDS + 1  # the last fits all images, the others all but a fold
    rows = torch.arange(several, device="cpu")[:, None] != folds
    rows[-1] = True

    def of_rows(found: Tensor) -> Tensor:
        """Sum integers (n, R, C, m) of each rule over its images: (R, C, m)."""
        found = found.expand(-1, several, -1, -1)
        return task.summed(torch.einsum("rn,nrcx->rcx", rows.long(), found))

    counts = of_rows(first)
    if not (counts[-1, task.counted, 1] > 0).any():
        raise ValueError("batches must hold a pixel that counts, of a class that counts, got none")
    scores, best = task.score(counts), [usual] * several

    def again(rules: list[Rule], with_sums: bool) -> tuple[Tensor, Tensor]:
        """Return what rules, one a row, make of their images in another pass; the best of each row is kept."""
        counts, sums = (of_rows(one) for one in _again(task, batches, labelled, [rules], None, with_sums))
        for at, score in enumerate(task.score(counts)):
            if score > scores[at]:
                scores[at], best[at] = score, rules[at]
        return counts, sums

    bias, sums = zeros.expand(several, -1), of_rows(sums)
    for step in range(1, BIAS_PASSES + 1):
        progress(step, passes)
        bias = decision.likelier(bias, counts[..., 1], sums)
        rules = [usual._replace(bias=one) for one in bias]
        counts, sums = again(rules, with_sums=step < BIAS_PASSES)
    average = counts.double()
    for step in range(PASSES):
        progress(BIAS_PASSES + 1 + step, passes)
        counts, _ = again([task.rule(*one) for one in zip(average, bias, strict=True)], with_sums=False)
        average += (counts - average) * (2 / (step + 3))
    progress(passes - 1, passes)

    trusts = (0.0, *SHRINKAGE)
    *held, tried = [[usual, *(rule.shrunk(trust, 0.0) for trust in SHRINKAGE)] for rule in best]
    groups = [[*of_fold, *tried] for of_fold in held] or [tried]
    counts, _ = _again(task, batches, labelled, groups, folds if held else None)
    progress(passes, passes)
    found = task.score(task.summed(counts.sum(0))).unflatten(0, (-1, len(tried)))
    return _chosen(tried, trusts, found[0] if held else None, found[-1], total)


def _chosen(
    rules: list[Rule], trusts: Sequence[float], held_out: Tensor | None, fitted: Tensor, images: int
) -> tuple[Rule, Fit]:
    """Take the rule that is best where it was not fitted, of those no worse than the usual where it was."""
    judged = fitted if held_out is None else held_out
    place = int(torch.where(fitted >= fitted[0], judged, -torch.inf).argmax())
    held = torch.nan if held_out is None else held_out[place].item()
    return rules[place], Fit(images, trusts[place], fitted[0].item(), fitted[place].item(), held)


def _folds(images: int) -> Tensor:
    """Return the fold of each image: neighbours, often alike, are in one."""
    return torch.arange(images, device="cpu") * FOLDS // max(images, 1)


def _again(
    task: Task,
    batches: Batches,
    labelled: Tensor,
    groups: list[list[Rule]],
    group_of: Tensor | None,
    with_sums: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return what `_passed` does of another pass, which must be over the same images in the same order."""
    counts, sums = _passed(task, batches, groups, group_of, with_sums)
    if counts.shape[0] != labelled.shape[0] or (counts[:, 0, :, 1] != labelled).any():
        raise ValueError(
            "batches must hold the same images in the same order in every pass, got others: of a loader, "
            "shuffle=False and no random augmentation"
        )
    return counts, sums


def _passed(
    task: Task, batches: Batches, groups: list[list[Rule]], group_of: Tensor | None, with_sums: bool
) -> tuple[Tensor, Tensor]:
    """Return the counts that rules make in one pass, int64 (n, R, C, 3), and the sums of their probabilities.

    Args:
        task: What is fitted.
        batches: The images.
        groups: The R rules of each group of images.
        group_of: The group of each image, (n,); None where there is one.
        with_sums: Whether there are sums, `decision.moments`, (n, R, C, 2); else they are 0.
    """
    of_group = Rule.stacked([Rule.stacked(rules) for rules in groups])
    nothing = (0, len(groups[0]), task.num_classes)
    counts, sums = ([torch.zeros(*nothing, last, dtype=torch.int64, device="cpu")] for last in (3, 2))
    seen = 0
    for view in task.views(batches):
        truth = labels.canonical_target(view.target, view.mask, task.ignore_index, task.num_classes)
        group = torch.zeros(len(truth), dtype=torch.int64, device="cpu")
        if group_of is not None:
            if len(group_of) < seen + len(truth):  # more images than before, which is told in the end
                group_of = torch.cat((group_of, group))
            group = group_of[seen : seen + len(truth)]
        for found, one in zip((counts, sums), _decided(view, truth, of_group.of(group), with_sums), strict=True):
            found.append(one)
        seen += len(truth)
    return torch.cat(counts), torch.cat(sums)


def _decided(view: layouts.View, truth: Tensor, rules: Rule, with_sums: bool) -> tuple[Tensor, Tensor]:
    """Return the counts of a batch, int64 (N, R, C, 3), by rules (N, R, C), and the sums, (N, R, C, 2)."""
    images, number, classes = rules.factor.shape
    axes = interpolation.axes(view.logits, view.target, view.interpolation) if view.interpolation else None
    ones = (1,) * (truth.ndim - 1)
    first = torch.arange(images, device=truth.device).view(-1, *ones) * classes
    counts = torch.zeros(number, images * classes * 2, dtype=torch.int64, device=truth.device)
    sums = torch.zeros(images, number, classes, 2, dtype=torch.int64, device="cpu")
    for (some, part), p in decision.probabilities(view.logits, "softmax", axes):
        label = truth[some, part]
        if not bool((p.isfinite().all(1) | (label < 0)).all()):
            raise ValueError("logits must be finite where a pixel counts, or -inf in some classes, got NaN or inf")
        for r in range(number):
            rule = rules.of((some, r))
            w, t, b = (one.to(p).view(-1, classes, *ones) for one in rule)
            q = decision.biased(p, b) if rule.bias.any() else p
            chosen = decision.largest_gain(q, w, t)
            counts[r] += tally((first[some] + chosen) * 2 + (chosen == label), label >= 0, counts.shape[1])
            if with_sums:
                sums[some, r] += decision.moments(q, label >= 0).cpu()
    table = counts.cpu().view(number, images, classes, 2)
    labelled = tally(first + truth, truth >= 0, images * classes).view(images, classes).cpu()
    return torch.stack((table[..., 1], labelled.expand(number, -1, -1), table.sum(-1)), -1).movedim(0, 1), sums


def _channels(task: Task, batches: Batches, progress: Callable[[int, int], None]) -> tuple[Rule, Fit]:
    """Fit the threshold of each channel, from the counts of one pass."""
    blocks: list[Tensor] = []
    held, size, images = 0, 1, 0  # images in the last block, and in each block before
    bins = binning.default_bins(task.num_classes, "sigmoid")
    for view in task.views(batches):
        pixels = Pixels(view.logits, view.target, view.mask, task.ignore_index, "sigmoid", view.interpolation)
        for table in operators.count(pixels, bins, True).table.cpu():
            if not blocks or held == size:
                if len(blocks) == 2 * FOLDS:
                    blocks, size = [a + b for a, b in zip(blocks[::2], blocks[1::2], strict=True)], 2 * size
                blocks.append(torch.zeros_like(table))
                held = 0
            blocks[-1] += table
            held, images = held + 1, images + 1
    none = torch.zeros(task.num_classes, 2, bins + 1, dtype=torch.int64, device="cpu")
    total = task.summed(sum(blocks, none))
    number = int(task.summed(torch.tensor([images], device="cpu"))[0])
    if total[..., -1].any():
        raise ValueError("logits must be finite where a pixel counts, got NaN or inf")
    if not total[task.counted].any():
        raise ValueError("batches must hold a pixel that counts, of a channel that counts, got none")
    progress(1, 1)
    rule = _thresholds(task, total)
    rules = [rule.shrunk(trust, 0.5) for trust in SHRINKAGE]
    fitted = task.score(_at(total, rules))
    held_out = torch.zeros(len(SHRINKAGE), task.num_classes, 3, dtype=torch.int64, device="cpu")
    for block in blocks:
        without = _thresholds(task, total - block)
        held_out += _at(block, [without.shrunk(trust, 0.5) for trust in SHRINKAGE])
    held_out = task.summed(held_out)
    return _chosen(rules, SHRINKAGE, task.score(held_out) if number > 1 else None, fitted, number)


def _thresholds(task: Task, table: Tensor) -> Rule:
    """Return the best threshold of each channel; 1/2 where the channel is left out or has no foreground."""
    best, _ = ThresholdCurve(table, "sigmoid").best(task.measure)
    threshold = torch.where(task.counted & ~best.isnan(), best, 0.5)
    return Rule(torch.ones_like(best), threshold, torch.zeros_like(best))


def _at(table: Tensor, rules: list[Rule]) -> Tensor:
    """Return the counts (R, C, 3) of rules on a table (C, 2, K + 1), by which class 1 has p >= t, or p > 1/2."""
    at = torch.stack([rule.threshold for rule in rules], -1)
    at = torch.where(at == 0.5, thresholds.above(0.5, table.shape[-1] - 1, "sigmoid"), at)
    tp, fp = zip(*(thresholds.taken(one, t, "sigmoid") for one, t in zip(table, at, strict=True)), strict=True)
    found, false = torch.stack(tp, -1), torch.stack(fp, -1)
    return torch.stack((found, table[:, 1].sum(-1).expand_as(found), found + false), -1)
