"""The tables of the pages, made from the rows that the benchmarks keep."""

import statistics

from benchmarks import decide as deciding
from benchmarks import results
from benchmarks import upsample as coarse


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, of the class that keeps numbers in one line."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(("{.numbers}", *lines))


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


def _ratios(implementation: str) -> list[float]:
    """Return the times of an implementation's rows, in units of cross-entropy."""
    return [float(r["ratio"]) for r in results.read("cpu") if r["implementation"] == implementation]


def speed_range(implementation: str = "lovasz") -> str:
    """Return the smallest and the largest ratio to cross-entropy over all rows, by default of the loss alone."""
    ratios = _ratios(implementation)
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


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


def upsample() -> str:
    """Return logits at a lower resolution than the labels: the rows of `python -m benchmarks upsample`."""
    head, rule, *rows = coarse.table()
    return "\n".join(("{.numbers}", head, rule, *rows))


def decide() -> str:
    """Return decisions beside the argmax and rankseg: the rows of `python -m benchmarks decide`."""
    head, rule, *rows = deciding.table()
    return "\n".join(("{.numbers}", head, rule, *rows))


def decide_machine() -> str:
    """Return the machine of those rows."""
    return results.read("decide")[0]["machine"]


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


def substitutions() -> dict[str, str]:
    """What the pages may name between double braces."""
    made = (speed, speed_range, speed_median, machine, accuracy, upsample, decide, decide_machine, small, scaling)
    return {table.__name__: table() for table in made}
