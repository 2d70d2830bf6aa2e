"""What the commands do where the study extra, or a part of it, is missing: ``info`` and refusals."""

import pytest
from typer.testing import CliRunner, Result

import lovasz
from lovasz.cli import compare as compare_module
from lovasz.cli.app import app
from lovasz.cli.info import print_plain
from lovasz.study.environment import EXTRA
from tests.cli.test_compare import assert_refused, python

# Stands in for an installation without some packages: nothing finds them.
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name.split(".")[0] in {absent!r} else found(name, package)
)
sys.meta_path.insert(0, Absent())
from lovasz.cli import main
sys.argv = ["lovasz", *{arguments!r}]
main()
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="lovasz")


def test_info() -> None:
    result = invoke("info")
    assert result.exit_code == 0
    for word in ("python", "torch", "lovasz", *EXTRA, "cpu", "kernel", "why"):
        assert word in result.stdout
    assert "\x1b" not in result.stdout


def test_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"lovasz {lovasz.__version__}\n")


@pytest.mark.parametrize(
    ("absent", "arguments", "code", "said"),
    [
        ({"typer"}, ["compare"], 2, "lovasz: the commands need the study extra: pip install"),
        (set(EXTRA), ["--help"], 2, "lovasz: the commands need the study extra: pip install"),
        (set(EXTRA), ["info"], 0, ""),
        (set(EXTRA), ["--version"], 0, ""),
        ({"rich"}, [], 2, "lovasz: the commands need the study extra: pip install"),
        ({"lightning"}, ["compare"], 2, "lovasz: compare needs lightning, from the study extra"),
        (
            {"monai", "tensorly"},
            ["compare"],
            2,
            "lovasz: compare needs monai, tensorly, from the study extra",
        ),
        (
            {"monai"},
            ["evaluate", "a", "b", "--surface", "2px"],
            2,
            "lovasz: evaluate needs monai, from the study extra: pip install 'lovasz[study]'",
        ),
        (set(EXTRA) - {"typer", "rich", "pydantic"}, ["info"], 0, ""),
        (
            {"yaml"},
            ["compare", "--seeds", "2"],
            2,
            "lovasz: compare needs yaml, from the study extra",
        ),
    ],
    ids=[
        "typer",
        "help",
        "plain-info",
        "plain-version",
        "rich",
        "lightning",
        "monai-tensorly",
        "monai",
        "info",
        "yaml",
    ],
)
def test_missing_extra(absent: set[str], arguments: list[str], code: int, said: str) -> None:
    with python(WITHOUT.format(absent=absent, arguments=arguments)) as child:
        stdout, stderr = child.communicate(timeout=100)
    assert child.returncode == code, stderr
    assert stderr.startswith(said)
    assert stderr.count("\n") == bool(said)
    assert (stdout == "") == bool(said)


def test_plain_info_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    print_plain()
    plain = capsys.readouterr().out
    tables = invoke("info").stdout.replace("─", " ")
    assert plain.split() == tables.split()


def test_missing_package_is_shown_in_info(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(EXTRA, "no_such_module", "no-such-distribution")
    assert "missing: pip install 'lovasz[study]'" in invoke("info").stdout
    print_plain()
    assert "no_such_module  missing: pip install 'lovasz[study]'" in capsys.readouterr().out
    assert_refused(invoke("compare"), "no_such_module", "pip install 'lovasz[study]'")
    assert compare_module.missing() == ["no_such_module"]
