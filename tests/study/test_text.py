"""Names that would break a terminal, a file or a spreadsheet."""

import csv
import io
import itertools
import os

from lovasz.study.io.text import csv_text, printable


def test_a_text_that_can_be_printed_stays_as_it_is() -> None:
    for text in ("0001", "Straße 3", "a b'c", r"C:\masks\new", "漢字", "=1"):
        assert printable(text) == text


def test_what_cannot_be_printed_is_escaped() -> None:
    assert printable(os.fsdecode(b"a\xff.png")) == r"a\udcff.png"
    assert printable("a\n\x1b[31m\u202e") == r"a\x0a\x1b[31m\u202e"
    assert printable("\u200ea\u200f\u061c") == r"\u200ea\u200f\u061c"


def test_different_texts_stay_different() -> None:
    parts = ("\\", "\udcff", r"\udcff", "udcff", "\n", r"\x0a", "x0a")
    texts = {"".join(some) for length in (1, 2, 3) for some in itertools.product(parts, repeat=length)}
    assert len(set(map(printable, texts))) == len(texts)
    "".join(map(printable, texts)).encode()


def test_no_cell_is_a_formula() -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", "'quoted'", "sky", "a=1", ""]
    found = [csv_text(text) for text in texts]
    assert found[-4:] == texts[-4:]
    assert all(text == f"'{old}" for text, old in zip(found[:-4], texts[:-4], strict=True))
    assert len(set(found)) == len(texts)
    file = io.StringIO()
    csv.writer(file).writerow(found)
    assert next(csv.reader([file.getvalue()])) == found
