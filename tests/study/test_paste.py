"""Tables to paste: the numbers of the results, what an interval covers, and names that are text in any of them."""

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lovasz.study.io.markup import LATEX, latex_text, markdown_text
from lovasz.study.io.text import printable
from lovasz.study.score.scores import score
from lovasz.study.summary.class_table import class_table
from lovasz.study.summary.loss_table import loss_table, write_table
from lovasz.study.summary.paste import PasteTable, as_latex, as_markdown
from lovasz.study.summary.stats import NOT_CORRECTED, signed
from tests.study.evaluated import blobs, count
from tests.study.made_up import made_up, pictures
from tests.study.masks import write

HOSTILE = (
    "50 % of_it & more #1",
    r"\input{/etc/passwd}",
    r"}\end{table}\write18{id}",
    '[b] * ^~ $x$ `id` "quoted"',
    "a|b\n| c |",
    "<script>alert(1)</script>",
    "![x](http://example.org/x.png) http://example.org www.example.org @everyone",
    "-->\x1b[2J",
)
COMMANDS = {written: character for character, written in LATEX.items()} | {"-{}-": "--"}
TOKEN = re.compile("|".join(map(re.escape, sorted(COMMANDS, key=len, reverse=True))))


def read_latex(text: str) -> str:
    """What LaTeX prints of a text; fails where a character is left that it would take for something else."""
    printed, place = "", 0
    while place < len(text):
        found = TOKEN.match(text, place)
        assert found or text[place] not in '\\{}$&#%_^~<>|"`[]*\n', text[place:]
        printed += COMMANDS[found[0]] if found else text[place]
        place = found.end() if found else place + 1
    return printed


def cells_of(markdown: str) -> list[list[str]]:
    """The cells of a table as HTML, without the header."""
    page = MarkdownIt("commonmark").enable("table").render(markdown)
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in body.split("<tr>")[1:]]


@given(st.text(max_size=30))
@example("--[*]")
@example("---")
def test_latex_prints_the_text_itself(text: str) -> None:
    assert read_latex(latex_text(text)) == printable(text)


@given(st.text(max_size=30).filter(lambda text: text.strip()))
@example(HOSTILE[4])
@example(HOSTILE[6])
def test_markdown_shows_the_text_itself_in_a_cell(text: str) -> None:
    shown = printable(text)
    ((cell, number),) = cells_of(as_markdown(PasteTable("compare", ["Said."], ["a", "b"], [[text, "1"]])))
    assert html.unescape(cell) == shown.strip()
    assert number == "1"


def test_plain_text_makes_no_link_and_calls_nobody() -> None:
    said = markdown_text(HOSTILE[6])
    assert "http://" not in said
    assert "www." not in said
    assert " @" not in said


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_losses_with_their_differences(seeds: int, tmp_path: Path) -> None:
    comparison = made_up(("ce", "lovasz", "ce+lovasz"), seeds)
    for name in ("table.tex", "table.md"):
        write_table(comparison, tmp_path / name)
    latex, markdown = ((tmp_path / name).read_text() for name in ("table.tex", "table.md"))
    rows = cells_of(markdown)
    assert [row[0] for row in rows] == comparison.losses
    for row, summary in zip(rows, comparison.summaries, strict=True):
        sd = "" if seeds == 1 else f" ± {summary.spread:.1f}"
        assert row[1] == f"{summary.mean:.1f}{sd}"
    for row, found in zip(rows[1:], comparison.differences, strict=True):
        assert row[2] == signed(found.mean)
        if seeds > 1:
            assert row[3] == f"{signed(found.low or 0)} to {signed(found.high or 0)}"
            assert f"{latex_text(row[2])} & {latex_text(row[3])} \\\\" in latex
    assert rows[0][2:] == [""] * (1 if seeds == 1 else 2)
    for text in (latex, markdown):
        assert ("covers what the seed changes: initial weights, dropout" in text) == (seeds > 1)
        assert (NOT_CORRECTED in text) == (seeds > 1)
        assert ("Student's t is 12.7 standard errors" in text) == (seeds == 2)
    assert latex.count("\\toprule") == latex.count("\\midrule") == latex.count("\\bottomrule") == 1
    assert f"\\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}" in latex


