"""How a kernel does on a device: it is loaded and held against plain PyTorch there."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from . import agreement, contract, strips
from .remedies import REPORT, remedy

Load = Callable[[], contract.Kernel]


class Trial(NamedTuple):
    """How a kernel did.

    Attributes:
        name: its name.
        kernel: None where it raised or differed.
        failure: type and first line of the exception, or what differed; "" where it agrees.
        remedy: what to do about that.
        missing: whether a package that it needs is not installed.
    """

    name: str
    kernel: contract.Kernel | None
    failure: str = ""
    remedy: str = ""
    missing: bool = False


def tried(name: str, load: Load, device: torch.device) -> Trial:
    """Load a kernel and hold it against plain PyTorch on a device."""
    try:
        with _may_synchronise(device), strips.reading_back():
            kernel = load()
            differs = agreement.difference(kernel, device)
    except Exception as error:
        _ends_if_broken(name, device, error)
        # As text: an exception keeps every tensor of the frames that it went through.
        return Trial(name, None, named(error), remedy(error), isinstance(error, ModuleNotFoundError))
    return Trial(name, None, differs, REPORT) if differs else Trial(name, kernel)


def _ends_if_broken(name: str, device: torch.device, error: Exception) -> None:
    """Raise where a kernel has left a device on which nothing runs any more: then no other can serve."""
    if device.type != "cuda":
        return
    try:
        torch.cuda.synchronize(device)
    except Exception:
        raise RuntimeError(
            f"the {name} kernel of the Lovász losses broke the context of {device} at its check ({named(error)}): "
            f"start again with LOVASZ_CUDA_KERNEL={'triton' if name == 'cuda' else 'off'}, and {REPORT}"
        ) from error


@contextlib.contextmanager
def _may_synchronise(device: torch.device) -> Iterator[None]:
    """Let a check read results back where the caller has set `torch.cuda.set_sync_debug_mode`."""
    mode = torch.cuda.get_sync_debug_mode() if device.type == "cuda" else 0
    if not mode:  # to set it gives a notice, which whoever has set it has seen
        yield
        return
    torch.cuda.set_sync_debug_mode("default")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def named(error: Exception) -> str:
    """Return the type and the first line of an exception."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
