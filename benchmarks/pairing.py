"""How long it takes to list two folders and to find what belongs together in them, by name alone."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lovasz.study.score.pairing import pair

from . import measure, results

REPEATS = 3
#: Names in the two folders, by their number: alike, by a common suffix, and in subfolders.
NAMES = {
    "equal names": ("{0:06}.png", "{0:06}.png"),
    "a suffix": ("{0:06}.png", "{0:06}_mask.png"),
    "100 subfolders": ("{1:02}/{0:06}.png", "{1:02}/{0:06}.png"),
}


class PairingRow(NamedTuple):
    """One way to name the files of two folders: seconds to list and pair them."""

    names: str
    pairs: int
    seconds: float
    spread_s: float
    machine: str
    date: str


def rows(quick: bool) -> Iterator[PairingRow]:
    """Every way to name them; the files are empty, as none is opened."""
    number = 1_000 if quick else 100_000
    for names, sides in NAMES.items():
        with tempfile.TemporaryDirectory() as name:
            folders = [Path(name) / side for side in ("predictions", "targets")]
            for folder, form in zip(folders, sides, strict=True):
                for parent in {(folder / form.format(0, n)).parent for n in range(100)}:
                    parent.mkdir(parents=True, exist_ok=True)
                for index in range(number):
                    (folder / form.format(index, index % 100)).touch()
            seconds = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                found = pair(folders[0], folders[1])
                seconds.append(time.perf_counter() - start)
            assert len(found.files) == number
            assert not found.problems
        spread = measure.interquartile_range(seconds)
        yield PairingRow(names, number, statistics.median(seconds), spread, measure.machine(), measure.today())


def line(row: PairingRow) -> str:
    """One row under the heading."""
    return f"{row.names:20}{row.pairs:10,}{row.seconds:10.2f}{row.spread_s:10.2f}"


def print_table(csv_file: str | None, quick: bool) -> None:
    """Prints the rows and the longest; with a file, also as CSV."""
    print(measure.machine())
    print(f"{'names':20}{'pairs':>10}{'seconds':>10}{'spread':>10}")
    found = results.gather(rows(quick), line, csv_file)
    if found:
        print(f"{max(row.seconds for row in found):.1f} seconds at most (target <= 10)")
