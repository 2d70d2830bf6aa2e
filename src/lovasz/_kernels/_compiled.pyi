# The signatures of csrc/bindings.cpp. Arrays are whatever DLPack gives; the last are filled.
from collections.abc import Sequence
from typing import Any

def kernels() -> list[str]: ...
def count(
    kernel: str,
    logits: Any,
    target: Any,
    mask: Any | None,
    ignore: Sequence[int],
    form: int,
    steps: int,
    per_image: bool,
    smoothing: float | None,
    ce_weights: Sequence[float],
    threads: int,
    table: Any,
    pixels: Any,
) -> tuple[int, float, float]: ...
def weigh(
    kernel: str, table: Any, steps: Any, coefficients: Any, threads: int, losses: Any, weights: Any
) -> None: ...
def apply(
    kernel: str,
    logits: Any,
    target: Any,
    mask: Any | None,
    ignore: Sequence[int],
    form: int,
    steps: int,
    smoothing: float | None,
    ce_weights: Sequence[float],
    scale: float,
    ce_scale: float,
    weights: Any,
    threads: int,
    gradient: Any,
) -> None: ...
def exponential(kernel: str, in_: Any, out: Any) -> None: ...
