"""What a decision could gain at most: weights of the classes, searched on the test images themselves.

No rule may look at them; the ceiling says how much of the test mIoU is left to the decision. Of a network that was
trained with weights of the classes there is also the argmax of its logits without them: log-probabilities minus the
logarithms of these weights. Where labels may overlap it is the best threshold of each.
"""

import csv
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from lovasz import scores
from lovasz.cli.session import load
from lovasz.measures import JACCARD, Tversky
from lovasz.study.data.parts import IGNORE_INDEX, TEST, TRAIN, Data
from lovasz.study.train import network, store
from lovasz.study.train.config_file import make_config
from lovasz.study.train.predict import logits_of
from lovasz.study.train.settings import from_record
from lovasz.study.train.store import Run
from lovasz.study.train.terms import inverse_frequency

WEIGHTED = "weighted-ce"
# Places of one weight that are tried at once, and rounds over all classes.
PLACES, ROUNDS = 200, 4
# Pixels that the search looks at, evenly spread; what it finds is scored on all.
SEARCHED = 1_000_000

Images = list[tuple[Tensor, Tensor]]


def write(folder: Path, results: Path) -> None:
    """Search for every run of the results of a study whose weights the folder holds.

    Args:
        folder: That of the study's runs.
        results: Its kept results; the ceilings go beside them, to ``NAME-ceiling.csv``.
    """
    trained = chosen(folder, results)
    with open(results.with_name(f"{results.stem}-ceiling.csv"), "w", newline="", encoding="utf-8") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["loss", "seed", "test_miou", "ceiling", "unweighted"])
        for run, data, images in trained:
            loss, seed = run.settings.loss, run.settings.seed
            found = pixels(images(TEST), data.overlap)
            logits, target = found[0]
            highest = label_ceiling(found) if data.overlap else ceiling(logits, target)
            taken_off: float | str = ""
            if loss == WEIGHTED:
                weights = inverse_frequency(data.parts[TRAIN].pixels)
                taken_off = _miou((logits - weights.log()[:, None]).argmax(0), target, data.num_classes)
            rows.writerow([loss, seed, run.test_miou / 100, highest, taken_off])
            print(f"{loss}, seed {seed}: {run.test_miou:.2f} to {100 * highest:.2f}", flush=True)


def chosen(folder: Path, results: Path) -> Iterator[tuple[Run, Data, Callable[[str], Images]]]:
    """Return the runs that a study's results hold, the data, and what gives logits and targets of a part's images.

    What cannot be read is an error of the call, before the first run is asked for.

    Args:
        folder: That of the study's runs, with their weights.
        results: Its kept results.
    """
    config = make_config({}, folder / "config.yaml", True)
    data = load(Console(quiet=True), config, folder)
    with open(results, newline="", encoding="utf-8") as text:
        wanted = {(row["loss"], int(row["seed"]), float(row["lr"])) for row in csv.DictReader(text)}
    return (
        (run, data, functools.partial(_images, _trained(run.settings.network, data, place), data, config.crop))
        for run, place in _runs(folder)
        if (run.settings.loss, run.settings.seed, run.settings.lr) in wanted
    )


