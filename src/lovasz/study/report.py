"""The report: one HTML page that needs no network, made from a comparison."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lovasz.study.charts import WIDTHS, curves, forest, styles
from lovasz.study.compare import Comparison
from lovasz.study.iou import iou_per_class
from lovasz.study.losses import DESCRIPTIONS
from lovasz.study.maps import FAINT, OTHER, PALETTE, RIGHT, WRONG, class_map, error_map
from lovasz.study.split import TEST, TRAIN, VAL
from lovasz.study.stats import NOT_CORRECTED, signed
from lovasz.study.store import write_text

if TYPE_CHECKING:
    from markupsafe import Markup


def write_report(comparison: Comparison, path: Path) -> None:
    """Writes ``report.html``: verdict, tables, charts, maps, settings, credit.

    Args:
        comparison: What to report.
        path: The file to write; it loads nothing from anywhere else.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(signed=signed, linked=_linked)
    page = environment.get_template("report.html.j2").render(
        comparison=comparison,
        scene=comparison.scene,
        settings=comparison.settings,
        descriptions=DESCRIPTIONS,
        styles=styles(comparison),
        curves={name: curves(comparison, width) for name, width in WIDTHS.items()},
        forests={name: forest(comparison, width) for name, width in WIDTHS.items()},
        clipped=any(any(row["clipped"]) for row in forest(comparison, WIDTHS["wide"]).rows),
        not_corrected=NOT_CORRECTED,
        classes=_classes(comparison),
        truth=class_map(comparison.scene, comparison.scene.target.numpy()),
        maps=_maps(comparison),
        colours={"right": RIGHT, "wrong": WRONG, "other": OTHER, "faint": FAINT},
        pixels={
            "train": sum(comparison.scene.pixels(TRAIN)),
            "val": sum(comparison.scene.pixels(VAL)),
            "test": sum(comparison.scene.pixels(TEST)),
        },
    )
    write_text(path, page)


def _linked(text: str) -> "Markup":
    """Makes a link of every ``doi:...`` in a text."""
    from markupsafe import Markup, escape

    link = r'<a href="https://doi.org/\1">doi:\1</a>'
    return Markup(re.sub(r"doi:(\S+)", link, str(escape(text))))


def _classes(comparison: Comparison) -> list[dict[str, Any]]:
    """Returns each class, the largest first, with its IoU for every loss and seed in percent."""
    per_run = {
        key: (100 * iou_per_class(torch.tensor(run.test_counts))).tolist() for key, run in comparison.runs.items()
    }
    rows = [
        {
            "name": comparison.scene.class_names[index],
            "colour": PALETTE[index % len(PALETTE)],
            "pixels": pixels,
            "bars": [
                {
                    "loss": summary.loss,
                    "mean": summary.classes[index],
                    "seeds": [per_run[summary.loss, seed][index] for seed in comparison.seeds],
                }
                for summary in comparison.summaries
            ],
        }
        for index, pixels in enumerate(comparison.scene.pixels(TEST))
    ]
    return sorted(rows, key=lambda row: -row["pixels"])


def _maps(comparison: Comparison) -> list[dict[str, Any]]:
    """Returns prediction and errors of every loss for the first seed."""
    scene, seed = comparison.scene, comparison.seeds[0]
    return [
        {
            "loss": loss,
            "miou": comparison.runs[loss, seed].test_miou,
            "prediction": class_map(scene, comparison.runs[loss, seed].prediction),
            "errors": error_map(scene, comparison.runs[loss, seed].prediction),
        }
        for loss in comparison.losses
    ]
