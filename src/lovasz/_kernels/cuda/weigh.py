"""Weigh a table: the loss of each class and the weights of its bins, in one launch."""

import torch
from torch import Tensor

from ..._math import binning
from . import operands, records, shapes
from .records import Launch, Launcher


def macros(dtype: torch.dtype, hinge: bool) -> dict[str, str | int]:
    """Return what the kernels of tables are compiled with, for weights of a type."""
    return {
        "REAL": "double", "WEIGHT": operands.name(dtype), "HINGE_BINS": int(hinge), "BLOCK": shapes.BLOCK,
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
    """Weigh a table, a block for each row of it."""
    losses = torch.empty(table.shape[:2], dtype=torch.float64, device=table.device)
    weights = torch.empty(table.shape, dtype=dtype, device=table.device)
    table, coefficients, bins = table.contiguous(), coefficients.contiguous(), table.shape[-1] - 1
    weighing = records.Weighing(
        *(t.data_ptr() for t in (table, coefficients, losses, weights)),
        alpha, beta, binning.steps(bins, form), bins,
    )  # fmt: skip
    if losses.numel():
        one = Launch("tables", "weigh", macros(dtype, form == "hinge"), losses.numel(), 0, (weighing,))
        launcher.launch(one, table.device)
    return losses, weights
