"""The figures of the documentation, drawn by code: `python docs/figures.py FOLDER`, the same bytes each time.

Each is drawn for light and for dark pages, on a transparent ground, in colours that can be told apart with any
colour vision; markers, dashes and hatches say the same without colour.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

matplotlib.use("svg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parent.parent))

import coverage_figure
from themes import THEMES, Theme

from benchmarks import published, regimes
from benchmarks.accuracy import value_and_gradient
from lovasz import Counts, count, lovasz_sigmoid
from lovasz._math import binning, decision, jaccard
from lovasz.measures import JACCARD

#: Twelve pixels of one class: their errors, and which of them are foreground.
ERRORS = (0.93, 0.84, 0.73, 0.58, 0.52, 0.44, 0.33, 0.27, 0.21, 0.12, 0.07, 0.03)
FOREGROUND = (True, False, True, False, False, True, False, True, False, True, False, False)
FEW_BINS = 5

#: Numbers of pixels, as powers of two, of the figure of gradient errors.
POWERS = tuple(range(12, 23, 2))
BINS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


def weights_by_sorting() -> tuple[list[float], float]:
    """The weight of each of the twelve pixels, in order of decreasing error, and the loss."""
    f = torch.tensor(FOREGROUND)
    k, j = f.cumsum(0) - f.long(), (~f).cumsum(0) - (~f).long()
    w = torch.where(f, *jaccard.increments(k, j, f.sum()))
    return w.tolist(), (torch.tensor(ERRORS, dtype=torch.float64) @ w).item()


def table_by_counting() -> Tensor:
    """Background and foreground pixels of the twelve in each of the few bins, as the library counts them."""
    bins = binning.index(torch.tensor(ERRORS, dtype=torch.float64), FEW_BINS, "sigmoid")
    table = torch.zeros(1, 1, 2, FEW_BINS + 1, dtype=torch.int64)
    table[0, 0].index_put_((torch.tensor(FOREGROUND).long(), bins.long()), torch.tensor(1), accumulate=True)
    return table


def sorting_and_counting(theme: Theme) -> Any:
    """The same twelve pixels in order, each with its weight, and in five bins, each with two integers."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(5, 5.8), layout="constrained")
    weights, exact = weights_by_sorting()
    places = range(1, len(ERRORS) + 1)
    for foreground, colour, hatch, label in _sides(theme):
        at = [p for p, f in zip(places, FOREGROUND, strict=True) if f == foreground]
        above.bar(at, [ERRORS[p - 1] for p in at], 0.72, label=label, **_filled(colour, hatch))
    for place, m, w in zip(places, ERRORS, weights, strict=True):
        above.text(place, m + 0.03, f"{w:.2f}"[1:] if w else "0", ha="center", fontsize=9)
    above.set_title(f"Sort: error × weight, added up = {exact:.3f}", loc="left", fontsize=11)
    above.set(xticks=[1, 12], xticklabels=["1st", "12th"], ylim=(0, 1.1), ylabel="error")
    above.set_xlabel("pixels by error; the weight of each stands on its bar", fontsize=10)
    above.legend(loc="upper right", frameon=False, fontsize=10)

    table = table_by_counting()
    loss, bound = jaccard.losses(table, "sigmoid").item(), jaccard.bounds(table, "sigmoid").item()
    base = [0] * FEW_BINS
    for foreground, colour, hatch, _ in _sides(theme):
        numbers = table[0, 0, int(foreground), :-1].tolist()
        for b, (bottom, n) in enumerate(zip(base, numbers, strict=True)):
            if n:
                below.bar(b, n, 0.9, bottom=bottom, **_filled(colour, hatch))
                below.text(b, bottom + n / 2, str(n), ha="center", va="center", fontsize=11, bbox=_label(theme))
        base = [a + b for a, b in zip(base, numbers, strict=True)]
    below.set_title(f"Count: from ten integers = {loss:.3f}, certified ± {bound:.3f}", loc="left", fontsize=11)
    points = binning.grid(FEW_BINS, "sigmoid").tolist()
    below.set(ylim=(0, 4.3), yticks=range(5), ylabel="pixels", xticks=range(FEW_BINS))
    below.set_xticklabels([f"{m:.2f}".rstrip("0").rstrip(".") for m in points])
    below.set_xlabel("error, to the nearest of five grid points", fontsize=10)
    return figure


def _sides(theme: Theme) -> tuple[tuple[bool, str, str, str], ...]:
    return (True, theme.first, "", "foreground"), (False, theme.second, "////", "background")


def _filled(colour: str, hatch: str) -> dict[str, Any]:
    return {"facecolor": "none" if hatch else colour, "edgecolor": colour, "hatch": hatch, "linewidth": 1.2}


def _label(theme: Theme) -> dict[str, Any]:
    page = "#ffffff" if theme is THEMES["light"] else "#131416"
    return {"boxstyle": "round,pad=0.18", "facecolor": page, "edgecolor": "none"}


