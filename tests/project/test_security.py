"""What SECURITY.md promises of the code: nothing in it can run a file that it reads."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Functions that run or unpickle what they are given.
UNSAFE = {
    *("eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "joblib.load"),
}
#: Functions that do so unless an argument says otherwise.
SAFE_WITH = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def unsafe_calls(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            arguments = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            needed, value = SAFE_WITH.get(name, (None, None))
            if name in UNSAFE or (needed and arguments.get(needed) is not value):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def test_nothing_runs_or_unpickles_a_file():
    files = sorted((ROOT / "src").rglob("*.py"))
    assert files
    found = {file.name: calls for file in files if (calls := unsafe_calls(file.read_text()))}
    assert not found


def test_unsafe_calls_are_found():
    for call in ("eval(x)", "torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p)", "yaml.load(f)"):
        assert unsafe_calls(call), call
    for call in (
        "torch.load(p, weights_only=True)",
        "np.load(p, allow_pickle=False)",
        "yaml.safe_load(f)",
        "m.eval()",
    ):
        assert not unsafe_calls(call), call


def test_vulnerabilities_are_reported_privately():
    text = (ROOT / "SECURITY.md").read_text()
    assert "private vulnerability reporting" in text
    assert "@" not in text  # no address that nobody reads
