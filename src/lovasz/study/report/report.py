"""The report: one HTML page that needs no network, made from a comparison."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lovasz.study.data import augment
from lovasz.study.data.parts import TEST
from lovasz.study.io.classes import numbered
from lovasz.study.io.disk import write_text
from lovasz.study.report.changes import changed_images
from lovasz.study.report.charts import WIDTHS, Gain, curves, forest, gains, multiples, styles
from lovasz.study.report.confusions import SHADES, WRITTEN, cells, confused, strokes
from lovasz.study.report.labels import found_labels, label_thresholds, threshold_paths
from lovasz.study.report.maps import GAINED, LOST, RIGHT, WRONG
from lovasz.study.report.page import render
from lovasz.study.summary.compare import Comparison, LossSummary
from lovasz.study.summary.durations import said_of_time
from lovasz.study.summary.resampling import FEWEST
from lovasz.study.summary.stats import NOT_CORRECTED, signed, wide_intervals
from lovasz.study.summary.two_sources import ends_text
from lovasz.study.train import losses, network
from lovasz.study.train.config_file import write_config
from lovasz.study.train.predict import KEPT
from lovasz.study.train.runs import pixels_of
from lovasz.study.train.settings import Settings

if TYPE_CHECKING:
    from markupsafe import Markup

# Jaccard curves that are open from the start.
OPEN = 24
SCHEDULES = {
    "cosine": "falling to 0 along a cosine",
    "poly": "falling to 0 as (1 - share of the steps done) to the power of 0.9",
    "constant": "constant",
}
OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD with Nesterov momentum 0.9"}


def write_report(comparison: Comparison, path: Path) -> None:
    """Write ``report.html``: verdict, tables, charts, pictures, settings, credit.

    Args:
        comparison: What to report.
        path: The file to write; it loads nothing from anywhere else.
    """
    best = _best(comparison)
    zero, rows = gains(comparison, best)
    compared = [comparison.losses[0], *([best.loss] if best else [])]
    data, settings = comparison.data, comparison.settings
    forests = {name: forest(comparison, width) for name, width in WIDTHS.items()}
    page = render(
        "report.html.j2",
        comparison=comparison,
        data=data,
        settings=settings,
        config=comparison.config,
        yaml=write_config(comparison.config),
        signed=signed,
        ends_text=ends_text,
        credit=_linked(data.credit),
        words=comparison.words,
        descriptions={loss: losses.describe(loss, data.overlap) for loss in comparison.losses},
        network=network.DESCRIPTIONS.get(settings.network, settings.network),
        augmented=[augment.DESCRIPTIONS[name] for name in settings.augment],
        optimizer=f"{OPTIMIZERS[settings.optimizer]}, learning rate {_rates(comparison)}, "
        f"{SCHEDULES[settings.schedule]}; weight decay {settings.weight_decay:g}{_of_encoder(settings)}",
        styles=styles(comparison),
        curves={name: curves(comparison, width) for name, width in WIDTHS.items()},
        forests=forests,
        clipped=any(any(row["clipped"]) for row in forests["wide"].rows),
        fewest=FEWEST,
        time=said_of_time(comparison.runs.values()),
        not_corrected=NOT_CORRECTED,
        wide=wide_intervals(comparison.differences),
        best=best,
        zero=zero,
        gains=rows,
        small=_small(comparison, best, rows),
        numbered=data.class_names == numbered(data.num_classes).names,
        test_pixels=data.parts[TEST].pixels,
        confusions=[] if data.overlap else _confusions(comparison),
        found=found_labels(comparison) if data.overlap else [],
        thresholds=label_thresholds(comparison) if data.overlap else [],
        by_threshold=threshold_paths(comparison) if data.overlap else [],
        written=data.num_classes <= WRITTEN,
        shades=SHADES,
        compared=compared,
        multiples=multiples(comparison, compared),
        open=OPEN,
        items=changed_images(comparison),
        keys={"right": RIGHT, "wrong": WRONG, "gained": GAINED, "lost": LOST},
        kept=KEPT,
        images={part: len(data.parts[part].samples) for part in data.parts},
        pixels=pixels_of(data),
    )
    write_text(path, page)


def _best(comparison: Comparison) -> LossSummary | None:
    """Return the loss of the highest mean, the baseline left out; None if that is the only one."""
    others = comparison.summaries[1:]
    known = [summary for summary in others if math.isfinite(summary.mean)] or others
    return max(known, key=lambda summary: summary.mean, default=None)


def _small(comparison: Comparison, best: LossSummary | None, rows: list[Gain]) -> tuple[int, float, float] | None:
    """Return how many classes are small, and the points that they and that all classes add to the mean."""
    if best is None or not comparison.over_large or not all(math.isfinite(row.gain) for row in rows):
        return None
    small = [row.gain for row in rows if row.label not in comparison.large]
    return len(small), sum(small) / len(rows), sum(row.gain for row in rows) / len(rows)


def _confusions(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the matrix of each loss, summed over seeds: cells of few classes, strokes of many."""
    found = []
    for loss in comparison.losses:
        counts = np.sum([comparison.runs[loss, seed].tested.counts for seed in comparison.seeds], axis=0)
        written = len(counts) <= WRITTEN
        found.append(
            {
                "loss": loss,
                "pixels": counts.sum(1).tolist(),
                "cells": cells(counts) if written else [],
                "strokes": {} if written else strokes(counts),
                "confused": confused(counts),
            }
        )
    return found


def _rates(comparison: Comparison) -> str:
    rates = {summary.loss: f"{summary.lr:g}" for summary in comparison.summaries}
    if len(set(rates.values())) == 1:
        return next(iter(rates.values()))
    return ", ".join(f"{rate} of {loss}" for loss, rate in rates.items())


def _of_encoder(settings: Settings) -> str:
    """Say what is done with the encoder that is not done with the rest."""
    said = (
        f"; the encoder's learning rate is {settings.encoder_lr:g} times this" if settings.encoder_lr != 1 else ""
    )
    if settings.freeze:
        said += f"; the encoder is kept as it is in the first {settings.freeze} of {settings.steps} steps"
    return said


def _linked(text: str) -> "Markup":
    """Make a link of every ``doi:...`` in a text."""
    from markupsafe import Markup, escape

    link = r'<a href="https://doi.org/\1">doi:\1</a>'
    return Markup(re.sub(r"doi:(\S+)", link, str(escape(text))))
