"""From probabilities to labels: the decision for IoU, of a data set and of one image."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ._fitting import Batches, Fit, Progress, Rule, Task, fit
from ._inputs import arguments, layouts
from ._kernels import operators
from ._kernels.contract import Pixels
from ._math import decision, interpolation
from .measures import FBeta, Tversky

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["DatasetDecision", "Fit", "image_decision"]


def image_decision(
    logits: Tensor,
    *,
    form: str = "softmax",
    measure: str | Tversky | FBeta = "jaccard",
    mask: Tensor | None = None,
    absent_below: float = 0.5,
    bins: int | str = "auto",
    size: Sequence[int] | None = None,
    upsample: str | None = None,
    align_corners: bool = False,
    channels: bool | None = None,
) -> Tensor:
    r"""Return the labels of highest expected IoU, image by image.

    For each class the t pixels of the largest probabilities are foreground, for the t of the largest
    ``S_t / (μ + t - S_t)``, S_t the sum of the t probabilities and μ of all: those with p > t_c. A pixel of one
    class alone gets that; one of several or of none gets the class whose expected IoU it raises most (or lowers
    least), ``argmax_c ((1 + I_c) p_c - I_c) / U_c``. By counting, in linear time. For the mean of image IoUs;
    for that of a data set see `DatasetDecision`. Right as far as the probabilities are calibrated.

    Args:
        logits: (N, C, *) or (P, C), a point cloud, which is one image; for the sigmoid those of `lovasz_sigmoid`.
        form: "softmax", or "sigmoid", where each channel is decided by itself.
        measure: "jaccard", "dice", `Tversky` or `FBeta`.
        mask: bool, shape of the labels, True where a pixel counts in the expectation; all are decided.
        absent_below: a class none of whose probabilities in the image is above this is taken not to be in it.
        bins: number of bins of the probability, from 16 to 65536.
        size: spatial size of the labels, needed with `upsample`.
        upsample: "nearest", "linear", "bilinear" or "trilinear", to labels of higher resolution than the logits.
        align_corners: that of `F.interpolate`.
        channels: of the sigmoid, whether axis 1 is that of channels; None where the shape tells.

    Returns:
        Class indices, int64 (N, *) or (P,); for the sigmoid bool, one for each logit.

    Raises:
        TypeError, ValueError: for arguments that do not fit, and logits that are not finite where a pixel counts,
            but for -inf in some classes of a softmax.

    Example:
        >>> probs = torch.tensor([0.4, 0.9])
        >>> image_decision(probs.logit(), form="sigmoid")  # of both 1.3 / 2 is expected, of the second 0.9 / 1.4
        tensor([True, True])

    References:
        Wang, Dai: RankSEG-RMA (2025), https://arxiv.org/abs/2510.15362
    """
    arguments.choice("form", form, layouts.PROBABILITIES)
    parsed = arguments.parse_measure(measure)
    if not isinstance(absent_below, (int, float)) or isinstance(absent_below, bool) or not 0 <= absent_below <= 1:
        raise ValueError(f"absent_below must be a number from 0 to 1, got {absent_below!r}")
    view, shape = layouts.unlabelled(logits, mask, form, size, upsample, align_corners, channels)
    number = arguments.parse_counted_bins(bins, view.logits.shape[1], form, "the decision counts")
    pixels = Pixels(view.logits, view.target, view.mask, [], form, view.interpolation)
    table = operators.count(pixels, number, True).table
    if form == "softmax" and table[..., -1].any():  # the own class, here 0, may not be -inf for a kernel
        table = operators.count(pixels._replace(logits=_first_finite(view.logits)), number, True).table
    if table[..., -1].any():
        got = int(table[..., -1].sum())
        raise ValueError(f"logits must be finite where a pixel counts, got {got} of a pixel with NaN or inf")
    histogram, p = decision.probability_histogram(table, form)
    rules, _ = decision.expected(histogram, p, parsed)
    factor, threshold = rules.unbind(-1)
    present = ((histogram > 0) & (p > absent_below)).any(-1)
    if form == "softmax":
        present |= ~present.any(-1, keepdim=True)
    # Of an image without a pixel that counts, or a class of which every probability is 0, nothing is expected.
    factor = torch.where(factor.isfinite(), factor, 1.0)
    threshold = torch.where(threshold.isfinite(), threshold, 0.0 if form == "softmax" else 0.5)
    threshold = torch.where(present, threshold, torch.inf)
    return _labels(view, factor, threshold, form, shape)


class DatasetDecision(nn.Module):
    """Decides for the IoU of a data set: ``argmax_c w_c (p_c - t_c)``, ``p = softmax(x + b)``, with fitted numbers.

    The argmax of probabilities is the decision of highest accuracy. For the mean IoU one more pixel of class c
    is worth ``((1 + I_c) p_c - I_c) / U_c``, with the IoU I_c and the union U_c that the decisions make: so small
    classes ask for less probability. That holds of probabilities that are right, so first a bias of the logits
    gives each class as much probability as it has pixels: it takes off what weights of the classes in a
    cross-entropy have put there. `fit` finds the 3 C numbers on images with labels, which the
    network should not have been trained on; between those and the argmax it goes as far as folds of the images
    agree with. A module without weights to train: put it behind the network, save and export it with it. In a
    network of half precision it stays in float32.
    A binary or multilabel head (`form="sigmoid"`) gets the best threshold of each channel likewise: p > t, as
    p > 1/2 is usual. `fit` gives the number just below that of `ThresholdCurve.best`: its mask p >= t is the same.

    Args:
        num_classes: C, or the number of channels.
        form: "softmax", or "sigmoid".
        measure: "jaccard", "dice", `Tversky` or `FBeta`, of which the mean over the classes is to be highest.
        ignore_index: label or labels to leave out in `fit`; those that are classes have no score.
        classes: class indices of the mean; None for all. Another class is only decided where none of these gains.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for labels of higher resolution than the logits.
        align_corners: that of `F.interpolate`.

    Attributes:
        factor: (C,), w; 1 until fitted.
        threshold: (C,), t; 0 until fitted, or 1/2 for the sigmoid: the usual decision.
        bias: (C,), b of the logits; 0 until fitted. For the sigmoid None: its thresholds do the same.

    Example:
        >>> logits = torch.tensor([[0.0, -0.5]]).repeat(4, 1)  # four points, of which two are of class 1
        >>> decision = DatasetDecision(2)
        >>> fitted = decision.fit([(logits, torch.tensor([0, 0, 1, 1]))])
        >>> round(fitted.usual, 3), round(fitted.fitted, 3)  # IoU 2/4 and 0 either way: the argmax is kept
        (0.25, 0.25)

    References:
        Narasimhan, Ramaswamy, Saha, Agarwal: Consistent multiclass algorithms for complex performance measures
        (ICML 2015); as for the Dice score, the best threshold is below 1/2.
    """

    factor: Tensor
    threshold: Tensor
    bias: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        form: str = "softmax",
        measure: str | Tversky | FBeta = "jaccard",
        ignore_index: int | Sequence[int] = -100,
        classes: Sequence[int] | None = None,
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        arguments.choice("form", form, layouts.PROBABILITIES)
        hint = '; for one channel form="sigmoid"' if num_classes == 1 else ""
        num_classes = arguments.parse_num_classes(num_classes, 2 if form == "softmax" else 1, hint)
        arguments.parse_measure(measure)
        if isinstance(classes, str):
            raise TypeError(f"classes must be class indices or None, got {classes!r}")
        _, selected = arguments.class_selection(
            "all" if classes is None else classes, num_classes, torch.device("cpu")
        )
        self.ignore_index = arguments.parse_ignore_index(ignore_index)
        arguments.check_upsample(upsample, align_corners)
        self.num_classes, self.form, self.measure, self.classes = num_classes, form, measure, classes
        self.upsample, self.align_corners = upsample, align_corners
        counted = torch.ones(num_classes, dtype=torch.bool, device="cpu") if selected is None else selected
        if form == "softmax":
            for label in self.ignore_index:
                if 0 <= label < num_classes:
                    counted[label] = False
        if not counted.any():
            raise ValueError("classes must hold one that ignore_index does not leave out, got none")
        self._counted = counted
        usual = 0.0 if form == "softmax" else 0.5
        self.register_buffer("factor", torch.ones(num_classes, dtype=torch.float32))
        self.register_buffer("threshold", torch.full((num_classes,), usual, dtype=torch.float32))
        zeros = torch.zeros(num_classes, dtype=torch.float32)
        self.register_buffer("bias", zeros if form == "softmax" else None)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DatasetDecision":
        """Move the rule to a device; it stays in float32, as one rounded to half precision is another rule."""
        before = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, moved in dict(self.named_buffers()).items():
            if moved.dtype != before[name].dtype:
                setattr(self, name, before[name].to(moved.device))
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load a rule; one that was saved before rules had a bias has none."""
        if self.bias is not None and prefix + "factor" in state_dict:
            state_dict.setdefault(prefix + "bias", torch.zeros_like(self.bias))
        super()._load_from_state_dict(state_dict, prefix, *args)

    @torch.no_grad()
    def fit(
        self,
        batches: Batches,
        *,
        group: "ProcessGroup | str | None" = None,
        progress: Progress = None,
    ) -> Fit:
        """Find the rule on images with labels.

        Never worse on them than the argmax (the threshold 1/2), as the mean over the classes of all their pixels.

        Args:
            batches: of (logits, target) or (logits, target, mask), in the layouts of `forward`: a list, or a
                loader that gives the same in each of 15 passes (1 for the sigmoid).
            group: processes, "world" for all, of which each has images of its own; the rule is that of all.
            progress: called with the number of passes done, and of all, after each.

        Returns:
            What the rule is worth on these images and held out.

        Raises:
            TypeError, ValueError: for batches that do not fit, that differ between passes, or hold no pixel that
                counts; then the rule stays as it was.
        """
        if iter(batches) is batches:
            raise TypeError(
                "batches must be a list or a loader that can be gone through again, got "
                f"{type(batches).__name__}: pass list(batches) where memory allows"
            )
        task = Task(
            self.num_classes, self.form, arguments.parse_measure(self.measure), self._counted, self.ignore_index,
            self.upsample, self.align_corners, arguments.process_group(group),
        )  # fmt: skip
        rule, found = fit(task, batches, progress)
        self.set_rule(rule)
        return found

    def set_rule(self, rule: Rule) -> None:
        """Take the numbers (C,) of a rule; of the sigmoid the thresholds of p >= t."""
        self.factor.copy_(rule.factor)
        if self.bias is not None:
            self.bias.copy_(rule.bias)
        below = decision.just_below(rule.threshold) if self.form == "sigmoid" else rule.threshold
        self.threshold.copy_(below)

    def forward(self, logits: Tensor, *, size: Sequence[int] | None = None) -> Tensor:
        """Decide.

        Args:
            logits: (N, C, *) or (P, C); for the sigmoid of one channel also (N, H, W) or (P,).
            size: spatial size of the labels, needed with `upsample`.

        Returns:
            Class indices, int64 (N, *) or (P,); for the sigmoid bool, one for each logit.
        """
        channels = layouts.known_channels(logits, self.num_classes, self.form)
        view, shape = layouts.unlabelled(logits, None, self.form, size, self.upsample, self.align_corners, channels)
        if view.logits.shape[1] != self.num_classes:
            what = "classes" if self.form == "softmax" else "channels"
            raise ValueError(f"logits must have {self.num_classes} {what}, got {tuple(logits.shape)}")
        return _labels(view, self.factor, self.threshold, self.form, shape, self.bias)

    def extra_repr(self) -> str:
        """Return the arguments, and the rule."""
        rule = ", ".join(
            f"{w:.3g} (p - {t:.3g})" for w, t in zip(self.factor.tolist(), self.threshold.tolist(), strict=True)
        )
        if self.form == "sigmoid":
            rule = ", ".join(f"p > {t:.3g}" for t in self.threshold.tolist())
        elif self.bias is not None and self.bias.any():
            rule += f", bias: {', '.join(f'{b:.3g}' for b in self.bias.tolist())}"
        return f"{self.num_classes}, form={self.form!r}, measure={self.measure!r}, rule: {rule}"


def _first_finite(logits: Tensor) -> Tensor:
    """Return logits whose class 0, as which the pixels are counted, is as good as -inf where it was -inf."""
    out = (logits[:, 0] == -torch.inf) & (logits.amax(1) > -torch.inf)
    first = logits[:, :1].masked_fill(out[:, None], torch.finfo(logits.dtype).min)
    return torch.cat((first, logits[:, 1:]), 1)


def _labels(
    view: layouts.View,
    factor: Tensor,
    threshold: Tensor,
    form: str,
    shape: tuple[int, ...],
    bias: Tensor | None = None,
) -> Tensor:
    """Return the labels of a rule, in the shape that the caller's logits ask for."""
    axes = interpolation.axes(view.logits, view.target, view.interpolation) if view.interpolation else None
    found = decision.labels(view.logits, factor, threshold, form, axes, bias)
    if form == "sigmoid" and len(shape) == 2 and len(found) == 1:  # a point cloud (P, C) is one image (1, C, P)
        return found[0].t().reshape(shape)
    return found.reshape(shape)