def _binary(pixels: int, foreground: float, shift: float) -> tuple[Tensor, Tensor]:
    return regimes.binary(regimes.Regime("", pixels, foreground, shift), seed=0)


def stages() -> list[tuple[str, Counts]]:
    """One class in three stages of a training, counted."""
    return [
        (name, count(*_binary(2**16, 0.05, shift), form="sigmoid"))
        for name, shift in (("early", 0.5), ("mid", 2), ("late", 4))
    ]


def jaccard_curve(theme: Theme) -> Any:
    """The curve of one class at three stages; the area below is the loss, the height at 1/2 is 1 - IoU."""
    figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
    looks = ((theme.third, ":", "^"), (theme.first, "-", "o"), (theme.second, "--", "s"))
    for (name, counts), (colour, dash, marker) in zip(stages(), looks, strict=True):
        thresholds, curve = counts.curve()
        curve = curve[0, 0]
        height = curve[int((thresholds <= 0.5).sum()) - 1].item()
        shown = range(0, len(thresholds), 16)
        t, J = [thresholds[i].item() for i in shown], [curve[i].item() for i in shown]
        axis.plot(t, J, dash, color=colour, linewidth=2, label=f"{name}: loss {counts.loss().item():.2f}")
        axis.plot([0.5], [height], marker, color=colour, markersize=7)
        if name == "mid":
            axis.fill_between(t, J, color=colour, alpha=0.18, linewidth=0)
            axis.text(0.48, height - 0.08, f"1 − IoU = {height:.2f}", ha="right", fontsize=10)
            axis.text(0.53, 0.25, "area = loss", fontsize=10)
    axis.axvline(0.5, color=theme.soft, linewidth=1)
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold t", ylabel="J of the pixels with a larger error")
    axis.grid(color=theme.grid)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, frameon=False, fontsize=10)
    return figure


def bands() -> tuple[float, list[tuple[int, float, float]]]:
    """The exact loss of one class, and for each number of bins the loss by counting and its bound."""
    logits, target = _binary(2**16, 0.05, 2)
    exact = lovasz_sigmoid(logits.double(), target, bins=None).item()
    rows = []
    for bins in BINS:
        counts = count(logits, target, form="sigmoid", bins=bins)
        rows.append((bins, counts.loss().item(), counts.bound().item()))
    return exact, rows


def certified_band(theme: Theme) -> Any:
    """The certified band around the loss as bins are added, and the errors it bounds."""
    exact, rows = bands()
    bins, losses, bounds = (list(column) for column in zip(*rows, strict=True))
    figure, (above, below) = plt.subplots(2, 1, figsize=(5, 5.6), sharex=True, layout="constrained")
    low = [x - b for x, b in zip(losses, bounds, strict=True)]
    high = [x + b for x, b in zip(losses, bounds, strict=True)]
    above.fill_between(bins, low, high, color=theme.first, alpha=0.22, linewidth=0, label="certified band")
    above.plot(bins, losses, "o", color=theme.first, markersize=5, label="counted")
    above.axhline(exact, color=theme.second, linestyle="--", linewidth=1.5, label="exact")
    above.set(ylabel="loss")
    below.plot(bins, bounds, "-", color=theme.first, linewidth=2, label="certified bound")
    errors = [abs(x - exact) for x in losses]
    below.plot(bins, errors, "s", color=theme.second, markersize=5, label="true error")
    below.set(xscale="log", yscale="log", xlabel="bins", ylabel="distance from the exact loss")
    below.set_xticks([16, 64, 256, 1024, 4096, 16384], ["16", "64", "256", "1,024", "4,096", "16,384"])
    below.minorticks_off()
    for axis in (above, below):
        axis.grid(color=theme.grid)
        axis.legend(loc="upper right", frameon=False, fontsize=10)
    return figure


def gradient_errors() -> dict[str, list[float]]:
    """Relative L2 errors of the gradient in the logits against float64 sorting, half of the pixels foreground."""
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "published": published.lovasz_sigmoid,
        "counting": partial(lovasz_sigmoid, bins=16384),
        "sorting, closed form": partial(lovasz_sigmoid, bins=None),
    }
    found: dict[str, list[float]] = {name: [] for name in losses}
    for power in POWERS:
        logits, target = _binary(2**power, 0.5, 2)
        _, exact = value_and_gradient(losses["sorting, closed form"], logits.double(), target)
        for name, loss in losses.items():
            _, gradient = value_and_gradient(loss, logits, target)
            found[name].append(((gradient - exact).norm() / exact.norm()).item())
    return found


