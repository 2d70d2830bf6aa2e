"""The losses as modules: the same arguments, stored; `mask` is passed with each call."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from . import functional
from ._inputs import arguments, layouts
from .counts import Counts
from .measures import FBeta, Tversky

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class _Loss(nn.Module):
    """Stores the arguments of a loss function and shows them; `weight` is a buffer."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None, **given: Any) -> None:
        super().__init__()
        arguments.choice("reduction", given["reduction"], arguments.REDUCTIONS)
        arguments.parse_ignore_index(given["ignore_index"])
        if isinstance(given["classes"], str):
            arguments.choice("classes", given["classes"], ("present", "all"))
        arguments.parse_bins(given["bins"], 0, 1, "softmax")
        arguments.check_upsample(given["upsample"], given["align_corners"])
        arguments.parse_measure(given["measure"])
        self.register_buffer("weight", weight)
        self.arguments = given

    def extra_repr(self) -> str:
        """Return the arguments as they were given."""
        return ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())


class LovaszSoftmaxLoss(_Loss):
    """Compute `lovasz_softmax` with its arguments stored.

    Shape:
        logits (N, C, *) or (P, C); target (N, *); mask (N, *); result a scalar, see `reduction`.

    Example:
        >>> import torch
        >>> loss = LovaszSoftmaxLoss(ignore_index=[254, 255])
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss(logits, torch.ones(1, 4, 4, dtype=torch.uint8))  # 1/2 from the one class present
        tensor(0.5000, grad_fn=...)
    """

    def __init__(
        self,
        *,
        ignore_index: int | Sequence[int] = -100,
        classes: str | Sequence[int] = "present",
        weight: Tensor | None = None,
        per_image: bool = False,
        reduction: str = "mean",
        bins: int | str | None = "auto",
        group: "ProcessGroup | str | None" = None,
        average_gradients: bool = True,
        upsample: str | None = None,
        align_corners: bool = False,
        measure: str | Tversky | FBeta = "jaccard",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, classes=classes, per_image=per_image,
                         reduction=reduction, bins=bins, group=group,
                         average_gradients=average_gradients, upsample=upsample,
                         align_corners=align_corners, measure=measure)  # fmt: skip

    def forward(
        self, logits: Tensor, target: Tensor, mask: Tensor | None = None, counts: Counts | None = None
    ) -> Tensor:
        """Compute the loss of a batch, or of the batch of `counts` with the gradient of this part of it."""
        return functional.lovasz_softmax(
            logits, target, mask=mask, weight=self.weight, counts=counts, **self.arguments
        )


class LovaszSigmoidLoss(_Loss):
    """Compute `lovasz_sigmoid` with its arguments stored.

    Shape:
        logits (N, C, *), or (N, *) and (P,) without a channel axis, see `channels`; target and mask
        of the same shape; result a scalar, see `reduction`.

    Example:
        >>> import torch
        >>> LovaszSigmoidLoss()(torch.zeros(4), torch.tensor([1, 0, 0, 0]))
        tensor(0.5000)
    """

    def __init__(
        self,
        *,
        ignore_index: int | Sequence[int] = -100,
        classes: str | Sequence[int] = "all",
        weight: Tensor | None = None,
        per_image: bool = False,
        reduction: str = "mean",
        bins: int | str | None = "auto",
        group: "ProcessGroup | str | None" = None,
        average_gradients: bool = True,
        upsample: str | None = None,
        align_corners: bool = False,
        measure: str | Tversky | FBeta = "jaccard",
        channels: bool | None = None,
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, classes=classes, per_image=per_image,
                         reduction=reduction, bins=bins, group=group,
                         average_gradients=average_gradients, upsample=upsample,
                         align_corners=align_corners, measure=measure, channels=channels)  # fmt: skip

    def forward(
        self, logits: Tensor, target: Tensor, mask: Tensor | None = None, counts: Counts | None = None
    ) -> Tensor:
        """Compute the loss of a batch, or of the batch of `counts` with the gradient of this part of it."""
        return functional.lovasz_sigmoid(
            logits, target, mask=mask, weight=self.weight, counts=counts, **self.arguments
        )


