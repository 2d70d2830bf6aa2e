"""Weigh a table: the loss of each class and the weights of its bins, in one launch."""

import torch
from torch import Tensor

from ..._math import binning
from . import operands, records, shapes
from .records import Launch, Launcher


def _macros(dtype: torch.dtype, hinge: bool) -> dict[str, str | int]:
    """Return what the kernel is compiled with, for weights of a type."""
    return {
        "REAL": "double", "WEIGHT": operands.name(dtype), "HINGE_BINS": int(hinge),
        "BLOCK": shapes.WEIGHING_BLOCK,
    }  # fmt: skip


def weigh(
    launcher: Launcher,
    table: Tensor,
    form: str,
    coefficients: Tensor,
    dtype: torch.dtype,
    alpha: float,
    beta: float,
) -> tuple[Tensor, Tensor]:
    """Weigh a table, a block for each piece of a row of it."""
    rows, bins = table.shape[0] * table.shape[1], table.shape[-1] - 1
    pieces = shapes.pieces(rows, bins, launcher.limits(table.device))
    losses = torch.empty(*table.shape[:2], pieces, dtype=torch.float64, device=table.device)
    weights = torch.empty(table.shape, dtype=dtype, device=table.device)
    table, coefficients = table.contiguous(), coefficients.contiguous()
    weighing = records.Weighing(
        *(t.data_ptr() for t in (table, coefficients, losses, weights)),
        alpha, beta, binning.steps(bins, form), bins, pieces,
    )  # fmt: skip
    if rows:
        one = Launch("weigh", "weigh", _macros(dtype, form == "hinge"), rows * pieces, 0, (weighing,))
        launcher.launch(one, table.device)
    return losses.squeeze(-1) if pieces == 1 else losses.sum(-1), weights
