"""The losses of a comparison as a table to paste."""

from pathlib import Path

from lovasz.study.data.parts import TEST
from lovasz.study.io.disk import write_text
from lovasz.study.summary.compare import Comparison, LossSummary
from lovasz.study.summary.paste import FORMATS, PasteTable
from lovasz.study.summary.stats import NOT_CORRECTED, signed, tenths, wide_intervals
from lovasz.study.summary.two_sources import ends_text, interval_text

# What the second interval covers, of so many test images.
OVER_IMAGES = (
    "That over seeds and images covers the choice of the {:,} test images too: the variance of the mean over seeds "
    "plus that of resampled images, with Satterthwaite's degrees of freedom."
)


def write_table(comparison: Comparison, path: Path) -> None:
    """Write ``table.tex`` or ``table.md``."""
    write_text(path, FORMATS[path.name](loss_table(comparison)))


def loss_table(comparison: Comparison) -> PasteTable:
    """Return mean and standard deviation of each loss, and its difference from the baseline with the interval."""
    several, many = bool(comparison.differences), len(comparison.seeds) > 1
    header = ["Loss", f"Test {comparison.words.metric}", *["its 95 % interval"] * bool(comparison.intervals_of)]
    if comparison.over_large:
        header.append(f"mIoU of {len(comparison.large)} {comparison.words.several}")
    header += [f"− {comparison.losses[0]}"] * several + ["95 % interval"] * (several and many)
    header += ["over seeds and images"] * comparison.over_images
    differences = {row.loss: row for row in comparison.differences}
    both = dict(zip(differences, comparison.both, strict=True))
    rows = []
    for row, own in zip(comparison.summaries, comparison.intervals, strict=True):
        cells = [row.loss, _mean(row), *[ends_text(own.miou)] * bool(comparison.intervals_of)]
        if comparison.over_large:
            cells.append(tenths(row.large_mean))
        found = differences.get(row.loss)
        cells += ["" if found is None else signed(found.mean)] * several
        cells += ["" if found is None else interval_text(found)] * (several and many)
        cells += ["" if found is None else interval_text(both[row.loss])] * comparison.over_images
        rows.append(cells)
    return PasteTable("compare", _caption(comparison, several, many), header, rows)


def _caption(comparison: Comparison, several: bool, many: bool) -> list[str]:
    n, data, words = len(comparison.seeds), comparison.data, comparison.words
    of_seeds = f"mean ± standard deviation over {n} seeds" if many else "one seed"
    said = [f"Test {words.metric} in % on {data.name}, {_over(comparison)}: {of_seeds}."]
    if comparison.over_large:
        said.append(f"Beside it the mean over the {comparison.over_large}.")
    if comparison.intervals_of:
        said.append(f"The 95 % interval of a mean is over {comparison.intervals_of}.")
    if several:
        said.append(f"Differences from {comparison.losses[0]} are in points, seed by seed.")
    if several and many:
        said.append(
            f"The interval of their mean (Student's t, {n} seeds) covers what the seed changes: initial weights, "
            "dropout, order and augmentation of the images; not other data, networks or schedules."
        )
        said += [OVER_IMAGES.format(len(data.parts[TEST].samples))] * comparison.over_images
    if comparison.intervals_of:
        grouped = comparison.units.noun == "group"
        said.append("Images of a group are drawn together." if grouped else "The images are taken for independent.")
    if several and many:
        said += [NOT_CORRECTED] if len(comparison.differences) > 1 else []
        said += filter(None, [wide_intervals(comparison.differences)])
    return said + [
        f"{row.loss} diverged with seed {', '.join(map(str, row.diverged))}."
        for row in comparison.summaries
        if row.diverged
    ]


def _mean(row: LossSummary) -> str:
    return tenths(row.mean) + ("" if row.spread is None else f" ± {row.spread:.1f}")


def _over(comparison: Comparison) -> str:
    """Say what the score is over: its classes, or of a single label its name."""
    data, words = comparison.data, comparison.words
    if data.overlap and data.num_classes == 1:
        return f"of {data.class_names[0]}"
    return f"over {words.of(data.num_classes)}"
