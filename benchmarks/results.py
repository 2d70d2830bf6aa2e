"""Measured rows as CSV, and the README's figure drawn from them."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "results"
FIGURE = Path(__file__).parent.parent / "docs" / "speed.svg"


def write(file: str, rows: Sequence[NamedTuple]) -> None:
    """Rows of one kind, with a header."""
    with open(file, "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(rows[0]._fields)
        writer.writerows(rows)


def read(name: str) -> list[dict[str, Any]]:
    """The kept rows of a benchmark."""
    with open(FOLDER / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def draw() -> None:
    """Time and memory of every implementation to docs/speed.svg."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "lovasz", "svg.fonttype": "none", "font.family": "sans-serif"})
    rows = sorted(read("speed"), key=lambda r: float(r["both_ms"]))
    names = [r["implementation"].replace("cross_entropy", "cross-entropy") for r in rows]
    ours = ["#1f6f8b" if n.startswith("lovasz") else "#9aa3ab" for n in names]
    panels = (
        ("both_ms", "forward + backward, ms", "ratio_to_cross_entropy", "{:.0f} ms  ({:.1f} x)"),
        ("peak_mib", "peak memory beyond logits, target, gradient, MiB", None, "{:.0f} MiB"),
    )
    figure, axes = plt.subplots(1, 2, figsize=(10, 2.6), sharey=True, layout="constrained")
    for axis, (column, label, ratio, form) in zip(axes, panels, strict=True):
        values = [float(r[column]) for r in rows]
        axis.barh(names, values, color=ours, height=0.65)
        axis.set(xlabel=label, xlim=(0, max(values) * 1.4))
        axis.invert_yaxis() if axis is axes[0] else None
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        for i, r in enumerate(rows):
            text = form.format(*(float(r[c]) for c in (column, ratio) if c))
            axis.text(values[i] + max(values) / 60, i, text, va="center", fontsize=9)
    first = rows[0]
    figure.suptitle(
        f"{first['shape'].replace('x', ' x ')} {first['dtype']}, {first['threads']} threads of {first['machine']}",
        fontsize=10,
    )
    figure.savefig(FIGURE, metadata={"Date": None})