class LovaszHingeLoss(_Loss):
    """Compute `lovasz_hinge` with its arguments stored.

    Shape:
        logits (N, 1, *), or (N, *) and (P,) without a channel axis, see `channels`; target and mask
        of the same shape; result a scalar, see `reduction`.

    Example:
        >>> import torch
        >>> LovaszHingeLoss()(torch.zeros(4), torch.tensor([1, 0, 0, 0]))  # every error is 1
        tensor(1.)
    """

    def __init__(
        self,
        *,
        ignore_index: int | Sequence[int] = -100,
        classes: str | Sequence[int] = "all",
        weight: Tensor | None = None,
        per_image: bool = False,
        reduction: str = "mean",
        bins: int | str | None = "auto",
        group: "ProcessGroup | str | None" = None,
        average_gradients: bool = True,
        upsample: str | None = None,
        align_corners: bool = False,
        measure: str | Tversky | FBeta = "jaccard",
        channels: bool | None = None,
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, classes=classes, per_image=per_image,
                         reduction=reduction, bins=bins, group=group,
                         average_gradients=average_gradients, upsample=upsample,
                         align_corners=align_corners, measure=measure, channels=channels)  # fmt: skip

    def forward(
        self, logits: Tensor, target: Tensor, mask: Tensor | None = None, counts: Counts | None = None
    ) -> Tensor:
        """Compute the loss of a batch, or of the batch of `counts` with the gradient of this part of it."""
        return functional.lovasz_hinge(
            logits, target, mask=mask, weight=self.weight, counts=counts, **self.arguments
        )


