"""The figures of docs/evidence.md: the gain of every loss, by study, and the digits of the gradient."""

from pathlib import Path
from typing import Any

from studies import tables

#: Loss, marker, colour; told apart by shape as well as by colour.
MARKS = {
    "weighted-ce": ("s", "#7a8288"),
    "ce+dice": ("^", "#8a6d3b"),
    "ce+jml": ("v", "#6b4c7a"),
    "lovasz": ("o", "#1f6f8b"),
    "ce+lovasz": ("D", "#d1495b"),
    "ce>lovasz": ("P", "#5b7f3a"),
    "lovasz-exact": ("X", "#3d4348"),
    "bce+dice": ("^", "#8a6d3b"),
    "hinge": ("s", "#7a8288"),
    "sigmoid": ("o", "#1f6f8b"),
    "bce+sigmoid": ("D", "#d1495b"),
}


def draw(folder: Path) -> None:
    """Draws a figure for each study that has been run."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "lovasz", "svg.fonttype": "none", "font.family": "sans-serif"})
    for study in tables.STUDIES:
        rows = tables.read(study)
        if rows:
            _save(_gains(plt, rows), folder / f"evidence-{study}.svg")
    rows = tables.read("gradient")
    if rows:
        _save(_gradient(plt, rows), folder / "evidence-gradient.svg")


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, metadata={"Date": None})


def _gains(plt: Any, rows: list[dict[str, str]]) -> Any:
    """The difference of each loss to the baseline: a line for its interval, a small mark a seed."""
    losses = tables.losses_of(rows)[1:]
    figure, axis = plt.subplots(figsize=(7, 0.42 * len(losses) + 1), layout="constrained")
    for place, loss in enumerate(losses):
        marker, colour = MARKS[loss]
        gap = tables.difference(rows, loss)
        if gap.low is not None:
            axis.hlines(place, gap.low, gap.high, color=colour, linewidth=2.5)
        axis.plot(gap.values, [place + 0.26] * len(gap.values), "|", color="#5a6268", markersize=7)
        axis.plot(gap.mean, place, marker, color=colour, markersize=9, zorder=3)
    axis.axvline(0, color="#5a6268", linewidth=1)
    axis.set(yticks=range(len(losses)), yticklabels=losses, ylim=(len(losses) - 0.4, -0.6))
    axis.set_xlabel(
        f"test {tables.metric_of(rows)} minus that of {tables.baseline_of(rows)} with the same seed, points; "
        "line: 95 % interval, ticks: seeds"
    )
    _plain(axis)
    axis.grid(axis="x", color="#e3e6e8")
    return figure


def _gradient(plt: Any, rows: list[dict[str, str]]) -> Any:
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for name, label, marker, colour in (
        ("published", "float32 differences, as published", "X", "#3d4348"),
        ("counting", "counting", "o", "#1f6f8b"),
        ("sorting", "sorting, closed form (bins=None)", "D", "#d1495b"),
    ):
        pixels, errors = ([float(row[key]) for row in rows] for key in ("pixels", f"{name}_error"))
        axis.plot(pixels, errors, f"{marker}-", color=colour, label=label)
    axis.set(xscale="log", yscale="log", ylabel="relative L1 error of the gradient")
    powers = [int(row["pixels"]).bit_length() - 1 for row in rows]
    axis.set_xticks([2**power for power in powers], [f"2^{power}" for power in powers])
    axis.minorticks_off()
    axis.set_xlabel("pixels of one class that half of them have")
    axis.legend(frameon=False, fontsize=9)
    _plain(axis)
    return figure


def _plain(axis: Any) -> None:
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
