"""How tables look on the terminal."""

from rich import box
from rich.table import Table


def titled(title: str) -> Table:
    """Return an empty table under a title."""
    return Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
