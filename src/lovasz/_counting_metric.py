"""What the metrics share: their arguments and integer states, what keeps different ones apart, and the figure."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from ._inputs.arguments import check_threshold, check_upsample, parse_ignore_index, parse_num_classes
from ._inputs.predictions import predicted_pixels


class CountingMetric(Metric):
    """Count pixels in states that stay integers and that only metrics with the same arguments share."""

    full_state_update = False
    is_differentiable = False
    overlapping = False  # whether each class has a mask of its own
    settings: Tensor

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | Sequence[int],
        upsample: str | None,
        align_corners: bool,
        more: dict[str, Any] | None = None,
        threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_upsample(upsample, align_corners)
        self.upsample, self.align_corners = upsample, align_corners
        num_classes = parse_num_classes(num_classes)
        check_threshold(threshold, 2 if self.overlapping else num_classes)
        self.num_classes, self.threshold = num_classes, threshold
        self.ignore_index = parse_ignore_index(ignore_index)
        counted = {
            "num_classes": num_classes,
            "ignore_index": sorted(set(self.ignore_index)),
            "upsample": upsample,
            "align_corners": align_corners,
            **({} if threshold is None else {"threshold": threshold}),
            **(more or {}),
        }
        # A state, because a MetricCollection updates as one the metrics whose states are close after a batch; the
        # first, because torchmetrics before 1.6.2 compares no other; and spelled in bytes, because torch.allclose
        # finds the labels 100000 and 100001 close, but no two different bytes.
        spelled = torch.tensor(list(json.dumps(counted).encode()), dtype=torch.int64)
        self.add_state("settings", spelled, dist_reduce_fx="max")

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the counts of another metric of this class with the same arguments, or of its `metric_state`.

        Raises:
            ValueError: another class, or an argument that differs.
        """
        if isinstance(incoming_state, Metric):
            if type(incoming_state) is not type(self):
                classes = f"{type(self).__name__}, got {type(incoming_state).__name__}"
                raise ValueError(f"merge_state needs a metric of the same class, {classes}")
            for name in ("average", "worst"):
                _same(name, getattr(self, name, None), getattr(incoming_state, name, None))
            incoming_state = incoming_state.metric_state
        if isinstance(incoming_state, dict):
            self._same_settings(incoming_state)
            incoming_state = {
                name: [value] if isinstance(value, Tensor) and isinstance(self._defaults.get(name), list) else value
                for name, value in incoming_state.items()
            }
        super().merge_state(incoming_state)
        self._computed = None  # else `compute` repeats what it returned before the merge,
        self._update_count += 1  # and warns that a metric filled by merging alone is empty

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = {name: state_dict[prefix + name] for name in self._defaults if prefix + name in state_dict}
        if saved:
            self._same_settings(saved)
            self._computed = None
            self._update_count += 1
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _same_settings(self, state: dict[str, Any]) -> None:
        """Reject a state that was counted with other arguments."""
        try:
            found = dict(json.loads(bytes(state["settings"].tolist())))
        except (AttributeError, KeyError, TypeError, ValueError):
            names = f"{', '.join(self._defaults)}, got {', '.join(map(str, state)) or 'none'}"
            raise ValueError(f"a state of {type(self).__name__} must hold its {names}") from None
        for name, value in json.loads(bytes(self.settings.tolist())).items():
            _same(name, value, found.get(name))

    def set_dtype(self, dst_type: str | torch.dtype) -> Metric:
        """Return the metric unchanged: counts stay int64."""
        return self

    def _pixels(self, preds: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        return predicted_pixels(
            preds,
            target,
            self.num_classes,
            self.ignore_index,
            mask,
            self.upsample,
            self.align_corners,
            self.threshold,
        )

    def _result(self, value: Tensor) -> Tensor:
        return value.to(torch.get_default_dtype()).to(self.device)


class Score(Metric):
    """Draw a score from 0 to 1, of which more is better, as torchmetrics draws its own."""

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    plot_legend_name = "Class"

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Draw the score, a point per class if there are several, or its course over steps.

        Args:
            val: a result of `compute` or `forward`, or a list of them, one per step; by default that of `compute`.
            ax: axes of matplotlib to draw on, in the place of a new figure.

        Returns:
            The figure, None if `ax` was given, and the axes.
        """
        return self._plot(val, ax)


def _same(name: str, own: object, received: object) -> None:
    """Reject another value of an argument than this metric has."""
    if received != own:
        expected = f"{name} must be {own!r} as in this metric, got {received!r}"
        raise ValueError(f"{expected}: build both metrics with the same {name}")
