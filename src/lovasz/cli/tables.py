"""How tables look on the terminal, and what they leave out where it is narrow."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

# Characters that a name keeps beside its numbers, and those of a header before it is folded.
NAME, HEADER = 16, 12
# Characters around a column: a space on either side, and one between columns.
AROUND = 3


@dataclass(frozen=True)
class Column:
    """A column of numbers, written from the right.

    Attributes:
        header: What stands above it, on one line or several.
        cells: One a row.
        rank: How far it can be spared: the highest goes first where the terminal is narrow, 0 never.
    """

    header: str
    cells: Sequence[str]
    rank: int = 0

    @property
    def width(self) -> int:
        """Characters that it needs."""
        lines = [min(cell_len(line), HEADER) for line in self.header.splitlines()]
        return max([*lines, *map(cell_len, self.cells)], default=0)


def titled(title: str) -> Table:
    """Return an empty table under a title, which is plain text."""
    return Table(title=Text(title, style="bold"), box=box.SIMPLE_HEAD, title_justify="left")


def fitted(title: str, header: str, names: Sequence[str], columns: Sequence[Column], width: int) -> Table:
    """Return a table whose first column is read at any width; columns of numbers make room for it.

    Args:
        title: What stands above it; it, the headers and the names are plain text.
        header: That of the first column.
        names: The first column; a long one is folded.
        columns: The others, in the order in which they are shown.
        width: Characters of the terminal.

    Returns:
        The table; what it leaves out stands below it.
    """
    name = min(NAME, max(map(cell_len, (header, *names))))
    shown = list(columns)
    while _width(name, shown) > width and any(column.rank for column in shown):
        shown.remove(max(reversed(shown), key=lambda column: column.rank))
    table = titled(title)
    table.add_column(Text(header), overflow="fold", min_width=name, max_width=24)
    for column in shown:
        table.add_column(Text(column.header), justify="right", overflow="fold", min_width=column.width)
    for row, text in enumerate(names):
        table.add_row(Text(text), *(column.cells[row] for column in shown))
    left_out = [_on_one_line(column.header) for column in columns if column not in shown]
    if left_out:
        table.caption = Text(f"Too narrow for: {', '.join(left_out)}", style="dim")
        table.caption_justify = "left"
    return table


def _width(name: int, columns: Sequence[Column]) -> int:
    """Return the characters that a table needs; there is a border of one on the left."""
    return 1 + name + AROUND + sum(column.width + AROUND for column in columns)


def _on_one_line(header: str) -> str:
    return header.replace("-\n", "").replace("\n", " ")
