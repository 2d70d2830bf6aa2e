"""The tables on terminals of any width: names are read, what can be spared goes first, the winner is marked."""

import io
import threading
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from lovasz.cli.comparison_tables import class_tables, decision_table, legend, summary_table
from lovasz.cli.evaluation_tables import print_outcome
from lovasz.cli.tables import Column, fitted
from lovasz.study.processes import Ranks
from lovasz.study.score.evaluation import evaluate
from lovasz.study.score.pairing import pair
from lovasz.study.score.scores import score
from lovasz.study.summary.compare import Comparison
from lovasz.study.summary.evaluation_results import Outcome
from tests.study.evaluated import blobs
from tests.study.made_up import made_up, pictures
from tests.study.masks import VOID, write

LOSSES = ("ce", "weighted-ce", "dice", "ce+dice", "lovasz", "ce+lovasz", "ce>lovasz")
NAMES = ("Ground whose name is too long for a table", "[bold]Wall", "Door", "Roof & gutter", "空" * 9)


def printed(width: int, *tables: Table) -> str:
    """What a terminal of this width shows."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    for table in tables:
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """Seven losses, and differences of several digits."""
    found = made_up(LOSSES, 3, pictures(5, 3, names=NAMES))
    wide = [replace(row, mean=-10.0, low=-241.3, high=186.4) for row in found.differences]
    return replace(found, differences=wide)


def row_of(text: str, name: str) -> list[str]:
    """The cells of the row that begins so."""
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
    return line.split()


def test_titles_and_headers_are_plain_text() -> None:
    """A tag that opens nothing ended the command, another was left out."""
    text = printed(80, fitted("a[/v] [bold]b :car:", "[/c]", ["[d]"], [Column("[/e] :car:", ["1"])], 80))
    for words in ("a[/v] [bold]b :car:", "[/c]", "[d]", "[/e] :car:"):
        assert words in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_loss_is_named_beside_its_mean_and_interval(comparison: Comparison, width: int) -> None:
    """At 80 columns "ce+lovasz" was "ce…", at 60 it was nothing."""
    text = printed(width, summary_table(comparison, width))
    assert all(len(line) <= width for line in text.splitlines())
    for summary in comparison.summaries:
        row = row_of(text, summary.loss)
        assert row[1].lstrip("*") == f"{summary.mean:.1f}"
        assert ("−241.3 to +186.4" in " ".join(row)) == (summary.loss != "ce")
    left_out = text.partition("Too narrow for: ")[2]
    assert ("loss share" in left_out) == (width < 120)
    assert ("± sd" in left_out) == (width == 60)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_losses_and_classes_are_named_in_the_other_tables(comparison: Comparison, width: int) -> None:
    decisions = printed(width, decision_table(comparison, width))
    for loss in LOSSES:
        assert len(row_of(decisions, loss)) > 2
    tables = [printed(width, table) for table in class_tables(comparison, width)]
    assert sum(text.count("ce>lovasz") for text in tables) == 1
    for text in [*tables, decisions]:
        assert all(len(line) <= width for line in text.splitlines())
    for text in tables:
        assert "Ground whose" in text
        assert "[bold]Wall" in text
        assert "Roof & gutter" in text
        assert "…" not in text


def test_a_name_of_many_letters_is_folded_not_cut(comparison: Comparison) -> None:
    """Of a loss of your own, "module:function"."""
    loss = "package.module:" + "Q" * 40
    runs = {(loss if key[0] == "ce" else key[0], key[1]): run for key, run in comparison.runs.items()}
    summaries = [replace(row, loss=loss if row.loss == "ce" else row.loss) for row in comparison.summaries]
    decisions = [replace(row, loss=loss if row.loss == "ce" else row.loss) for row in comparison.decisions]
    named = replace(comparison, runs=runs, summaries=summaries, decisions=decisions)
    shown = [summary_table(named, 60), decision_table(named, 60), *class_tables(named, 60)]
    assert printed(60, *shown).count("Q") == 3 * 40


def test_the_highest_mean_and_what_the_intervals_support_are_marked() -> None:
    found = made_up(("ce", "lovasz", "dice", "ce+dice"), 3)
    intervals = {"lovasz": (1.0, 3.0), "dice": (-1.0, 3.0), "ce+dice": (-3.0, -1.0)}
    differences = [
        replace(row, mean=sum(intervals[row.loss]) / 2, low=intervals[row.loss][0], high=intervals[row.loss][1])
        for row in found.differences
    ]
    means = {"ce": 49.96, "lovasz": 50.01, "dice": 50.04, "ce+dice": 41.0}
    summaries = [replace(row, mean=means[row.loss]) for row in found.summaries]
    found = replace(found, differences=differences, summaries=summaries)
    text = printed(100, summary_table(found, 100))
    rows = {loss: row_of(text, loss) for loss in means}
    # Equal as they are written, so that none is called the higher of them.
    assert [rows[loss][1] for loss in means] == ["*50.0", "*50.0", "*50.0", "41.0"]
    words = [next((word for word in ("higher", "lower", "open") if word in rows[loss]), "") for loss in means]
    assert words == ["", "higher", "open", "lower"]
    assert [sentence.split(":")[0] for sentence in legend(found)] == ["*", "Difference"]


def test_the_interval_over_seeds_and_images_is_shown_where_there_is_room() -> None:
    found = made_up(("ce", "lovasz"), 3, pictures(4, 8))
    found = replace(found, both=[replace(found.both[0], low=-241.3, high=286.4)])
    for width in (50, 80, 120):
        text = printed(width, summary_table(found, width))
        assert ("−241.3 to +286.4" in text) == (width > 80)
        left_out = " ".join(text.partition("Too narrow for: ")[2].split())
        assert ("seeds and images" in left_out) == (width <= 80)
    assert legend(found)[-2:] == [
        "Seeds and images: 95 % interval over other seeds and other test images together.",
        "Mean's interval: 95 %, over seeds and test images (8 images).",
    ]
    alone = made_up(("ce", "lovasz"), 3)  # of one test image
    assert "images" not in printed(120, summary_table(alone, 120))
    assert not any("images" in sentence for sentence in legend(alone))


def test_one_seed_shows_a_difference_and_no_interval() -> None:
    found = made_up(("ce", "lovasz"), 1)
    text = printed(80, summary_table(found, 80))
    assert "ence" in text
    assert "interval" not in text
    assert "shown" not in text
    assert len(legend(found)) == 1
    alone = made_up(("ce",), 3)
    text = printed(80, summary_table(alone, 80))
    assert "*" not in text
    assert legend(alone) == []


def test_the_columns_of_the_highest_rank_go_first() -> None:
    columns = [Column("first", ["1"], 0), Column("b", ["2"], 2), Column("c", ["3"], 1), Column("d", ["4"], 2)]

    def shown(width: int) -> list[str]:
        return [str(column.header) for column in fitted("", "name", ["a name of ten"], columns, width).columns]

    assert shown(80) == ["name", "first", "b", "c", "d"]
    assert shown(33) == ["name", "first", "b", "c"]
    assert shown(29) == ["name", "first", "c"]
    assert shown(10) == ["name", "first"]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """An evaluation with long names, and as many pixels as fill a column."""
    pairs = pair(*write(tmp_path_factory.mktemp("masks"), blobs(8, 5)))
    ignored = frozenset({VOID})
    found = evaluate(pairs, NAMES, ignored, 1, threading.Event(), lambda done, left_out: None, Ranks())
    scores = score(found)
    classes = [replace(one, pixels=1_234_567_890) for one in scores.classes]
    return Outcome(found, replace(scores, classes=classes), False, "lovasz evaluate a b")


@pytest.mark.parametrize(("width", "left_out"), [(60, "pixels, images, recall"), (80, "pixels"), (120, "")])
def test_every_class_is_named_beside_its_iou(outcome: Outcome, width: int, left_out: str) -> None:
    """The class vanished where the numbers filled the line."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    print_outcome(console, outcome)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    table = text[text.index("Each class, in %") :].partition("\nWorst images")[0]
    for name in ("Ground whose", "[bold]Wall", "Door", "Roof & gutter", "空空空空"):
        assert name in table
    assert outcome.scores is not None
    for one in outcome.scores.classes:
        assert f"{100 * one.iou:.2f}" in table
    found = table.partition("False alarms")[0].partition("Too narrow for: ")[2]
    assert " ".join(found.split()) == left_out
