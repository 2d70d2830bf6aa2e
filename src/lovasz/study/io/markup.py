"""Text that comes with the data, made safe for LaTeX and for Markdown."""

import re

from lovasz.study.io.text import printable

# Commands that mean a character in every font encoding; braces keep brackets and a star from being the argument of
# the ``\\`` or ``\midrule`` before them.
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "`": r"\char96{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "−": "$-$",
    "±": r"$\pm$",
    "–": "--",
}
# What is markup in CommonMark or in GitHub's tables, and where it would make a link of plain text.
MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#!|~&$@^]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def latex_text(text: object) -> str:
    r"""Return a text as LaTeX that prints it; nothing in it is a command, and it stays on one line.

    Example:
        >>> print(latex_text("50 % [a]_b"))
        50 \% {[}a{]}\_b
    """
    escaped = "".join(LATEX.get(character, character) for character in printable(text).replace("--", "-\0-"))
    return escaped.replace("\0", "{}")


def markdown_text(text: object) -> str:
    r"""Return a text as Markdown that shows it, also in the cell of a table; nothing in it is markup.

    Example:
        >>> print(markdown_text("a|b <i>"))
        a\|b \<i\>
    """
    return MARKDOWN.sub(r"\\\g<0>", printable(text))
