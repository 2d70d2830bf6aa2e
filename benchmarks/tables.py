"""Tables and numbers in the pages, made from the rows that the benchmarks keep."""

import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import decide as deciding
from . import gpu, model, results
from . import reduce as reducing
from . import upsample as coarse
from .coverage import SCORES
from .population import TOGETHER

DOCS = Path(__file__).parent.parent / "docs"


def filled(page: str, made: Mapping[str, str]) -> str:
    """Returns the page with each of ``made`` between the marks of its name.

    They are ``<!-- kept NAME -->`` and ``<!-- end -->``. Several lines begin one, all else stays in its own.
    """

    def fill(found: re.Match[str]) -> str:
        start, name, end = found.groups()
        if name not in made:
            return found[0]
        return f"{start}\n{made[name]}\n{end}" if "\n" in made[name] else f"{start}{made[name]}{end}"

    return re.sub(r"(<!-- kept ([\w-]+) -->).*?(<!-- end -->)", fill, page, flags=re.DOTALL)


def write() -> None:
    """Puts what the benchmarks measured into the pages."""
    made = everything()
    for page in sorted(DOCS.glob("*.md")):
        page.write_text(filled(page.read_text(encoding="utf-8"), made), encoding="utf-8")


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def _percent_range(parts: list[float]) -> str:
    return f"{100 * min(parts):.0f} to {100 * max(parts):.0f} %"


def speed() -> str:
    """Time in units of cross-entropy, memory in MiB: the rows of `python -m benchmarks cpu`."""
    head = [
        "case",
        "logits",
        "early, mid, late",
        "with ce",
        "best sort",
        "published",
        "memory",
        "ce's",
        "published's",
    ]
    return "\n".join((_table(head, []), *results.table()))


def _ratios(implementation: str, heads: Sequence[str] = ("multiclass", "binary")) -> list[float]:
    """Return the times of an implementation's rows, in units of cross-entropy, of heads of these kinds."""
    return [
        float(r["ratio"])
        for r in results.read("cpu")
        if r["implementation"] == implementation
        and ("binary" if r["case"].startswith("binary ") else "multiclass") in heads
    ]


def speed_range() -> str:
    """Return the smallest and the largest ratio to cross-entropy over all rows, of the loss alone."""
    return _range(_ratios("lovasz"))


def both_range() -> str:
    """Return that of `lovasz_cross_entropy`, both losses in the same passes."""
    return _range(_ratios("lovasz + ce", ("multiclass",)))


def both_binary_range() -> str:
    """Return that of `lovasz_binary_cross_entropy`, to binary cross-entropy."""
    return _range(_ratios("lovasz + ce", ("binary",)))


def speed_median() -> str:
    """Return the median of the same ratios."""
    return f"{statistics.median(_ratios('lovasz')):.2f}"


def machine() -> str:
    """Where the times were taken."""
    first = results.read("cpu")[0]
    return f"{first['machine']}, PyTorch {first['version'].partition('+')[0]}, {first['date']}"


def accuracy() -> str:
    """Relative errors against sorting in float64: the rows of `python -m benchmarks accuracy`."""
    head = ["form", "regime", "P", "exact loss", "loss", "certified", "gradient", "published: loss", "gradient"]
    columns = ("exact_loss", "loss_error", "certified_bound", "gradient_error",
               "published_loss_error", "published_gradient_error")  # fmt: skip
    rows = []
    for r in results.read("accuracy"):
        pixels = f"2^{int(r['pixels']).bit_length() - 1}"
        rows.append([r["loss_name"], r["regime"], pixels, *(f"{float(r[c]):.1e}" for c in columns)])
    return _table(head, rows)


def certified_range() -> str:
    """Return the range of the certified bound where a network has converged, in percent of the loss."""
    return _percent_range(
        [float(r["certified_bound"]) for r in results.read("accuracy") if r["regime"].startswith("converged")]
    )


def upsample() -> str:
    """Return logits at a lower resolution than the labels: the rows of `python -m benchmarks upsample`."""
    return "\n".join(coarse.table())


def decide() -> str:
    """Return decisions beside the argmax and rankseg: the rows of `python -m benchmarks decide`."""
    return "\n".join(deciding.table())


def decide_machine() -> str:
    """Return the machine of those rows."""
    return results.read("decide")[0]["machine"]


def reduce() -> str:
    """Return the all-reduce of tables between two processes: the rows of `python -m benchmarks reduce`."""
    return "\n".join(reducing.measured_table(results.read("reduce")))


def reduce_model() -> str:
    """Return what it costs larger clusters, by the model of that command."""
    return "\n".join(reducing.modelled_table())


#: Intervals that fewer samples have are too few for their coverage to be told.
LEAST_SHARE = 0.05
METHODS = ("shipped", "percentile", "Student", "BCa")


def _covered(setting: str, method: str) -> dict[tuple[str, int], dict[str, str]]:
    """Return the rows of one setting and method that are shown, by score and number."""
    return {
        (r["score"], int(r["number"])): r
        for r in results.read("coverage")
        if (r["setting"], r["method"]) == (setting, method) and float(r["share"]) >= LEAST_SHARE
    }


def _percent(row: dict[str, str], column: str, digits: int = 1) -> str:
    return f"{100 * float(row[column]):.{digits}f}"


