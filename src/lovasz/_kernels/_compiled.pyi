"""
Count, weigh and apply for the CPU. Called by lovasz._kernels.cpu alone.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy
from numpy.typing import NDArray


HINGE_SCALE: float = 4.0

def kernels() -> list[str]:
    """Names of the kernels that this processor can run, the best first."""

def count(kernel: str, logits: Annotated[NDArray, dict(device='cpu')], target: Annotated[NDArray, dict(device='cpu')], mask: Annotated[NDArray, dict(device='cpu')] | None, ignore: Sequence[int], form: int, steps: int, per_image: bool, smoothing: float | None, class_weights: Sequence[float], threads: int, table: Annotated[NDArray[numpy.int64], dict(shape=(None, None, None, None), order='C', device='cpu')], pixels: Annotated[NDArray[numpy.int64], dict(shape=(None, None, None), order='C', device='cpu')], lower: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu')] | None, weight: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu')] | None) -> tuple:
    """
    Fills table and the numbers of valid and of foreground pixels; returns the number of labels that are no class, and the sums of the cross-entropy and of its weights.
    """

def weigh(kernel: str, table: Annotated[NDArray[numpy.int64], dict(shape=(None, None, None, None), order='C', device='cpu')], steps: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu')], coefficients: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu')], alpha: float, beta: float, threads: int, losses: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu')], weights: Annotated[NDArray, dict(shape=(None, None, None, None), order='C', device='cpu')]) -> None:
    """
    Fills losses, and weights with those of each bin times the coefficient of its class.
    """

def apply(kernel: str, logits: Annotated[NDArray, dict(device='cpu')], target: Annotated[NDArray, dict(device='cpu')], mask: Annotated[NDArray, dict(device='cpu')] | None, ignore: Sequence[int], form: int, steps: int, smoothing: float | None, class_weights: Sequence[float], scale: float, ce_scale: float, weights: Annotated[NDArray, dict(shape=(None, None, None, None), order='C', device='cpu')], threads: int, gradient: Annotated[NDArray, dict(device='cpu')], lower: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu')] | None, weight: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu')] | None) -> None:
    """Fills gradient, or adds to it where there is lower."""

def exponential(kernel: str, x: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu')], out: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu')]) -> None:
    """Fills out with the exponentials of x that a kernel computes."""
