"""``lovasz evaluate`` with intervals, groups, subgroups and other predictions, as a user types it."""

import csv
import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from lovasz.cli import evaluation_run
from lovasz.cli.app import app
from lovasz.study.summary import resampling
from lovasz.study.summary.stats import signed
from tests.cli.commands import assert_refused
from tests.study.masks import VOID, draw, write

OPTIONS = ("--num-classes", "5", "--ignore", str(VOID), "--resamples", "1000", "--worst", "2")


def evaluate(folder: Path, *arguments: object) -> Result:
    """Runs the command on the folders a and b; results go to ``out``."""
    words = [
        "evaluate",
        str(folder / "predictions"),
        str(folder / "targets"),
        *OPTIONS,
        "--out",
        str(folder / "out"),
    ]
    return CliRunner().invoke(app, [*words, *map(str, arguments)], prog_name="lovasz")


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "results.json").read_text())


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixteen images; ``better`` has every second pixel right that was wrong, ``lacking`` all but two images."""
    predictions, targets = write(tmp_path, draw(16, 5))
    assert {predictions.name, targets.name} == {"predictions", "targets"}
    shutil.copytree(predictions, tmp_path / "lacking")
    for file in sorted((tmp_path / "lacking").iterdir())[:2]:
        file.unlink()
    (tmp_path / "better").mkdir()
    for file in sorted(predictions.iterdir()):
        prediction, target = (np.array(Image.open(where / file.name)) for where in (predictions, targets))
        prediction[::2] = np.where(target[::2] == VOID, prediction[::2], target[::2])
        Image.fromarray(prediction).save(tmp_path / "better" / file.name)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(file.stem for file in (folder / "predictions").iterdir())


def test_every_score_has_an_interval_without_being_asked(folder: Path) -> None:
    result = evaluate(folder)
    assert result.exit_code == 0, result.output
    assert "95 % intervals: 16 images drawn 1,000 times with replacement" in " ".join(result.stdout.split())
    found = results(folder)
    assert found["intervals"]["units"] == 16
    for name in ("miou", "image_miou", "image_worst", "class_miou", "dice", "accuracy"):
        ends = found["intervals"]["means"][name]
        assert ends["low"] < found["scores"][name] < ends["high"], name
    assert found["classes"][0]["intervals"]["iou"]["low"] < found["classes"][0]["iou"]
    assert "How sure these numbers are" in (folder / "out" / "report.html").read_text()


def test_ctrl_c_while_images_are_drawn_keeps_the_scores_and_says_what_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sites.csv").write_text("image,site\n" + "".join(f"{name},{name[0]}\n" for name in names(folder)))
    drawn = resampling._drawn

    def interrupted(*arguments: int) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setattr(resampling, "_drawn", drawn)  # a second one would end the command at once
        return drawn(*arguments)

    monkeypatch.setattr(resampling, "_drawn", interrupted)
    options = ("--against", folder / "better", "--subgroups", folder / "sites.csv", "--resamples", 400_000)
    result = evaluate(folder, *options)
    assert result.exit_code == 130, result.output
    found = results(folder)
    assert (found["complete"], found["interrupted"], found["counted"]) == (True, True, 16)
    assert (found["intervals"], found["against"], found["subgroups"]) == (None, None, [])
    said = "Interrupted after the images were counted. Asked for and missing: intervals, comparison, subgroups."
    assert said in " ".join(result.stdout.split())
    assert said in (folder / "out" / "report.html").read_text()
    assert (folder / "out" / "images.csv").is_file()


def test_ctrl_c_while_other_predictions_are_counted_is_an_interruption(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = evaluation_run.evaluate

    def second_interrupted(pairs: Any, *arguments: Any) -> Any:
        if pairs.predictions.name == "better":
            os.kill(os.getpid(), signal.SIGINT)
        return counting(pairs, *arguments)

    monkeypatch.setattr(evaluation_run, "evaluate", second_interrupted)
    result = evaluate(folder, "--against", folder / "better")
    assert result.exit_code == 130, result.output
    assert (results(folder)["complete"], results(folder)["interrupted"]) == (False, True)
    assert "Asked for and missing: intervals, comparison." in " ".join(result.stdout.split())


def test_no_resamples_no_intervals(folder: Path) -> None:
    result = evaluate(folder, "--resamples", "0")
    assert result.exit_code == 0
    assert results(folder)["intervals"] is None
    assert "95 %" not in result.stdout
    assert "How sure" not in (folder / "out" / "report.html").read_text()


def test_other_predictions_are_compared_with_the_first(folder: Path) -> None:
    result = evaluate(folder, "--against", folder / "better", "--boundary", "2px")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "better has a higher mIoU than predictions on images of this kind: +" in said
    (other,) = results(folder)["against"]["others"]
    assert other["name"] == "better"
    assert other["wins"] == 16
    assert other["p_values"]["miou"] == pytest.approx(1 / 1001)
    gap = other["differences"]["miou"]
    alone = other["scores"]["miou"] - results(folder)["scores"]["miou"]
    assert gap["difference"] == pytest.approx(alone)
    assert 0 < gap["low"] < gap["difference"] < gap["high"]
    rows = read_csv(folder / "out" / "differences.csv")
    assert {row["score"] for row in rows} >= {"miou", "iou", "boundary_iou", "image_boundary_iou"}
    (row,) = (row for row in rows if row["score"] == "miou")
    assert float(row["low"]) == pytest.approx(gap["low"], abs=1e-6)
    assert {one["over"] for one in rows} == {"16 images"}
    page = (folder / "out" / "report.html").read_text()
    assert page.index("Against predictions") < page.index("Class by class")
    assert page.count("better: prediction") > 0
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page.partition("<td>better</td>")[2])[:3]
    points = [signed(100 * gap[end]) for end in ("difference", "low", "high")]
    assert cells[:2] == [f"<b>{points[0]}</b>", f"{points[1]} to {points[2]}"]
    assert cells[2] == f"{100 * other['scores']['miou']:.2f}"


def test_others_that_lack_images_are_compared_on_those_that_all_have(folder: Path) -> None:
    result = evaluate(folder, "--against", folder / "lacking")
    assert result.exit_code == 1
    assert "2 names without a pair" in result.stdout
    result = evaluate(folder, "--against", folder / "lacking", "--against", folder / "better", "--allow-missing")
    assert result.exit_code == 0
    found = results(folder)
    assert found["counted"] == 16
    assert found["against"]["images"] == 14
    assert [one["ties"] for one in found["against"]["others"]] == [14, 0]
    assert (
        sum([found["against"]["baseline"]["highest"], *(one["highest"] for one in found["against"]["others"])]) == 1
    )


def test_predictions_without_a_common_image_are_scored_and_not_compared(folder: Path) -> None:
    """The command ended, and what was counted was lost."""
    for file in sorted((folder / "predictions").iterdir())[2:]:
        file.unlink()
    result = evaluate(folder, "--against", folder / "lacking", "--allow-missing")
    assert result.exit_code == 0, result.output
    found = results(folder)
    assert (found["counted"], found["against"]) == (2, None)
    assert found["warnings"][-1] == "Not compared: no image was counted of all predictions."
    assert found["warnings"][-1] in " ".join(result.stdout.split())


def test_tables_of_an_earlier_comparison_are_deleted(folder: Path) -> None:
    (folder / "table.csv").write_text("image,site\n" + "".join(f"{name},x\n" for name in names(folder)))
    evaluate(folder, "--against", folder / "better", "--subgroups", folder / "table.csv")
    assert {"differences.csv", "subgroups.csv"} <= {file.name for file in (folder / "out").iterdir()}
    evaluate(folder)
    assert not {"differences.csv", "subgroups.csv"} & {file.name for file in (folder / "out").iterdir()}


def test_groups_are_drawn_together(folder: Path) -> None:
    evaluate(folder)
    alone = results(folder)["intervals"]["means"]["miou"]
    lines = "".join(f"{name},{index // 2}\n" for index, name in enumerate(names(folder)))
    (folder / "groups.csv").write_text("image,group\n" + lines)
    result = evaluate(folder, "--group", folder / "groups.csv")
    assert result.exit_code == 0, result.output
    assert "8 groups drawn" in result.stdout
    assert "Of 8 groups the intervals cover less often than they say." in " ".join(result.stdout.split())
    assert results(folder)["intervals"]["means"]["miou"] != alone
    by_pattern = evaluate(folder, "--group", r"\d$")
    assert "10 groups drawn" in by_pattern.stdout


def test_subgroups_have_scores_of_their_own(folder: Path) -> None:
    lines = "".join(
        f"{name}.png,{'north' if index < 6 else 'south'},=1\n" for index, name in enumerate(names(folder))
    )
    (folder / "table.csv").write_text("image,site,<b>scanner</b>\n" + lines)
    result = evaluate(folder, "--subgroups", folder / "table.csv")
    assert result.exit_code == 0, result.output
    assert "site: north" in result.stdout
    rows = read_csv(folder / "out" / "subgroups.csv")
    assert [(row["column"], row["value"], row["images"]) for row in rows] == [
        ("site", "north", "6"),
        ("site", "south", "10"),
        ("<b>scanner</b>", "'=1", "16"),
    ]
    assert float(rows[2]["miou"]) == pytest.approx(results(folder)["scores"]["miou"], abs=1e-6)
    assert float(rows[0]["miou_low"]) < float(rows[0]["miou"]) < float(rows[0]["miou_high"])
    page = (folder / "out" / "report.html").read_text()
    assert "&lt;b&gt;scanner" in page
    assert "<b>scanner" not in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--resamples", "10"), "--resamples must be at least 1,000, or 0 for no intervals, got 10"),
        (("--resamples", "0", "--group", "x"), "--group needs resamples, got --resamples 0"),
        (("--num-classes", "2001", "--group", "x"), "--group needs at most 2,000 classes, got 2,001"),
        (("--against", "{}/predictions"), "--against must name other predictions"),
        (("--against", "{}/none"), "none"),
        (("--group", "(x"), "--group must be a CSV file or a regular expression"),
        (("--group", "x"), "--group x finds no group in the name"),
        (("--subgroups", "{}/none.csv"), "none.csv"),
    ],
)
def test_what_cannot_be_used_is_refused(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    assert_refused(evaluate(folder, *(one.format(folder) for one in arguments)), said)
    assert not (folder / "out").exists()


def test_scores_are_not_compared(folder: Path) -> None:
    (folder / "s").mkdir()
    for file in (folder / "targets").iterdir():
        shape = np.array(Image.open(file)).shape
        np.save(folder / "s" / f"{file.stem}.npy", np.zeros((5, *shape), np.float32))
    words = [
        "evaluate",
        folder / "s",
        folder / "targets",
        *OPTIONS,
        "--scores",
        "logits",
        "--against",
        folder / "better",
    ]
    assert_refused(CliRunner().invoke(app, list(map(str, words)), prog_name="lovasz"), "--against compares masks")


def test_predictions_of_one_name_are_told_apart_by_their_folders(folder: Path) -> None:
    for which in ("old", "new"):
        shutil.copytree(folder / "better", folder / which / "predictions")
    evaluate(folder, "--against", folder / "old" / "predictions", "--against", folder / "new" / "predictions")
    others = [one["name"] for one in results(folder)["against"]["others"]]
    assert others == ["old/predictions", "new/predictions"]


def test_names_are_plain_text_on_the_terminal(folder: Path) -> None:
    """Neither markup nor emoji: of [v2] the name was left out, and [/v] ended the command."""
    for which in ("a[/v]", "b[/v]", "q[v2]"):
        shutil.copytree(folder / "better", folder / which)
    words = ["evaluate", folder / "a[/v]", folder / "targets", *OPTIONS, "--out", folder / "out :car:"]
    words += ["--against", folder / "b[/v]", "--against", folder / "q[v2]"]
    result = CliRunner().invoke(app, list(map(str, words)), prog_name="lovasz")
    assert result.exit_code == 0, result.output
    assert "Against a[/v], in points" in result.stdout
    assert str(folder / "out :car:" / "report.html") in result.stdout


def test_lists_are_compared_by_name(folder: Path) -> None:
    for which in ("predictions", "better"):
        rows = "".join(f"{name},{which}/{name}.png,targets/{name}.png\n" for name in names(folder))
        rows += f"again,{which}x.png,targets/{names(folder)[0]}.png\n"  # another prediction of the same target
        shutil.copy(folder / which / f"{names(folder)[0]}.png", folder / f"{which}x.png")
        (folder / f"{which}.csv").write_text("name,prediction,target\n" + rows)
    words = [
        "evaluate",
        folder / "predictions.csv",
        *OPTIONS,
        "--out",
        folder / "out",
        "--against",
        folder / "better.csv",
    ]
    result = CliRunner().invoke(app, list(map(str, words)), prog_name="lovasz")
    assert result.exit_code == 0, result.output
    assert results(folder)["against"]["images"] == 17
    assert results(folder)["against"]["others"][0]["wins"] == 17


@pytest.mark.parametrize("same", [True, False])
def test_lists_of_other_targets_are_not_compared(folder: Path, same: bool) -> None:
    """Of one name each has a target; a copy of it is as good."""
    shutil.copytree(folder / "targets", folder / "copy")
    if not same:
        Image.fromarray(np.zeros((3, 3), np.uint8)).save(folder / "copy" / f"{names(folder)[3]}.png")
    for which, targets in (("predictions", "targets"), ("better", "copy")):
        rows = "".join(f"{name},{which}/{name}.png,{targets}/{name}.png\n" for name in names(folder))
        (folder / f"{which}.csv").write_text("name,prediction,target\n" + rows)
    words = ["evaluate", folder / "predictions.csv", *OPTIONS, "--against", folder / "better.csv"]
    words += ["--out", folder / "out"]
    result = CliRunner().invoke(app, list(map(str, words)), prog_name="lovasz")
    if same:
        assert result.exit_code == 0, result.output
        return
    name = names(folder)[3]
    files = (str(folder / where / f"{name}.png") for where in ("targets", "copy"))
    assert_refused(result, f"--against {folder}/better.csv", f"of {name}", *files, "expected the same targets")


def test_a_loss_is_shown_as_surely_as_a_gain(folder: Path) -> None:
    words = ["evaluate", folder / "better", folder / "targets", *OPTIONS, "--out", folder / "out"]
    result = CliRunner().invoke(
        app, [*map(str, words), "--against", str(folder / "predictions")], prog_name="lovasz"
    )
    assert "predictions has a lower mIoU than better on images of this kind: −" in " ".join(result.stdout.split())
    cells = re.findall(
        r"<td[^>]*>(.*?)</td>", (folder / "out" / "report.html").read_text().partition("<td>predictions</td>")[2]
    )
    assert re.fullmatch(r"<b>−[\d.]+</b>", cells[0])


def test_the_table_to_paste_has_the_intervals_and_says_what_they_cover(folder: Path) -> None:
    evaluate(folder, "--boundary", "2px")
    found, text = results(folder), (folder / "out" / "table.md").read_text()
    assert "| IoU | 95 % interval | Dice |" in text
    assert "| boundary IoU |" in text.splitlines()[2]
    ends = found["classes"][0]["intervals"]["iou"]
    expected = f"| {100 * found['classes'][0]['iou']:.2f} | {100 * ends['low']:.2f} to {100 * ends['high']:.2f} |"
    assert expected in text
    assert f"| {100 * found['classes'][0]['boundary_iou']:.2f} |" in text
    assert f"{100 * found['intervals']['means']['miou']['low']:.2f} to" in text.partition("| Mean |")[2]
    assert "16 images drawn 1,000 times" in text
    assert "16 images drawn 1,000 times" in (folder / "out" / "table.tex").read_text()


def test_of_four_images_no_table_of_dashes_is_shown(folder: Path) -> None:
    for name in names(folder)[4:]:
        for side in ("predictions", "targets"):
            (folder / side / f"{name}.png").unlink()
    result = evaluate(folder)
    assert result.exit_code == 0, result.output
    assert "Fewer than 5 images allow no interval." in " ".join(result.stdout.split())
    assert "Intervals, in %" not in result.stdout
    page = (folder / "out" / "report.html").read_text()
    assert "Fewer than 5 images allow no interval." in page
    assert "below each number" not in page
    assert 'aria-label="IoU, %"' not in page
