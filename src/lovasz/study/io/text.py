"""Text that comes with the data: read, and made safe for a terminal, a table or a page."""

import re
from pathlib import Path

# Control characters, ends of lines, marks that turn the direction of writing, and what Python puts in the place of
# bytes that are not UTF-8.
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# What is written for one of these.
ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4})")
# A spreadsheet program takes a cell that begins so for a formula, which may start other programs.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class TextError(ValueError):
    """A file of text does not hold what it should; the message names it."""


def text_of(file: Path) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        TextError: If it cannot be read or is something else.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 text ({error.reason} at byte {error.start})"
        raise TextError(f"{printable(file)}: {reason}") from error
    except OSError as error:
        raise TextError(f"{printable(file)}: {error.strerror or error}") from error


def printable(text: object) -> str:
    r"""Return a text or a path that can be printed and encoded; different ones stay different.

    A character that cannot is written as ``\x1b`` or ``\udcff``; only where there is one, or
    something that looks like one written so, are backslashes doubled.
    """
    text = str(text)
    if not UNSAFE.search(text) and not ESCAPE.search(text):
        return text
    return UNSAFE.sub(_escaped, text.replace("\\", "\\\\"))


def csv_text(text: str) -> str:
    """Return a text as the cell of a table that a spreadsheet takes for no formula; different ones stay different.

    An apostrophe goes before ``=``, ``+``, ``-``, ``@``, tab or carriage return, and before
    apostrophes that one of these follows.
    """
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def _escaped(found: "re.Match[str]") -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
