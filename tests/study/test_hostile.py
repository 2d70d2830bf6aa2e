"""Files of others run nothing: not those that are read, and not in the programs that read what is written."""

import ast
import csv
import io
import pickle
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lovasz.cli import session
from lovasz.cli.app import app
from lovasz.study.data.folder import load_folder
from lovasz.study.data.layout import find
from lovasz.study.io import digests
from lovasz.study.io.classes import read_classes
from lovasz.study.io.images import read_image
from lovasz.study.io.kinds import SUFFIXES
from lovasz.study.io.masks import read_mask
from lovasz.study.io.sheets import write_rows
from lovasz.study.processes import Ranks
from lovasz.study.report.report import write_report
from lovasz.study.score.evaluation import evaluate
from lovasz.study.score.pairing import pair
from lovasz.study.score.scores import score
from lovasz.study.summary.compare import summarise
from lovasz.study.summary.evaluation_results import Outcome, write_tables
from lovasz.study.summary.results import write_csv
from lovasz.study.train import store
from lovasz.study.train.config_file import make_config
from lovasz.study.train.runs import plan
from tests.study import masks
from tests.study.evaluated import blobs
from tests.study.made_up import made_up, pictures
from tests.study.test_store import SETTINGS
from tests.study.test_store import made_up as finished_run
from tests.study.tiny_data import CLASSES, tiny_folder, tiny_scene

SOURCE = Path(__file__).parents[2] / "src" / "lovasz"
MARK = "it-ran"


class Bomb:
    """Makes a file where the process works when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(MARK),)


def compare(*arguments: str) -> str:
    """Runs one run of two steps to its end and returns what is said."""
    options = ["--loss", "ce", "--seeds", "1", "--steps", "2", "--threads", "1", "--accelerator", "cpu"]
    options = [] if "--resume" in arguments else options
    result = CliRunner().invoke(app, ["compare", *options, *arguments], prog_name="lovasz")
    assert result.exit_code == 0, result.output
    assert "1 of 1: ce, seed 0" in result.stdout
    return result.stdout


def only_run() -> Any:
    """Settings of that run."""
    given = {"losses": "ce", "seeds": 1, "steps": 2, "threads": 1, "accelerator": "cpu"}
    (settings,) = plan(make_config(given, None), tiny_scene(), threads=1).runs
    return settings


def torch_bomb() -> bytes:
    """A file of torch.save that runs code."""
    file = io.BytesIO()
    torch.save({"measured": Bomb()}, file)
    return file.getvalue()


def state_that_was_put_there(resume: list[str], content: bytes) -> None:
    config = make_config({"losses": "ce", "seeds": 1, "steps": 2, "threads": 1, "accelerator": "cpu"}, None)
    draft = store.draft(Path("out"), only_run())
    draft.mkdir(parents=True)
    (draft / store.STATE).write_bytes(content)
    from lovasz.study.train.config_file import write_config

    (Path("out") / "config.yaml").write_text(write_config(config))
    said = compare(*resume, "out")
    assert f"{draft} is damaged (state.ckpt: " in said


def state_of_lightning() -> None:
    state_that_was_put_there(["--out"], torch_bomb())


def state_with_its_digest() -> None:
    state_that_was_put_there(["--out"], digests.sealed(torch_bomb()))


def state_to_resume() -> None:
    state_that_was_put_there(["--resume"], digests.sealed(torch_bomb()))


def state_that_is_a_pickle() -> None:
    state_that_was_put_there(["--out"], digests.sealed(pickle.dumps(Bomb())))


def state_of_a_cluster() -> None:
    """Lightning looks for such a file where it works, if a cluster seems to have started it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"NTASKS": "1", "JOB_NAME": "x", "JOB_ID": "1", "NNODES": "1", "NODEID": "0",
                            "LOCALID": "0", "PROCID": "0", "NODELIST": "localhost"}.items():  # fmt: skip
            patch.setenv(f"SLURM_{name}", value)
        Path("hpc_ckpt_1.ckpt").write_bytes(torch_bomb())
        compare("--out", "out")


def arrays_of_a_run() -> None:
    folder = Path("out")
    store.save(folder, finished_run())
    place = store.finished(folder, SETTINGS)
    with open(place / store.TESTED, "wb") as file:
        np.savez(file, kept=np.array([Bomb()], dtype=object))
    for name in (store.BEST, store.LAST):
        (place / name).write_bytes(torch_bomb())
    (place / digests.SUMS).unlink()
    (place / digests.SUMS).write_text(digests.sums(place))
    with pytest.raises(store.DamagedRunError, match="allow_pickle"):
        store.load(folder, SETTINGS)


def record_of_a_run() -> None:
    folder = Path("out")
    store.save(folder, finished_run())
    place = store.finished(folder, SETTINGS)
    (place / store.RECORD).write_bytes(pickle.dumps(Bomb()))
    (place / digests.SUMS).unlink()
    (place / digests.SUMS).write_text(digests.sums(place))
    with pytest.raises(store.DamagedRunError):
        store.load(folder, SETTINGS)


def settings_of_a_comparison() -> None:
    Path("out").mkdir()
    file = Path("out", "config.yaml")
    for tag in ("apply:pathlib.Path", "new:pathlib.Path"):
        file.write_text(f"losses: !!python/object/{tag} [{MARK}]\nx: !!python/object/apply:os.mkdir [{MARK}]\n")
        for options in (["--config", str(file)], ["--resume", "out"]):
            result = CliRunner().invoke(app, ["compare", *options], prog_name="lovasz")
            assert (result.exit_code, "cannot be read" in result.stderr) == (2, True)


