"""What the commands do where the study extra, or a part of it, is missing: ``info`` and refusals."""

from collections.abc import Callable

import pytest
import torch
from typer.testing import CliRunner, Result

import lovasz
from lovasz import KernelCheck
from lovasz._kernels import check as checks_module
from lovasz._kernels import cpu, plain, trial
from lovasz.cli import compare as compare_module
from lovasz.cli import info as info_module
from lovasz.cli import main
from lovasz.cli.app import app
from lovasz.cli.info import print_plain
from lovasz.study.environment import EXTRA
from tests.cli.test_compare import assert_refused, python

# Stands in for installations without some packages: nothing finds them. A process for each case, of one that has
# imported what all of them need, and what takes them most of their time; each writes what it says into files.
WITHOUT = """
import ast, os, sys
import torch
os.chdir(sys.argv[2])
for number, (absent, arguments, _, _) in enumerate(ast.literal_eval(sys.argv[1])):
    child = os.fork()
    if not child:
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{number}.{name}", os.O_CREAT | os.O_WRONLY), stream)
        break
    with open(f"{number}.code", "w") as file:
        file.write(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
else:
    raise SystemExit
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name.split(".")[0] in absent else found(name, package)
)
sys.meta_path.insert(0, Absent())
from lovasz.cli import main
sys.argv = ["lovasz", *arguments]
main()
"""


CPU = torch.device("cpu")


def raising(error: Exception) -> Callable[..., None]:
    def function(*args: object, **kwargs: object) -> None:
        raise error

    return function


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


