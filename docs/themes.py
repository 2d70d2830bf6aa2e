"""The colours of the figures, on light and on dark pages."""

from typing import NamedTuple


class Theme(NamedTuple):
    """Colours of a page and, from Okabe and Ito's palette, of what is drawn on it."""

    ink: str
    soft: str
    grid: str
    first: str
    second: str
    third: str


THEMES = {
    "light": Theme("#1c1e21", "#5d636b", "#dfe2e5", "#0072b2", "#d55e00", "#00785a"),
    "dark": Theme("#e6e8ea", "#a5acb5", "#3a3f46", "#56b4e9", "#e69f00", "#3fc9a2"),
}
