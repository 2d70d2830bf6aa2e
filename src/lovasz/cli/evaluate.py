"""``lovasz evaluate``: options, errors, interruption and exit codes around one evaluation."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lovasz.cli.evaluation_inputs import make_classes, make_labellings, make_pairs, make_photos, parse_width
from lovasz.cli.evaluation_resamples import make_resample_options, rival_pairs
from lovasz.cli.evaluation_run import Job, run
from lovasz.cli.evaluation_scores import ScoreOptions, check_score_options
from lovasz.cli.evaluation_surface import parse_tolerance, with_spacing
from lovasz.cli.interruption import noted
from lovasz.scores import EMPTY
from lovasz.study.environment import INSTALL, missing
from lovasz.study.io.disk import check_writable
from lovasz.study.io.kinds import MOST_VALUES
from lovasz.study.io.labelling import check_stored_ids
from lovasz.study.io.labels import READY, parse_map
from lovasz.study.io.palettes import PalettesDifferError
from lovasz.study.io.score_files import NoRuleError
from lovasz.study.score.decided_masks import DecidedMasks
from lovasz.study.score.images import find_channels
from lovasz.study.summary.resampling import RESAMPLES

# What to do where predictions, or targets, are labels that no map of Cityscapes takes.
ALREADY_MAPPED = ("--map-predictions none", "leave out --map: --num-classes 19 --ignore 255")


def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS",
            help="Folder of predicted masks; or a CSV file with the columns prediction, target, without TARGETS.",
        ),
    ],
    targets: Annotated[
        Path | None,
        typer.Argument(metavar="TARGETS", help="Folder of true masks, of the same names.", show_default=False),
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(metavar="N", help="How many classes there are: labels 0 to N - 1.")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Their names instead: one a line, or a JSON list of names or of objects with name, color, value.",
        ),
    ] = None,
    ignore: Annotated[
        list[int] | None,
        typer.Option(metavar="LABEL", help="A label whose pixels do not count, such as 255; repeat for more."),
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="MAP",
            help="What stored values stand for, as 255:1 or 0:void,7:0; others stay. Or "
            f"{' or '.join(READY)}, for the masks of these data sets.",
        ),
    ] = None,
    map_predictions: Annotated[
        str | None,
        typer.Option(metavar="MAP", help="The same for the predictions alone; none: they are as they are stored."),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="PREDICTIONS are scores of the classes: logits or probabilities."),
    ] = None,
    decide: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="How scores become labels, written to DIR/masks: usual (argmax, or 0.5), dataset, image.",
        ),
    ] = None,
    fit: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="SCORES TARGETS", help="Folders of other images, on which the rule is chosen."),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Class 1 has a probability above it, of one channel; or best."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the report and the tables.")] = Path(
        "lovasz-evaluate"
    ),
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on without files that are missing, extra or broken.")
    ] = False,
    empty: Annotated[
        str,
        typer.Option(
            metavar="SCORE",
            help="What a class scores in an image without it, in image and class IoU: skip (nothing), zero "
            "(0 where it is predicted), one (0 where it is predicted, else 1).",
        ),
    ] = "skip",
    boundary: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTH",
            help="Also boundary IoU, within this distance of other classes: 0.02 of the diagonal, or 5px.",
        ),
    ] = None,
    surface: Annotated[
        str | None,
        typer.Option(
            metavar="TOLERANCE",
            help="Also HD95 and NSD (normalized surface Dice) at this tolerance: 2mm, by the spacing of NIfTI "
            "targets, or 3px.",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of photos of the same names, for the report.")
    ] = None,
    worst: Annotated[int, typer.Option(metavar="N", help="How many of the worst images the report shows.")] = 24,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="OTHERS", help="Other predictions of the same images, compared with PREDICTIONS; repeat."
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="GROUPS",
            help="Images that are drawn together, as of one patient: CSV with the columns image, group; or a "
            "regular expression whose first group, in the name, is the group.",
        ),
    ] = None,
    subgroups: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Scores by the values of columns: CSV with the column image and others."),
    ] = None,
    resamples: Annotated[
        int, typer.Option(metavar="N", help="How often images are drawn for the intervals; 0 for none.")
    ] = RESAMPLES,
    workers: Annotated[int, typer.Option(metavar="N", help="Threads; 0: one a core.")] = 0,
    max_values: Annotated[
        int, typer.Option(metavar="N", help="Leave out files that unfold to more values, pixels times channels.")
    ] = MOST_VALUES,
) -> None:
    """Score two folders of masks: IoU per data set, image and class, worst case, Dice, accuracy.

    Masks are PNG, TIFF, NumPy arrays or NIfTI volumes, of class indices, in the colours that
    --classes lists, or of values that --map names; matched by name, also in subfolders: 0001.png
    to 0001.npy; or by a list. Every pixel is counted once, in integers, so the numbers do not
    depend on the order, the threads or the machines; `torchrun` splits the work.

    Exit code 1 says that files were missing, extra, unreadable or of another shape, or held labels
    that are no class; 130 that Ctrl-C left a partial result.

    **Examples**

    - lovasz evaluate predictions masks --num-classes 19 --ignore 255

    - lovasz evaluate predictions masks --classes classes.txt --images photos

    - lovasz evaluate baseline masks --against new --num-classes 19 --ignore 255

    - torchrun --nproc-per-node 8 -m lovasz evaluate predictions masks --num-classes 150
    """
    absent = missing(("jinja2", "PIL", "scipy", *(() if surface is None else ("monai",))))
    if absent:
        _fail(f"evaluate needs {', '.join(absent)}, from the study extra: {INSTALL}")
    try:
        check_score_options(scores, decide, fit, threshold, map_predictions)
        pairs = make_pairs(predictions, targets, max_values, scores is not None)
        if workers < 0 or worst < 0:
            raise ValueError(f"--workers and --worst must be at least 0, got {workers} and {worst}")
        if empty not in EMPTY:
            raise ValueError(f"--empty must be one of {', '.join(EMPTY)}, got {empty}")
        if max_values < 1:
            raise ValueError(f"--max-values must be at least 1, got {max_values}")
        width = None if boundary is None else parse_width(boundary)
        tolerance = None if surface is None else parse_tolerance(surface)
        ignored = frozenset(ignore or ())
        target_map = None if label_map is None else parse_map(label_map)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        threads = workers or max(1, cores // processes)
        known = make_classes(pairs, num_classes, classes, target_map, threads, processes)
        labellings = make_labellings(known, ignored, target_map, map_predictions)
        for side, remedy in enumerate(ALREADY_MAPPED):
            if side == 0 and scores is not None:  # they are not mapped
                continue
            files = (str(pairs.paths(image)[side]) for image in range(len(pairs.files)))
            check_stored_ids(labellings[side].label_map, files, remedy)
        photos = make_photos(pairs, images)
        if len(ignored & set(range(len(known.names)))) == len(known.names):
            raise ValueError("--ignore must leave a class")
        if not pairs.files and not pairs.problems:
            held = "holds" if targets is None else f"and {targets} hold"
            raise ValueError(" ".join([f"{predictions} {held} no masks.", *pairs.told()]).rstrip("."))
        if tolerance is not None:
            tolerance = with_spacing(tolerance, pairs)
        wanted = None
        if scores is not None:
            masks = None if decide is None else DecidedMasks(out, pairs, known)
            others = None if fit is None else make_pairs(*fit, max_values, True)
            channels = find_channels(pairs, scores, labellings[1])
            wanted = ScoreOptions(scores, channels, decide or "usual", threshold, others, masks, allow_missing)
            wanted.check(pairs, labellings[1])
        if scores is not None and against:
            raise ValueError("--against compares masks; write those of scores with --decide, and compare these")
        images_drawn = make_resample_options(
            pairs,
            len(known.names),
            group,
            subgroups,
            against or (),
            resamples,
            lambda path: rival_pairs(path, pairs),
        )
        for other in images_drawn.rivals:
            predicted = (str(other.paths(image)[0]) for image in range(len(other.files)))
            check_stored_ids(labellings[0].label_map, predicted, ALREADY_MAPPED[0])
        check_writable(out)  # last: what is refused leaves no folder
    except (ValueError, OSError) as error:
        _fail(str(error))
    job = Job(
        pairs,
        known,
        labellings,
        empty,
        out,
        threads,
        allow_missing,
        photos,
        worst,
        wanted,
        images_drawn,
        width,
        tolerance,
    )
    with noted() as interruption:
        try:
            code = run(job, interruption)
        except KeyboardInterrupt:  # the second, or while a rule was fitted
            print("lovasz: ended at once; nothing is kept but what was already written", file=sys.stderr)
            code = interruption.code
        except (OSError, PalettesDifferError, NoRuleError) as error:
            _fail(str(error))
    raise typer.Exit(code)


def _fail(message: str) -> NoReturn:
    rank = int(os.environ.get("RANK", "0"))
    print(f"lovasz{f' (process {rank})' if rank else ''}: {message}", file=sys.stderr)
    raise typer.Exit(2)
