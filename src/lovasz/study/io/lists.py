"""Lists in CSV files: which files belong together."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from lovasz.study.io.text import TextError, printable, text_of


class ListError(TextError):
    """A list does not hold what it should; the message names it and the line."""


def columns_of(file: Path) -> list[str]:
    """Return what the first line of a CSV file names; nothing where it is none, which `read_list` says.

    Raises:
        TextError: If the file cannot be read.
    """
    try:
        return next(csv.reader(io.StringIO(text_of(file), newline=""), strict=True), [])
    except csv.Error:
        return []


def read_list(
    file: Path, columns: Sequence[str], optional: Sequence[str] | None = ()
) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the rows of a CSV file whose first line names its columns.

    Cells are taken as they are: nothing in them is a formula.

    Args:
        file: UTF-8, with or without a byte order mark.
        columns: The columns that must be there.
        optional: Columns that may be there; None for any.

    Yields:
        Where the row is, for messages, and its cells by column; a cell that is missing is empty.

    Raises:
        TextError: If the file cannot be read.
        ListError: If it is not CSV, or has other columns.
    """
    rows = csv.DictReader(io.StringIO(text_of(file), newline=""), strict=True)
    where = printable(file)
    try:
        found = rows.fieldnames or ()
        allowed = found if optional is None else (*columns, *optional)
        if not set(columns) <= set(found) <= set(allowed) or len(set(found)) < len(found):
            may = " and others" if optional is None else f" and perhaps {', '.join(optional)}" if optional else ""
            raise ListError(
                f"{where}: the first line must name the columns {', '.join(columns)}{may}, "
                f"got {', '.join(map(printable, found)) or 'nothing'}"
            )
        for row in rows:
            line = f"{where}, line {rows.line_num}"
            if None in row:
                raise ListError(
                    f"{line}: has more cells than the {len(found)} columns; put a name with a comma in quotes"
                )
            yield line, {column: row.get(column) or "" for column in dict.fromkeys((*columns, *allowed))}
    except csv.Error as error:
        raise ListError(f"{where}, line {rows.line_num + 1}: is not CSV ({error})") from error
