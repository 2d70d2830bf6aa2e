"""``lovasz info``: versions, devices and kernels."""

import platform
from collections.abc import Iterable, Sequence

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lovasz._ops import kernels
from lovasz.study.versions import versions


def print_info() -> None:
    """Prints what is installed and what the losses run on."""
    console = Console(highlight=False)
    console.print(_table("Versions", ("package", "version"), versions().items()))
    console.print(_table("Devices", ("device", "what it is"), devices()))
    console.print(_table("Kernels", ("device", "kernel", "why"), kernels()))


def devices() -> list[tuple[str, str]]:
    """Lists the devices PyTorch can use, each with a description."""
    found = [("cpu", f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads")]
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        found.append((f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB"))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU"))
    return found


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # As Text: Rich would take the [study] of an install command for markup.
        table.add_row(*map(Text, row))
    return table