def test_both_sources_of_chance_have_a_column_and_the_caption_says_what_each_covers() -> None:
    comparison = made_up(("ce", "lovasz"), 3, pictures(4, images=8))
    (both,) = comparison.both
    table = loss_table(comparison)
    assert list(table.header[-2:]) == ["95 % interval", "over seeds and images"]
    assert table.rows[0][-2:] == ["", ""]
    assert table.rows[1][-1] == f"{signed(both.low or 0)} to {signed(both.high or 0)}"
    caption = " ".join(table.caption)
    assert "covers what the seed changes" in caption
    assert "covers the choice of the 8 test images too" in caption
    for other in (made_up(("ce", "lovasz"), 3), made_up(("ce", "lovasz"), 1, pictures(4, images=8))):
        assert "over seeds and images" not in [*loss_table(other).header, *loss_table(other).caption]
        assert {len(row) for row in loss_table(other).rows} == {len(loss_table(other).header)}


def test_large_classes_and_divergence_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lovasz.study.summary.compare.LARGE_CLASS", 25)
    comparison = made_up(("ce", "lovasz"), 3)
    first = replace(comparison.summaries[0], diverged=[1, 2])
    table = loss_table(replace(comparison, summaries=[first, *comparison.summaries[1:]]))
    assert table.header[2] == f"mIoU of {len(comparison.large)} classes"
    assert [row[2] for row in table.rows] == [f"{row.large_mean:.1f}" for row in comparison.summaries]
    assert table.caption[-1] == "ce diverged with seed 1, 2."
    assert any("at least 25 test pixels" in said for said in table.caption)


def test_classes_with_their_scores(tmp_path: Path) -> None:
    names = ("sky", "road", "car", "man", "absent")
    found = count(*write(tmp_path, blobs(6, 4)), names)
    scores = score(found)
    table = class_table(found, scores)
    assert [row[0] for row in table.rows] == list(names)
    for row, one in zip(table.rows[:4], scores.classes, strict=False):
        expected = (one.iou, one.dice, one.precision, one.recall, one.image_iou, one.worst)
        assert list(row[2:]) == [f"{100 * share:.2f}" for share in expected]
    assert set(table.rows[4][2:]) == {"–"}
    means = (scores.miou, scores.dice, scores.class_miou, scores.class_worst)
    assert [cell for cell in table.mean[2:] if cell != "–"] == [f"{100 * share:.2f}" for share in means]
    assert cells_of(as_markdown(table)) == [list(row) for row in [*table.rows, table.mean]]
    partial = class_table(replace(found, stopped=True, counted=4), scores)
    assert any("Partial: interrupted after 4 of 6 images." in said for said in partial.caption)
    assert "only predicted" in " ".join(class_table(found, score(found, "zero")).caption)


def test_names_are_text_in_every_table(tmp_path: Path) -> None:
    found = count(*write(tmp_path, blobs(4, len(HOSTILE))), HOSTILE)
    comparison = made_up(data=pictures(len(HOSTILE), names=HOSTILE), seeds=2)
    losses = dict(zip(comparison.losses, HOSTILE[1:], strict=False))
    summaries = [replace(row, loss=losses[row.loss]) for row in comparison.summaries]
    differences = [replace(row, loss=losses[row.loss]) for row in comparison.differences]
    data = replace(comparison.data, name=HOSTILE[2])
    hostile = replace(comparison, summaries=summaries, differences=differences, data=data)
    for table in (class_table(found, score(found)), loss_table(hostile)):
        latex, markdown = as_latex(table), as_markdown(table)
        body = latex.partition("\\midrule\n")[2].partition("\n\\bottomrule")[0]
        lines = [line for line in body.splitlines() if line != "\\midrule"]
        cells = [line.removesuffix(" \\\\").split(" & ") for line in lines]
        assert [read_latex(row[0]) for row in cells][: len(table.rows)] == [printable(row[0]) for row in table.rows]
        caption = latex.partition("\\caption{")[2].partition("}\n\\begin{tabular}")[0]
        assert read_latex(caption) == printable(" ".join(table.caption))
        assert [html.unescape(row[0]) for row in cells_of(markdown)][: len(table.rows)] == [
            printable(row[0]) for row in table.rows
        ]
        page = MarkdownIt("commonmark").enable("table").render(markdown)
        assert not re.search(r"<(script|img|a|code|em|strong|h\d)\b", page)
        assert page.count("<table>") == 1
