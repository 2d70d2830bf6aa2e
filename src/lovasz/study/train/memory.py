"""How much memory a step needs, and what a loss needs beyond logits, target and gradient."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lovasz.study.train.losses import NamedLoss, named_loss


def loss_mib(
    name: str,
    shape: Sequence[int],
    device: str,
    precision: str,
    fine: Sequence[int] | None = None,
    overlap: bool = False,
) -> float | None:
    """Measures one forward and backward of a loss on logits of this shape, in a process of its own.

    In a running training, memory that was freed and not given back would hide what the loss takes.

    Args:
        name: Name of the loss.
        shape: Of the logits, (N, C, *).
        device: "cpu" or "cuda"; elsewhere there is nothing to measure with.
        precision: "32" or "bf16".
        fine: Spatial size of the target, if it is finer than the logits.
        overlap: Whether labels may overlap: the target has a mask for each.

    Returns:
        MiB at the peak, or None where it cannot be measured.
    """
    if device not in ("cpu", "cuda") or (device == "cpu" and not os.access("/proc/self/clear_refs", os.W_OK)):
        return None
    call = f"measure({name!r}, {list(shape)}, {device!r}, {precision!r}, {list(fine or shape[2:])}, {overlap})"
    code = f"from lovasz.study.train.memory import measure; print({call})"
    try:
        return in_a_fresh_process(code)
    except subprocess.CalledProcessError:
        return None


def in_a_fresh_process(code: str) -> float:
    """Return the number that this Python code prints last, in a process that hides no memory.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    # Freed blocks of 64 KiB and more go back to the system at once: kept ones would hide what the next step needs.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    for inherited in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        environment.pop(inherited, None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.split()[-1])


def peak_growth(step: Callable[[], object], on_gpu: bool) -> float:
    """Return the MiB by which a step raises, at its peak, what the GPU, or on Linux this process, holds."""
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    step()
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return peak - pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(
    name: str, shape: Sequence[int], device: str, precision: str, fine: Sequence[int], overlap: bool
) -> float:
    """Return what ``loss_mib`` asks for, of this process."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    loss = named_loss(name, [1] * shape[1], overlap)
    labels, leading = (2, shape[:2]) if overlap else (shape[1], shape[:1])
    # What is loaded and built at the first call is no memory of the loss.
    for part in (4, 1):
        sides, fine_sides = ([-(-side // part) for side in size] for size in (shape[2:], fine))
        logits = torch.randn(*shape[:2], *sides, dtype=dtype, device=device).requires_grad_()
        target = torch.randint(labels, (*leading, *fine_sides), device=device)
        size = logits.numel() * logits.element_size() / 2**20
        peak = peak_growth(partial(_step, loss, logits, target), device == "cuda")
    return max(peak - size, 0.0)


def _step(loss: NamedLoss, logits: Tensor, target: Tensor) -> None:
    loss(logits, target, 1.0).backward()