def names_of_the_classes() -> None:
    for name in ("classes.json", "classes.txt"):
        Path(name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError, match=name):
            read_classes(Path(name))


def images_and_masks() -> None:
    for suffix in SUFFIXES:
        path = Path(f"file{suffix}")
        contents = [pickle.dumps(Bomb())]
        if suffix == ".npy":
            array = io.BytesIO()
            np.save(array, np.array([Bomb()], dtype=object))
            contents.append(array.getvalue())
        for content in contents:
            path.write_bytes(content)
            for read in (read_image, read_mask):
                with pytest.raises(ValueError, match=path.name):
                    read(path)


def list_of_images() -> None:
    Path("list.csv").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r".+"):
        find(Path("list.csv"))


def what_an_earlier_check_found() -> None:
    data = tiny_folder(Path("data"))
    Path("checked").write_bytes(pickle.dumps(Bomb()))
    load_folder(data, find(data), read_classes(data / "classes.txt"), (9,), None, Path("checked"), lambda *_: None)


@pytest.mark.parametrize(
    "reader",
    [state_of_lightning, state_with_its_digest, state_to_resume, state_that_is_a_pickle, state_of_a_cluster,
     arrays_of_a_run, record_of_a_run, settings_of_a_comparison, names_of_the_classes, images_and_masks,
     list_of_images, what_an_earlier_check_found],
    ids=lambda reader: reader.__name__,
)  # fmt: skip
@pytest.mark.usefixtures("memory_not_measured")
def test_no_reader_runs_what_a_file_holds(
    reader: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "load_indian_pines", tiny_scene)
    monkeypatch.chdir(tmp_path)
    reader()
    assert not Path(MARK).exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert Path(MARK).exists()  # it would have


def calls(tree: ast.AST) -> list[tuple[str, dict[str, ast.expr]]]:
    """Every call in a file: its name with dots, and its arguments by keyword."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), {k.arg: k.value for k in node.keywords if k.arg}) for node in found]


def constant(value: ast.expr | None) -> object:
    return value.value if isinstance(value, ast.Constant) else value


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_in_the_source_could(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        if (module, names) != ("pickle", ["UnpicklingError"]):
            for name in (module, *names):
                assert name.split(".")[0] not in {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
    for name, given in calls(tree):
        assert name not in {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.load_all"}, name
        assert not re.fullmatch(r"yaml\.(unsafe|full)_load(_all)?|.*load_state_dict_from_url|torch\.hub\..*", name)
        assert constant(given.get("weights_only", ast.Constant(True))) is True, name
        assert constant(given.get("allow_pickle", ast.Constant(False))) is False, name
        assert constant(given.get("shell", ast.Constant(False))) is False, name
        assert constant(given.get("autoescape", ast.Constant(True))) is True, name
        if name.endswith("torch.load"):
            assert "weights_only" in given
        if name.endswith("Environment"):
            assert "autoescape" in given
        if name in ("csv.writer", "csv.DictWriter"):
            assert path.name == "sheets.py"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.j2")), ids=lambda path: path.name)
def test_templates_escape_everything(path: Path) -> None:
    assert not re.search(r"\|\s*safe\b|autoescape", path.read_text(encoding="utf-8"))


# The last is none if it stays in its cell.
FORMULAS = ("=cmd|' /C calc'!A0", "+1+cmd", "-1+cmd", "@SUM(A1)", "\t=1", "\r=1", "a\r=1")
HARMLESS = ("Sky", "a=b", "'quoted", "1", 'über, "Straße"')


def test_no_text_of_a_csv_file_is_a_formula() -> None:
    file = io.StringIO(newline="")
    write_rows(file, [FORMULAS, HARMLESS, [-1, -0.5, 2, None, True]])
    rows = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert rows == [
        [*("'" + text for text in FORMULAS[:-1]), FORMULAS[-1]],
        list(HARMLESS),
        ["-1", "-0.5", "2", "", "True"],
    ]


def test_the_tables_hold_no_formula(tmp_path: Path) -> None:
    comparison = made_up(data=pictures(len(FORMULAS), names=FORMULAS), seeds=1)
    (first, *_) = comparison.runs.values()
    run = replace(first, settings=replace(first.settings, loss="=loss"))
    write_csv(summarise(comparison.data, comparison.config, [run]), tmp_path / "results.csv")

    predictions, targets = masks.write(tmp_path, blobs(2, len(FORMULAS)))
    for folder in (predictions, targets):
        next(folder.iterdir()).rename(folder / f"=name{next(folder.iterdir()).suffix}")
    pairs = pair(predictions, targets)
    found = evaluate(pairs, FORMULAS, frozenset({masks.VOID}), 1, threading.Event(), lambda *_: None, Ranks())
    tables = write_tables(Outcome(found, score(found), False, "=command"), tmp_path)
    seen = set()
    for path in [tmp_path / "results.csv", *(path for path in tables if path.suffix == ".csv")]:
        with open(path, newline="", encoding="utf-8") as text:
            for row in csv.reader(text):
                assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))], path
                seen |= {cell for cell in row if cell.startswith("'")}
    assert {"'=loss", "'=name", *("'" + name for name in FORMULAS[:-1])} <= seen


def test_names_are_text_in_the_report(tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", "{{ 7 * 191 }}", '"><img src=x onerror=alert(1)>', *CLASSES)
    write_report(made_up(data=pictures(len(names), names=names), seeds=1), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not [word for word in ("<script>alert", "1337", "<img src=x") if word in page]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
