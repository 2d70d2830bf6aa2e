"""Tables ready to paste: booktabs for a paper, Markdown for a page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lovasz.study.environment import versions
from lovasz.study.io.markup import latex_text, markdown_text

LATEX = r"""% {origin}; needs \usepackage{{booktabs}}
\begin{{table}}
\centering
\caption{{{caption}}}
\begin{{tabular}}{{{columns}}}
\toprule
{header} \\
\midrule
{rows}
\bottomrule
\end{{tabular}}
\end{{table}}
"""


@dataclass(frozen=True)
class PasteTable:
    """A table of numbers beside names, as plain text.

    Attributes:
        command: The command that counted them.
        caption: What they are, and what an interval covers, in sentences.
        header: Names of the columns.
        rows: One a name: the name, then numbers.
        mean: A row below these; empty for none.
    """

    command: str
    caption: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    mean: Sequence[str] = ()


def as_latex(table: PasteTable) -> str:
    """Return a table for LaTeX."""
    rows = [_latex_row(row) for row in table.rows]
    if table.mean:
        rows += [r"\midrule", _latex_row(table.mean)]
    return LATEX.format(
        origin=_origin(table),
        caption=latex_text(" ".join(table.caption)),
        columns="l" + "r" * (len(table.header) - 1),
        header=" & ".join(map(latex_text, table.header)),
        rows="\n".join(rows),
    )


def as_markdown(table: PasteTable) -> str:
    """Return a table for Markdown, as GitHub reads it; its caption is the paragraph below."""
    rules = [":--", *["--:"] * (len(table.header) - 1)]
    cells = [table.header, *table.rows, *([table.mean] if table.mean else [])]
    header, *rows = ["| " + " | ".join(map(markdown_text, row)) + " |" for row in cells]
    lines = [f"<!-- {_origin(table)} -->", "", header, f"| {' | '.join(rules)} |", *rows]
    return "\n".join([*lines, "", markdown_text(" ".join(table.caption)), ""])


# The files by their names.
FORMATS: dict[str, Callable[[PasteTable], str]] = {"table.tex": as_latex, "table.md": as_markdown}


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


def _origin(table: PasteTable) -> str:
    return f"lovasz {table.command} {versions()['lovasz']}"