def ceiling(logits: Tensor, target: Tensor) -> float:
    """Return the highest mIoU that a search over weights of the classes finds, a fraction of 1.

    One weight after the other is set to its best: of pixels by how far the class is below the highest other one,
    counts by label and by that other class say what each place of the weight would make of every class.

    Args:
        logits: (C, P).
        target: (P,), classes.
    """
    number, step = len(logits), -(-len(target) // SEARCHED)
    some, labels = logits[:, ::step].contiguous(), target[::step].contiguous()
    weights = torch.zeros(number, 1, dtype=logits.dtype)
    best = _miou(some.argmax(0), labels, number)
    for _ in range(ROUNDS):
        before = best
        for label in range(number):
            moved = weights.clone()
            moved[label] += _best_place(some + weights, labels, label)
            score = _miou((some + moved).argmax(0), labels, number)
            if score > best:
                best, weights = score, moved
        if best <= before:
            break
    return max(_miou(logits.argmax(0), target, number), _miou((logits + weights).argmax(0), target, number))


def label_ceiling(pixels: Sequence[tuple[Tensor, Tensor]], measure: Tversky = JACCARD) -> float:
    """Return the mean over labels of the score at its best threshold, a fraction of 1.

    Args:
        pixels: Logits (1, P) of each label, and its mask (P,) of 0 and 1.
        measure: The score.
    """
    return sum(_best_score(logits[0], target, measure) for logits, target in pixels) / len(pixels)


def _best_score(logits: Tensor, target: Tensor, measure: Tversky) -> float:
    """Return the highest score that a threshold has: the t largest logits are foreground."""
    ordered, order = logits.sort(descending=True)
    found = target[order].cumsum(0).double()
    false = torch.arange(1, len(found) + 1) - found
    scores = found / (found + measure.alpha * false + measure.beta * (int(target.sum()) - found))
    ends = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])  # none lies between equal ones
    return float(scores[ends].max())


def _best_place(logits: Tensor, target: Tensor, label: int) -> float:
    """Return the change of one weight that is best by counts at some places."""
    number = len(logits)
    own, others = logits[label], logits.clone()
    others[label] = -torch.inf
    highest, other = others.max(0)
    needed = highest - own  # the class is decided where its weight is changed by more
    ends = torch.quantile(needed[:: max(1, len(needed) // 100_000)], torch.linspace(0, 1, PLACES + 1)[1:-1])
    ends = ends.unique()
    place = torch.bucketize(needed, ends)
    cells = torch.bincount(
        (place * number + target) * number + other, minlength=(len(ends) + 1) * number * number
    ).view(-1, number, number)
    taken = cells.cumsum(0)[:-1]  # of each end, the pixels below it: by label and by what they were
    confusion = cells.sum(0)[None] - taken
    confusion[:, :, label] = taken.sum(2)
    counts = torch.stack([scores.class_counts(one) for one in confusion])
    return float(ends[int(scores.iou(counts).nanmean(1).argmax())])


def _miou(preds: Tensor, target: Tensor, number: int) -> float:
    confusion = torch.bincount(target * number + preds, minlength=number * number).view(number, number)
    return float(scores.iou(scores.class_counts(confusion)).nanmean())


def _runs(folder: Path) -> Iterator[tuple[Run, Path]]:
    for place in sorted(folder.glob(f"runs/[!.]*/{store.RECORD}")):
        settings = from_record(json.loads(place.read_text(encoding="utf-8"))["settings"])
        run = store.load(folder, settings)
        if run is not None:
            yield run, place.parent


def _trained(name: str, data: Data, place: Path) -> torch.nn.Module:
    built = network.build_network(name, data.channels, data.num_classes, data.dims).eval()
    built.load_state_dict(torch.load(place / store.LAST, map_location="cpu", weights_only=True))
    return built


@torch.inference_mode()
def _images(built: torch.nn.Module, data: Data, crop: tuple[int, ...] | None, part: str) -> Images:
    samples = data.parts[part].samples
    found = []
    for index in range(len(samples)):
        image, target = samples[index]
        found.append((logits_of(built, image[None], crop).float(), target[None]))
    return found


def pixels(images: Images, overlap: bool) -> list[tuple[Tensor, Tensor]]:
    """Return log-probabilities (C, P) and labels (P,) of all pixels that count.

    Where labels may overlap, of each the logits (1, P) and the mask (P,).
    """
    heads: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(images[0][0].shape[1] if overlap else 1)]
    for logits, target in images:
        masks = target[0] if overlap else target
        channels = logits[0][:, None] if overlap else logits.log_softmax(1)
        for head, mask, channel in zip(heads, masks, channels, strict=True):
            counts = mask != IGNORE_INDEX
            head.append((channel[:, counts], mask[counts]))
    return [
        (torch.cat([logits for logits, _ in head], 1), torch.cat([target for _, target in head])) for head in heads
    ]
