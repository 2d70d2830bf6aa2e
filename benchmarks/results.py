"""Measured rows as CSV, and the figure drawn from them."""

import csv
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

Row = TypeVar("Row", bound=NamedTuple)

FOLDER = Path(__file__).parent / "results"
FIGURE = Path(__file__).parent.parent / "docs" / "cpu.svg"


def write(file: str, rows: Sequence[NamedTuple]) -> None:
    """Rows of one kind, with a header."""
    with open(file, "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(rows[0]._fields)
        writer.writerows(rows)


def gather(rows: Iterable[Row], line: Callable[[Row], str], csv_file: str | None) -> list[Row]:
    """Prints each row as soon as it is measured; with a file, what was found as CSV, come what may."""
    found: list[Row] = []
    try:
        for row in rows:
            found.append(row)
            print(line(row), flush=True)
    except KeyboardInterrupt:
        print("interrupted")
    finally:
        if csv_file and found:
            write(csv_file, found)
    return found


def read(name: str) -> list[dict[str, Any]]:
    """The kept rows of a benchmark."""
    with open(FOLDER / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


#: Implementation, marker, colour; told apart by shape as well as by colour.
MARKS = (
    ("lovasz", "o", "#1f6f8b"),
    ("lovasz + ce", "D", "#d1495b"),
    ("batched sort", "s", "#7a8288"),
    ("batched sort, compiled", "P", "#7a8288"),
    ("kornia", "^", "#7a8288"),
    ("torch-pointcloud", "v", "#b0b6bb"),
    ("published", "X", "#3d4348"),
)


def draw() -> None:
    """The time of every implementation on every case, in units of cross-entropy, to docs/cpu.svg."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "lovasz", "svg.fonttype": "none", "font.family": "sans-serif"})
    rows = read("cpu")
    cases = list(dict.fromkeys(r["case"] for r in rows))
    figure, axis = plt.subplots(figsize=(9, 0.34 * len(cases) + 1.5), layout="constrained")
    for name, marker, colour in MARKS:
        ratios: dict[str, list[float]] = {}
        for r in rows:
            if r["implementation"] == name:
                ratios.setdefault(r["case"], []).append(float(r["ratio"]))
        if not ratios:
            continue
        places = [cases.index(case) for case in ratios]
        axis.plot(
            [statistics.median(values) for values in ratios.values()],
            places,
            marker,
            color=colour,
            markersize=7,
            label=name,
            zorder=3,
        )
        if name.startswith("lovasz"):  # from the fastest to the slowest stage
            axis.hlines(places, [min(v) for v in ratios.values()], [max(v) for v in ratios.values()], color=colour)
    axis.axvline(1, color="#222222", linewidth=1)
    axis.text(1, -0.75, " cross-entropy", va="bottom", fontsize=9)
    axis.set(xscale="log", yticks=range(len(cases)), yticklabels=cases, ylim=(len(cases) - 0.5, -0.8))
    axis.set_xlabel("forward + backward, in units of cross-entropy on the same tensors")
    ticks = [0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.minorticks_off()
    axis.grid(axis="x", color="#e3e6e8")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, frameon=False, fontsize=9)
    first = rows[0]
    figure.suptitle(f"{first['threads']} threads of {first['machine']}", fontsize=10)
    figure.savefig(FIGURE, metadata={"Date": None})


def table() -> list[str]:
    """The table of the kept rows: ratios to cross-entropy, memory in MiB."""
    rows = read("cpu")
    sorting = ("batched sort", "batched sort, compiled", "kornia", "torch-pointcloud")
    lines = []
    for case in dict.fromkeys(r["case"] for r in rows):
        mine = [r for r in rows if r["case"] == case]
        shape = f"{mine[0]['shape'].replace('x', ', ')}"

        def ratios(name: str, mine: list[dict[str, Any]] = mine) -> list[float]:
            return [float(r["ratio"]) for r in mine if r["implementation"] == name]

        both = f"{statistics.median(ratios('lovasz + ce')):.2f}" if ratios("lovasz + ce") else ""
        best = [ratio for name in sorting for ratio in ratios(name)]
        published = ratios("published")
        memory = {r["implementation"]: f"{float(r['peak_mib']):.0f}" for r in mine if r["stage"] == "mid"}
        unit = mine[0]["implementation"]
        lines.append(
            f"| {case} | ({shape}) | {' '.join(f'{r:.2f}' for r in ratios('lovasz'))} | {both} "
            f"| {f'{min(best):.0f}' if best else ''} | {f'{published[0]:.0f}' if published else ''} "
            f"| {memory['lovasz']} | {memory[unit]} | {memory.get('published', '')} |"
        )
    return lines
