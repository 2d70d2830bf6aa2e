"""``lovasz info``: versions, devices and kernels."""

import platform
from collections.abc import Sequence

import torch

from lovasz import kernels
from lovasz.study.environment import versions

# Title, columns, rows.
Section = tuple[str, Sequence[str], Sequence[Sequence[str]]]


def print_info() -> None:
    """Print what is installed and what the losses run on, as tables."""
    from rich.console import Console
    from rich.text import Text

    from lovasz.cli.tables import titled

    console = Console(highlight=False)
    for title, columns, rows in sections():
        table = titled(title)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            # As Text: Rich would take the [study] of an install command for markup.
            table.add_row(*map(Text, row))
        console.print(table)


def print_plain() -> None:
    """Print the same as plain text, for an installation without Rich."""
    for title, columns, rows in sections():
        print(title)
        lines = [columns, *rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
        for line in lines:
            print("  " + "  ".join(map(str.ljust, line, widths)).rstrip())
        print()


def sections() -> list[Section]:
    """List what there is to know: versions, devices, kernels."""
    return [
        ("Versions", ("package", "version"), list(versions().items())),
        ("Devices", ("device", "what it is"), devices()),
        ("Kernels", ("device", "kernel", "why"), list(kernels())),
    ]


def devices() -> list[tuple[str, str]]:
    """List the devices PyTorch can use, each with a description."""
    found = [("cpu", f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads")]
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        found.append((f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB"))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU"))
    return found
