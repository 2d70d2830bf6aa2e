"""Rows of CSV files in which no text is a formula."""

import csv
import math
from collections.abc import Iterable, Sequence
from typing import IO, Any

from lovasz.study.io.text import csv_text


def write_rows(file: IO[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as CSV; a text that would be a formula gets an apostrophe before it, numbers stay as they are.

    Args:
        file: Opened with ``newline=""``.
        rows: Cells by row; None is an empty cell.
    """
    plain, quoted = (
        csv.writer(file, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )
    for row in rows:
        cells = [csv_text(cell) if isinstance(cell, str) else cell for cell in row]
        # Unquoted, a carriage return would begin a row, and what follows it a cell.
        broken = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (quoted if broken else plain).writerow(cells)


def score_cell(value: float | None) -> str:
    """Return a score as a cell has it, with six decimals; empty if there is none or it is no number."""
    return "" if value is None or math.isnan(value) else f"{value:.6f}"
