"""How often intervals hold the truth, drawn from the kept rows of `python -m benchmarks coverage`."""

from typing import Any

import matplotlib.pyplot as plt
from themes import Theme

from benchmarks import results


def coverages() -> dict[str, dict[str, list[tuple[int, float, float]]]]:
    """By setting and method: number of units, coverage of the mIoU and its standard error, in percent."""
    found: dict[str, dict[str, list[tuple[int, float, float]]]] = {}
    for r in results.read("coverage"):
        if r["score"] == "mIoU":
            numbers = int(r["number"]), 100 * float(r["coverage"]), 100 * float(r["standard_error"])
            found.setdefault(r["setting"], {}).setdefault(r["method"], []).append(numbers)
    return found


def coverage(theme: Theme) -> Any:
    """How often intervals of the mIoU hold the truth: by method, and of images that come in groups."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    found = coverages()
    ways = ((theme.first, "-", "o"), (theme.third, ":", "^"), (theme.second, "--", "s"))
    for axis, lines in (
        (left, [(found["images"][name], name) for name in ("shipped", "percentile", "BCa")]),
        (right, [(found[f"groups, {what} drawn"]["shipped"], f"{what} drawn") for what in ("groups", "images")]),
    ):
        for (rows, name), (colour, dash, marker) in zip(lines, ways, strict=False):
            numbers, hits, errors = zip(*rows, strict=True)
            axis.errorbar(numbers, hits, errors, fmt=dash + marker, color=colour, linewidth=2, label=name)
        axis.axhline(95, color=theme.soft, linewidth=1)
        axis.set(xscale="log", ylabel="intervals that hold the truth, %")
        numbers = [number for number, _, _ in lines[0][0]]
        axis.set_xticks(numbers, [f"{number:,}" for number in numbers])
        axis.minorticks_off()
        axis.grid(color=theme.grid)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, frameon=False, fontsize=10)
    left.set(xlabel="images", ylim=(80, 100))
    right.set(xlabel="groups of ten images", ylim=(0, 100))
    return figure