def coverage_range(setting: str, method: str) -> str:
    """Return the lowest and the highest coverage of a method."""
    return _percent_range([float(r["coverage"]) for r in _covered(setting, method).values()])


def _coverage(setting: str) -> str:
    """Return the coverage of every method, of samples of images."""
    head = ["score", "images", "width", "as shipped", "percentiles", "at n − 1", "BCa"]
    by = {method: _covered(setting, method) for method in METHODS}
    rows = [
        [
            score,
            f"{number:,}",
            _percent(row, "width"),
            *(_percent(by[m][score, number], "coverage") for m in METHODS),
        ]
        for (score, number), row in sorted(by["shipped"].items(), key=lambda item: SCORES.index(item[0][0]))
    ]
    return _table(head, rows)


def coverage() -> str:
    """Return how often intervals of a score hold the truth: rows of `python -m benchmarks coverage`."""
    return _coverage("images")


def coverage_difference() -> str:
    """Return how often intervals of the difference of two models do."""
    return _coverage("difference")


def coverage_groups() -> str:
    """Return the same of images in groups, drawn one by one and by group."""
    head = ["score", "groups", "images", "one by one", "width", "by group", "width"]
    ways = [_covered(f"groups, {what} drawn", "shipped") for what in ("images", "groups")]
    rows = [
        [score, f"{number:,}", f"{number * TOGETHER:,}",
         *(_percent(way[score, number], column) if (score, number) in way else "–"
           for way in ways for column in ("coverage", "width"))]
        for score, number in sorted(ways[0], key=lambda item: SCORES.index(item[0]))
    ]  # fmt: skip
    return _table(head, rows)


def coverage_rare() -> str:
    """Return the same of a rare class, by how many images hold it, without the minimum of the library."""
    found = _covered("rare", "without minimum")
    return _table(
        ["images with the class", "coverage", "width"],
        [[str(number), _percent(r, "coverage"), _percent(r, "width")] for (_, number), r in found.items()],
    )


def coverage_error() -> str:
    """Return the largest standard error of a coverage that a page shows."""
    shown = [r for r in results.read("coverage") if float(r["share"]) >= LEAST_SHARE]
    return f"{100 * max(float(r['standard_error']) for r in shown):.1f}"


def resample() -> str:
    """Return what intervals cost: rows of `python -m benchmarks resample`."""
    rows = [
        [
            r["work"],
            f"{int(r['images']):,}",
            r["classes"],
            f"{float(r['seconds']):.1f}",
            f"{float(r['peak_mib']):.0f}",
        ]
        for r in results.read("resample")
    ]
    return _table(["", "images", "classes", "seconds", "peak MiB"], rows)


def resample_machine() -> str:
    """Return the machine of these rows."""
    return results.read("resample")[0]["machine"]


def small() -> str:
    """Where the time of a small input goes."""
    rows = results.read("small")
    cells = [[r["what"], f"{float(r['microseconds']):.0f}", f"{float(r['ratio']):.1f}"] for r in rows]
    return _table(["what", "microseconds", "in units of cross-entropy"], cells)


def scaling() -> str:
    """Time for each logit over sizes, on one thread and on several."""
    rows = results.read("scaling")
    threads = sorted({int(r["threads"]) for r in rows})
    sizes: dict[int, dict[int, dict[str, str]]] = {}
    for r in rows:
        sizes.setdefault(int(r["elements"]), {})[int(r["threads"])] = r
    head = ["logits", *(f"ns on {n} thread{'s' * (n > 1)}" for n in threads), "gain"]
    cells = [
        [f"2^{size.bit_length() - 1}", *(f"{float(by[n]['ns_per_element']):.1f}" for n in threads),
         f"{float(by[threads[-1]]['speedup_of_threads']):.2f}"]
        for size, by in sizes.items()
    ]  # fmt: skip
    return _table(head, cells)


def gpu_model() -> str:
    """Return what `python -m benchmarks model` says of each case."""
    return "\n".join(("```text", *model.summary(gpu.CASES), "```"))


def gpu_range() -> str:
    """Return the range of what it says of the softmax, in units of cross-entropy."""
    return _range(model.ratios([case for case in gpu.CASES if case.form == "softmax"]))


def everything() -> dict[str, str]:
    """Returns all that the pages may name."""
    made = (speed, speed_range, speed_median, both_range, both_binary_range, machine, accuracy, upsample, decide,
            decide_machine, small, scaling, gpu_model, gpu_range, certified_range, coverage, coverage_difference,
            coverage_groups, coverage_rare, coverage_error, resample, resample_machine, reduce,
            reduce_model)  # fmt: skip
    ranges = {
        "coverage_shipped": ("images", "shipped"),
        "coverage_percentile": ("images", "percentile"),
        "coverage_student": ("images", "Student"),
        "coverage_bca": ("images", "BCa"),
        "coverage_of_differences": ("difference", "shipped"),
        "coverage_one_by_one": ("groups, images drawn", "shipped"),
        "coverage_by_group": ("groups, groups drawn", "shipped"),
    }
    return {table.__name__: table() for table in made} | {
        name: coverage_range(*which) for name, which in ranges.items()
    }
