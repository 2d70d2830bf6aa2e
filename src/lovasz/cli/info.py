"""``lovasz info``: versions, devices and kernels; with ``--check``, how each kernel does here."""

import platform
from collections.abc import Callable, Sequence

import torch

from lovasz import KernelCheck, check_kernels, kernels
from lovasz.study.environment import versions

# Title, columns, rows.
Section = tuple[str, Sequence[str], Sequence[Sequence[str]]]


def print_info(check: bool = False) -> bool:
    """Print what is installed and what the losses run on, as tables.

    Args:
        check: whether every kernel is checked and timed as well.

    Returns:
        Whether none that is installed failed.
    """
    from rich.console import Console
    from rich.text import Text

    from lovasz.cli.tables import titled

    console = Console(highlight=False)

    def show(section: Section) -> None:
        title, columns, rows = section
        table = titled(title)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            # As Text: Rich would take the [study] of an install command for markup.
            table.add_row(*map(Text, row))
        console.print(table)

    return _print(show, check)


def print_plain(check: bool = False) -> bool:
    """Print the same as plain text, for an installation without Rich."""

    def show(section: Section) -> None:
        title, columns, rows = section
        print(title)
        lines = [columns, *rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
        for line in lines:
            print("  " + "  ".join(map(str.ljust, line, widths)).rstrip())
        print()

    return _print(show, check)


def _print(show: Callable[[Section], None], check: bool) -> bool:
    """Show what there is to know, the kernels last: a check finds out which serves a GPU."""
    show(("Versions", ("package", "version"), list(versions().items())))
    show(("Devices", ("device", "what it is"), devices()))
    checks = check_kernels() if check else []
    if check:
        show(checked(checks))
    show(("Kernels", ("device", "kernel", "why"), list(kernels())))
    return all(one.passed is not False for one in checks)


def devices() -> list[tuple[str, str]]:
    """List the devices PyTorch can use, each with a description."""
    found = [("cpu", f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads")]
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        found.append((f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB"))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU"))
    return found


def checked(checks: Sequence[KernelCheck]) -> Section:
    """Return how each kernel did, and what a step takes beside one of cross-entropy."""
    rows = []
    for one in checks:
        size = "x".join(map(str, one.size))
        ratio = "-" if one.ratio is None else f"{one.ratio:.2f}"
        rows.append(
            (one.device, one.kernel, one.found, size, _time(one.milliseconds), _time(one.cross_entropy), ratio)
        )
    title = "Check, and milliseconds of value and gradient: lovasz_softmax and cross-entropy (CE) in float32"
    return title, ("device", "kernel", "check", "logits", "ms", "CE ms", "ratio"), rows


def _time(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"