def gradient_error(theme: Theme, found: dict[str, list[float]]) -> Any:
    """The error of the gradient against the number of pixels, published and ours."""
    figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
    looks = ((theme.second, "--", "s"), (theme.first, "-", "o"), (theme.third, ":", "^"))
    for (name, errors), (colour, dash, marker) in zip(found.items(), looks, strict=True):
        label = "float32 differences, as published" if name == "published" else name
        axis.plot([2**p for p in POWERS], errors, dash, marker=marker, color=colour, linewidth=2, label=label)
    axis.set(xscale="log", yscale="log", xlabel="pixels", ylabel="relative error of the gradient")
    axis.set_xticks([2**p for p in POWERS], [f"$2^{{{p}}}$" for p in POWERS])
    axis.minorticks_off()
    axis.grid(color=theme.grid)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, frameon=False, fontsize=10)
    return figure


def head() -> tuple[Tensor, Tensor, Tensor]:
    """Thresholds and IoU of one class whose labels were drawn from its probabilities, and the best of them."""
    generator = torch.Generator().manual_seed(0)
    logits = 1.5 * torch.randn(2**18, generator=generator) - 2
    target = torch.bernoulli(logits.sigmoid(), generator=generator).long()
    curve = count(logits, target, form="sigmoid").threshold_curve()
    return curve.thresholds, curve.score()[0], torch.cat(curve.best())


def small_class() -> tuple[Tensor, Tensor]:
    """Return factors and thresholds of a rule where the third class is a tenth as large as the others."""
    return decision.rule(torch.tensor([[70, 100, 100], [70, 100, 100], [5, 10, 10]]), JACCARD)


def two_decisions(theme: Theme) -> Any:
    """IoU over the threshold of one class; and three probabilities as a triangle, divided by argmax and rule."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    thresholds, score, (best, highest) = head()
    left.plot(thresholds[::40], score[::40], color=theme.first, linewidth=2)
    half = score[int((thresholds < 0.5).sum())].item()
    for t, iou, marker, name in ((best.item(), highest.item(), "o", "best"), (0.5, half, "s", "1/2")):
        left.plot([t], [iou], marker, color=theme.second, markersize=7)
        left.annotate(f"{name}: {iou:.2f}", (t, iou), (8, 6), textcoords="offset points", fontsize=10)
    left.set(xlim=(0, 1), ylim=(0, 0.4), xlabel="threshold on the probability", ylabel="IoU")
    left.grid(color=theme.grid)

    side = torch.linspace(0, 1, 401)
    y, x = torch.meshgrid(side, side, indexing="ij")
    third = y
    second = x - y / 2
    p = torch.stack((1 - second - third, second, third))
    inside = (p >= -1e-6).all(0)
    factor, threshold = (one.view(3, 1, 1) for one in small_class())
    for gain, colour, dash in ((p, theme.soft, "--"), ((p - threshold) * factor, theme.first, "-")):
        first, second_best = gain.topk(2, 0).values
        margins = [torch.where(inside, g - torch.where(g == first, second_best, first), torch.nan) for g in gain]
        for margin in margins:
            right.contour(x, y, margin, levels=[0], colors=colour, linestyles=dash, linewidths=1.8)
    right.plot([0, 1, 0.5, 0], [0, 0, 1, 0], color=theme.ink, linewidth=1)
    for at, name, side_of in (
        ((0, -0.03), "a", "right"),
        ((1, -0.03), "b", "left"),
        ((0.5, 1.02), "small class", "center"),
    ):
        right.text(*at, name, ha=side_of, va="bottom" if at[1] > 0 else "top", fontsize=11)
    right.plot([], [], "--", color=theme.soft, label="argmax")
    right.plot([], [], "-", color=theme.first, label="for the mean IoU")
    right.set_axis_off()
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, frameon=False, fontsize=10)
    return figure


def draw(folder: Path) -> None:
    """Writes every figure, light and dark; a file that would not change is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Callable[[Theme], Any]] = {
        "sorting-and-counting": sorting_and_counting,
        "jaccard-curve": jaccard_curve,
        "certified-band": certified_band,
        "decision": two_decisions,
        "coverage": coverage_figure.coverage,
        "gradient-error": partial(gradient_error, found=gradient_errors()),
    }
    for name, make in figures.items():
        for shade, theme in THEMES.items():
            with plt.rc_context(_settings(theme)):
                figure = make(theme)
                file = folder / f"{name}-{shade}.svg"
                fresh = file.with_suffix(".new")
                figure.savefig(fresh, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
                plt.close(figure)
            if file.exists() and file.read_bytes() == fresh.read_bytes():
                fresh.unlink()
            else:
                fresh.replace(file)


def _settings(theme: Theme) -> Any:
    """Text as outlines, so that a figure looks the same whatever fonts there are."""
    inks = ("text.color", "axes.labelcolor", "axes.titlecolor")
    softs = ("axes.edgecolor", "xtick.color", "ytick.color")
    return {
        "svg.hashsalt": "lovasz", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 11,
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        **dict.fromkeys(inks, theme.ink), **dict.fromkeys(softs, theme.soft),
    }  # fmt: skip


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