class LovaszCrossEntropyLoss(_Loss):
    """Compute `lovasz_cross_entropy` with its arguments stored.

    Shape:
        logits (N, C, *) or (P, C); target (N, *); mask (N, *); result a scalar.

    Example:
        >>> import torch
        >>> LovaszCrossEntropyLoss(lovasz_weight=2.0)(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor(1.6931)
    """

    def __init__(
        self,
        *,
        lovasz_weight: float = 1.0,
        ce_weight: float = 1.0,
        label_smoothing: float = 0.0,
        ignore_index: int | Sequence[int] = -100,
        classes: str | Sequence[int] = "present",
        weight: Tensor | None = None,
        per_image: bool = False,
        reduction: str = "mean",
        bins: int | str | None = "auto",
        group: "ProcessGroup | str | None" = None,
        average_gradients: bool = True,
        upsample: str | None = None,
        align_corners: bool = False,
        measure: str | Tversky | FBeta = "jaccard",
    ) -> None:
        super().__init__(weight, lovasz_weight=lovasz_weight, ce_weight=ce_weight,
                         label_smoothing=label_smoothing, ignore_index=ignore_index,
                         classes=classes, per_image=per_image, reduction=reduction, bins=bins,
                         group=group, average_gradients=average_gradients, upsample=upsample,
                         align_corners=align_corners, measure=measure)  # fmt: skip

    def forward(self, logits: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the loss of a batch."""
        return functional.lovasz_cross_entropy(logits, target, mask=mask, weight=self.weight, **self.arguments)


class LovaszBinaryCrossEntropyLoss(_Loss):
    """Compute `lovasz_binary_cross_entropy` with its arguments stored.

    Shape:
        logits (N, C, *), or (N, *) and (P,) without a channel axis, see `channels`; target and mask
        of the same shape; result a scalar.

    Example:
        >>> import torch
        >>> LovaszBinaryCrossEntropyLoss(lovasz_weight=2.0)(torch.zeros(2), torch.tensor([0.0, 1.0]))
        tensor(1.6931)
    """

    pos_weight: Tensor | None

    def __init__(
        self,
        *,
        form: str = "sigmoid",
        lovasz_weight: float = 1.0,
        bce_weight: float = 1.0,
        pos_weight: Tensor | None = None,
        ignore_index: int | Sequence[int] = -100,
        classes: str | Sequence[int] = "all",
        weight: Tensor | None = None,
        per_image: bool = False,
        reduction: str = "mean",
        bins: int | str | None = "auto",
        group: "ProcessGroup | str | None" = None,
        average_gradients: bool = True,
        upsample: str | None = None,
        align_corners: bool = False,
        measure: str | Tversky | FBeta = "jaccard",
        channels: bool | None = None,
    ) -> None:
        super().__init__(weight, form=form, lovasz_weight=lovasz_weight, bce_weight=bce_weight,
                         ignore_index=ignore_index, classes=classes, per_image=per_image,
                         reduction=reduction, bins=bins, group=group,
                         average_gradients=average_gradients, upsample=upsample,
                         align_corners=align_corners, measure=measure, channels=channels)  # fmt: skip
        arguments.choice("form", form, layouts.FORMS[1:])
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, logits: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the loss of a batch."""
        return functional.lovasz_binary_cross_entropy(
            logits, target, mask=mask, weight=self.weight, pos_weight=self.pos_weight, **self.arguments
        )


class DeepSupervisionLoss(nn.Module):
    """Compute a loss of outputs at several resolutions: ``Σ_i weight_i · loss(output_i, target)``.

    Each output is made as fine as the labels inside the loss, where its `upsample` says how: so small objects stay
    in the labels that a coarse output is to fit, and nothing large is made of it. Labels that somebody has reduced
    beforehand, one for each output as nnU-Net's loader gives them, are taken as they are.

    Args:
        loss: one of these modules, with `upsample`; or any other, or a function, that takes logits and target.
        weights: one for each output, the finest first; None halves it from one to the next, and makes the sum 1.
            An output of weight 0 is left out. DistributedDataParallel refuses what is then without use: give it a
            very small weight there.

    Shape:
        outputs: a list or tuple of logits, (N, C, *) each; or one, as a network gives it that is not in training.
        target: what the loss takes; or a list or tuple of such, one for each output. mask: likewise, or None.
        Result: a scalar.

    Example:
        >>> import torch
        >>> loss = DeepSupervisionLoss(LovaszCrossEntropyLoss(upsample="bilinear"))
        >>> outputs = [torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 4, 4)]
        >>> loss(outputs, torch.zeros(2, 8, 8, dtype=torch.long))  # 2/3 and 1/3 of log 3 + 2/3
        tensor(1.7653)

    References:
        Isensee et al., nnU-Net, Nature Methods 2021, https://doi.org/10.1038/s41592-020-01008-z
    """

    def __init__(self, loss: Callable[..., Tensor], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not callable(loss):
            raise TypeError(f"loss must be a module or a function, got {type(loss).__name__}")
        if weights is not None:
            weights = [float(weight) for weight in weights]
            if not any(weights) or not all(math.isfinite(weight) and weight >= 0 for weight in weights):
                raise ValueError(f"weights must be finite numbers from 0 on, one of them above it, got {weights}")
        self.loss, self.weights = loss, weights

    def forward(
        self,
        outputs: Tensor | Sequence[Tensor],
        target: Tensor | Sequence[Tensor],
        mask: Tensor | Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Compute the loss of a batch.

        Raises:
            TypeError, ValueError: for another number of outputs than weights, or of targets than outputs; and what
                the loss raises.
        """
        if isinstance(outputs, Tensor):
            if not isinstance(target, Tensor):
                raise TypeError(f"target must be one tensor where outputs is one, got {type(target).__name__}")
            return self._one(outputs, target, mask)
        if not isinstance(outputs, (list, tuple)) or not outputs:
            got = type(outputs).__name__
            raise TypeError(f"outputs must be logits, or a list or tuple of them that is not empty, got {got}")
        weights = self.weights
        if weights is None:
            weights = [2.0**-i / (2 - 2.0 ** (1 - len(outputs))) for i in range(len(outputs))]
        every = [self._of_each("weights", weights, outputs)]
        every += [self._of_each(name, given, outputs) for name, given in (("target", target), ("mask", mask))]
        terms = [
            weight * self._one(logits, *labels)
            for logits, weight, *labels in zip(outputs, *every, strict=True)
            if weight
        ]
        return torch.stack(terms).sum()

    def _one(self, logits: Tensor, target: Tensor, mask: Any) -> Tensor:
        return self.loss(logits, target) if mask is None else self.loss(logits, target, mask)

    @staticmethod
    def _of_each(name: str, given: Any, outputs: Sequence[Tensor]) -> Sequence[Any]:
        """Return what belongs to each output: the same to all, or one each."""
        if given is None or isinstance(given, Tensor):
            return [given] * len(outputs)
        if len(given) != len(outputs):
            raise ValueError(f"{name} must be one for each of {len(outputs)} outputs, got {len(given)}")
        return list(given)

    def extra_repr(self) -> str:
        """Return the weights."""
        return f"weights={self.weights}"