#: What is absent, the command, its exit code and how what it says begins.
MISSING: dict[str, tuple[set[str], list[str], int, str]] = {
    "typer": ({"typer"}, ["compare"], 2, "lovasz: the commands need the study extra: pip install"),
    "help": (set(EXTRA), ["--help"], 2, "lovasz: the commands need the study extra: pip install"),
    "plain-info": (set(EXTRA), ["info"], 0, ""),
    "plain-check": (set(EXTRA), ["info", "--check"], 0, ""),
    "plain-version": (set(EXTRA), ["--version"], 0, ""),
    "rich": ({"rich"}, [], 2, "lovasz: the commands need the study extra: pip install"),
    "lightning": ({"lightning"}, ["compare"], 2, "lovasz: compare needs lightning, from the study extra"),
    "monai-tensorly": (
        {"monai", "tensorly"}, ["compare"], 2, "lovasz: compare needs monai, tensorly, from the study extra"
    ),
    "monai": (
        {"monai"}, ["evaluate", "a", "b", "--surface", "2px"], 2,
        "lovasz: evaluate needs monai, from the study extra: pip install 'lovasz[study]'",
    ),
    "info": (set(EXTRA) - {"typer", "rich", "pydantic"}, ["info"], 0, ""),
    "yaml": ({"yaml"}, ["compare", "--seeds", "2"], 2, "lovasz: compare needs yaml, from the study extra"),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    """What a case wrote to stdout or stderr, or its exit code."""
    folder = tmp_path_factory.mktemp("missing")
    with python(WITHOUT, repr(list(MISSING.values())), str(folder)) as parent:
        printed = parent.communicate(timeout=200)
    assert (printed, parent.returncode) == (("", ""), 0)
    numbers = {name: number for number, name in enumerate(MISSING)}
    return lambda name, what: (folder / f"{numbers[name]}.{what}").read_text()


@pytest.mark.parametrize("name", MISSING)
def test_missing_extra(name: str, said: Callable[[str, str], str]) -> None:
    *_, code, begins = MISSING[name]
    assert said(name, "code") == str(code)
    assert said(name, "stderr").startswith(begins)
    assert said(name, "stderr").count("\n") == bool(begins)
    assert (said(name, "stdout") == "") == bool(begins)


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


# ---- info --check ----


def check(passed: bool | None, found: str, milliseconds: float | None, kernel: str = "triton") -> KernelCheck:
    return KernelCheck("cuda:0", kernel, passed, found, (8, 21, 512, 512), milliseconds, 2.5)


def test_check_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_module, "SIZE", {"cpu": (2, 3, 9, 7), "cuda": (2, 3, 9, 7)})
    result = invoke("info", "--check")
    assert result.exit_code == 0, result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if "2x3x9x7" in line]
    assert rows[0][0] == "cpu"
    assert rows[-1][:3] in (
        ["cpu", "PyTorch", "reference"],
        [f"cuda:{torch.cuda.device_count() - 1}", "PyTorch", "reference"],
    )
    for row in rows:
        ours, theirs, ratio = map(float, row[-3:])
        assert ours > 0
        assert ratio == pytest.approx(ours / theirs, rel=0.02, abs=0.01)
    assert "Check" not in invoke("info").stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("passed", "found", "code"),
    [
        (True, "ok", 0),
        (None, "not installed: ModuleNotFoundError: No module named 'cuda'. Remedy: pip install 'x[study]'", 0),
        (False, "RuntimeError: no C compiler. Remedy: install gcc, or set CC to a C compiler", 1),
    ],
    ids=["ok", "not-installed", "failed"],
)
def test_check_says_what_was_found_and_fails_where_a_kernel_does(
    passed: bool | None, found: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [check(passed, found, 1.25 if passed else None, "cuda"), check(True, "reference", 123.4, "PyTorch")]
    monkeypatch.setattr(info_module, "check_kernels", lambda: rows)
    result = invoke("info", "--check")
    assert result.exit_code == code
    assert print_plain(check=True) == (code == 0)
    plain = capsys.readouterr().out
    assert f"cuda:0  cuda     {found}" in plain
    numbers = [line.split()[-4:] for line in plain.splitlines() if "8x21x512x512" in line]
    assert numbers == [
        ["8x21x512x512", *(["1.25", "2.5", "0.50"] if passed else ["-", "2.5", "-"])],
        ["8x21x512x512", "123", "2.5", "49.36"],
    ]
    for word in found.split():
        assert word[:6] in result.stdout  # folded


def test_check_without_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("lovasz.cli.util.find_spec", lambda name: None)
    monkeypatch.setattr(info_module, "check_kernels", lambda: [check(False, "OSError", None)])
    for arguments, code in ((["info"], None), (["info", "--check"], 1), (["info", "--checks"], 2)):
        monkeypatch.setattr("sys.argv", ["lovasz", *arguments])
        if code is None:
            main()
            assert "OSError" not in capsys.readouterr().out
            continue
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == code
        assert ("OSError" in capsys.readouterr().out) == (code == 1)


def test_a_check_lists_every_kernel_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the CPU in the place of a GPU: what agrees is timed, what fails or is missing says why."""
    absent = ModuleNotFoundError("No module named 'cuda'", name="numpy")
    trials = [
        trial.tried("cuda", raising(absent), CPU),
        trial.tried("triton", lambda: plain, CPU),
        trial.tried("other", raising(OSError("no library")), CPU),
    ]
    monkeypatch.setattr(checks_module, "SIZE", {"cpu": (2, 3, 9, 7)})
    monkeypatch.setattr(checks_module, "_cpu_trials", lambda device: trials)
    first, second, third, last = checks_module._checks(CPU)
    assert (first.kernel, first.passed, first.milliseconds, first.ratio) == ("cuda", None, None, None)
    assert first.found.startswith("not installed: ModuleNotFoundError: No module named 'cuda'. Remedy: report")
    assert (second.kernel, second.passed, second.found, second.size) == ("triton", True, "ok", (2, 3, 9, 7))
    assert second.ratio == second.milliseconds / second.cross_entropy
    assert (third.kernel, third.passed, third.milliseconds) == ("other", False, None)
    assert third.found.startswith("OSError: no library. Remedy: ")
    assert (last.kernel, last.passed, last.found) == ("PyTorch", True, "reference")


def test_a_check_that_breaks_the_device_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = RuntimeError("the cuda kernel broke the context: start again\nwith another")
    monkeypatch.setattr(checks_module.operators.gpu_kernel, "trials", raising(broken))
    monkeypatch.setattr(checks_module.operators.gpu_kernel, "loads", {"cuda": None, "triton": None})
    (only,) = checks_module._checks(torch.device("cuda", 1))
    assert (only.device, only.kernel, only.passed, only.milliseconds) == ("cuda:1", "cuda, triton", False, None)
    assert only.found == "RuntimeError: the cuda kernel broke the context: start again"


def test_a_check_without_memory_for_its_times_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_module, "SIZE", {"cpu": (2, 3, 9, 7)})
    monkeypatch.setattr(torch, "randn", raising(torch.OutOfMemoryError("CUDA out of memory.")))
    for one in checks_module._checks(CPU):
        assert (one.passed, one.milliseconds, one.cross_entropy) == (True, None, None)
        assert one.found.endswith("; not timed: OutOfMemoryError: CUDA out of memory.")


@pytest.mark.parametrize(("chosen", "kernels"), [("off", ["PyTorch"]), ("", ["C++, {}", "PyTorch"])])
def test_a_check_of_the_cpu_is_one_of_what_may_serve(
    chosen: str, kernels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cpu.names():
        pytest.skip("needs the compiled kernel")
    monkeypatch.setenv("LOVASZ_CPU_KERNEL", chosen)
    monkeypatch.setattr(checks_module, "SIZE", {"cpu": (2, 3, 9, 7)})
    assert [one.kernel for one in checks_module._checks(CPU)] == [name.format(cpu.names()[0]) for name in kernels]


def test_a_check_says_that_the_compiled_kernel_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_compiled", None)
    monkeypatch.setattr(cpu, "_missing", "no such file", raising=False)
    monkeypatch.setattr(checks_module, "SIZE", {"cpu": (2, 3, 9, 7)})
    first, _ = checks_module._checks(CPU)
    assert first.passed is None
    assert "no such file. Remedy: install a C++17 compiler and lovasz again" in first.found
