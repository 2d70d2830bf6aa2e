"""The house: imports flow downward, signatures agree, optional parts may be absent, the README is true."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lovasz

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "lovasz"

#: Each layer may import those before it.
LAYERS = (
    {"measures"},
    {"_math"},
    {"_inputs"},
    {"_kernels"},
    {"curves"},
    {"counts", "_counting_metric", "scores", "boundaries", "_fitting"},
    {"_losses", "decisions", "_curve_metric", "_image_metric"},
    {"_boundary_metric", "_multilabel_metric"},
    {"functional", "metrics"},
    {"modules", "berman"},
    {"__init__"},
    {"study"},
    {"cli"},
    {"__main__"},
)


def _imports(path):
    """Names of the package's own modules that a file imports."""
    package = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            if node.module:
                yield (*base, *node.module.split("."))[0]
            else:
                for alias in node.names:
                    yield (*base, alias.name)[0]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lovasz":
            yield ([*node.module.split("."), "__init__"])[1]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "lovasz":
                    yield ([*alias.name.split("."), "__init__"])[1]


def test_imports_flow_downward():
    level = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in _imports(path):
            name = name if name in level else "__init__"  # a public name or __version__
            inside = name == own and own in ("_math", "_inputs", "_kernels", "study", "cli")
            assert inside or level[name] < level[own], f"{path.relative_to(PACKAGE)} imports {name}"


#: Each room of the app may import those before it, and `train` not `score`: what scores masks trains nothing.
ROOMS = ({"io", "environment", "processes"}, {"data", "score"}, {"train"}, {"summary"}, {"report"}, {"cli"})


def _names(path):
    """What a file of the app imports from the package: module and name, and what it reads of these modules."""
    tree, modules = ast.parse(path.read_text()), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.relative_to(PACKAGE)}: the app imports by whole names"
            if node.module.split(".")[0] == "lovasz":
                for alias in node.names:
                    modules[alias.asname or alias.name] = node.module
                    yield node.module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "lovasz":
                    yield alias.name, ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def _room(module):
    """The room of the app that a module lies in, None for the core."""
    parts = module.split(".")[1:]
    return parts[0] if parts[:1] == ["cli"] else parts[1] if parts[:1] == ["study"] and parts[1:] else None


APP = [path for room in ("study", "cli") for path in sorted((PACKAGE / room).rglob("*.py"))]


def test_the_rooms_of_the_app_import_downward():
    level = {name: i for i, layer in enumerate(ROOMS) for name in layer}
    seen = set()
    for path in APP:
        own = _room(".".join(("lovasz", *path.relative_to(PACKAGE).with_suffix("").parts)))
        for module, name in _names(path):
            room = _room(f"{module}.{name}")
            if own == "__init__" or room in (None, own):
                continue
            assert level[room] < level[own], f"{path.relative_to(PACKAGE)} imports {module}.{name}"
            assert (own, room) != ("train", "score"), path.name
            seen.add((own, room))
    assert {("cli", "report"), ("score", "io"), ("summary", "train")} <= seen


def test_the_app_imports_public_names_only():
    for path in APP:
        for module, name in _names(path):
            private = [part for part in (*module.split("."), name) if re.match("_(?!_)", part)]
            assert not private, f"{path.relative_to(PACKAGE)} imports {module}.{name}"


def test_the_core_imports_nothing_but_torch_and_torchmetrics():
    core = {"torch", "torchmetrics", *sys.stdlib_module_names}
    rooms = [
        PACKAGE,
        *(PACKAGE / room for room in ("_math", "_inputs", "_kernels", "_kernels/triton", "_kernels/cuda")),
    ]
    for path in (path for room in rooms for path in room.glob("*.py")):
        # What a kernel for GPUs is loaded with is there where it is.
        allowed = core | {path.parent.name} if path.parent.name in ("triton", "cuda") else core
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {a.name.split(".")[0] for a in node.names} <= allowed, path.name
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module.split(".")[0] in allowed, path.name


def _arguments(function, *without):
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default, str(p.annotation)) for p in parameters if p.name not in without]


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "hinge", "cross_entropy"])
def test_the_module_has_the_signature_of_the_function(name):
    function = getattr(lovasz, f"lovasz_{name}")
    module = getattr(lovasz, "Lovasz" + name.title().replace("_", "") + "Loss")
    assert _arguments(module.__init__, "self") == _arguments(function, "logits", "target", "mask", "counts")


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "hinge", "cross_entropy"])
def test_the_module_passes_every_argument_on(name, monkeypatch):
    module = getattr(lovasz, "Lovasz" + name.title().replace("_", "") + "Loss")
    seen = {}
    monkeypatch.setattr(f"lovasz.functional.lovasz_{name}", lambda *args, **kwargs: seen.update(kwargs))
    given = {"ignore_index": [7], "classes": [0], "per_image": True, "reduction": "sum", "bins": 99,
             "weight": torch.ones(2), "average_gradients": False, "upsample": "bilinear",
             "align_corners": True, "measure": "dice"}  # fmt: skip
    if name == "cross_entropy":
        given |= {"lovasz_weight": 0.1, "ce_weight": 0.2, "label_smoothing": 0.3}
    if name in ("sigmoid", "hinge"):
        given["channels"] = True
    call = {"mask": torch.ones(1)}
    if name != "cross_entropy":
        call["counts"] = object()
    module(**given)(None, None, **call)
    assert {k: v for k, v in seen.items() if k != "group"} == given | call
    assert "ignore_index=[7]" in repr(module(**given))


@pytest.mark.parametrize("bad", [{"reduction": "avg"}, {"bins": 3}, {"classes": "presnt"}, {"ignore_index": 1.5}])
def test_modules_refuse_bad_arguments_when_they_are_made(bad):
    with pytest.raises((ValueError, TypeError)):
        lovasz.LovaszSoftmaxLoss(**bad)


def test_every_public_name_is_documented():
    for name in lovasz.__all__:
        thing = getattr(lovasz, name)
        assert thing.__doc__
        assert ">>> " in thing.__doc__, name
        assert len(inspect.getdoc(thing).splitlines()) <= 45, name


def test_every_module_can_be_imported_where_there_is_no_posix():
    """On Windows; what other packages import is their own affair."""
    done = _python(
        "import builtins, pkgutil\n"
        "posix = {'fcntl', 'grp', 'posix', 'pty', 'pwd', 'resource', 'syslog', 'termios', 'tty'}\n"
        "find = builtins.__import__\n"
        "def imported(name, globals=None, locals=None, fromlist=(), level=0):\n"
        "    if name in posix and str((globals or {}).get('__name__')).startswith('lovasz'):\n"
        "        raise ModuleNotFoundError(f\"{globals['__name__']} imports {name}\")\n"
        "    return find(name, globals, locals, fromlist, level)\n"
        "builtins.__import__ = imported\n"
        "import importlib, lovasz\n"
        "for module in pkgutil.walk_packages(lovasz.__path__, 'lovasz.'):\n"
        "    if 'triton' not in module.name and not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "print(module.name)"
    )
    assert done.returncode == 0, done.stderr
    for path in PACKAGE.rglob("*.py"):
        assert "preexec_fn" not in path.read_text(), path.name


def test_the_kernels_have_a_public_name():
    from lovasz._kernels import operators

    assert lovasz.kernels() == operators.kernels()
    assert ">>> " in lovasz.kernels.__doc__


def _python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_core_works_where_nothing_optional_is_installed():
    """An installation with torch and torchmetrics alone, without Triton and without any extra."""
    blocked = ("triton", "kornia", "lightning", "monai", "typer", "rich", "jinja2", "tensorly", "hypothesis")
    done = _python(
        "import sys, importlib.machinery as machinery\n"
        f"blocked = {blocked!r}\n"
        "find = machinery.PathFinder.find_spec\n"
        "machinery.PathFinder.find_spec = classmethod(\n"
        "    lambda cls, name, *a: None if name.split('.')[0] in blocked else find(name, *a))\n"
        "import torch, lovasz, lovasz.berman, lovasz.metrics\n"
        "x = torch.randn(2, 3, 8, 8, requires_grad=True)\n"
        "lovasz.lovasz_softmax(x, torch.zeros(2, 8, 8).long(), bins=64).backward()\n"
        "print(x.grad.isfinite().all().item())"
    )
    assert done.stdout.strip() == "True", done.stderr


def test_importing_the_library_is_light():
    """It loads itself, what PyTorch has loaded, and of the standard library."""
    done = _python(
        "import sys, torch\n"
        "before = {*sys.modules}\n"
        "import lovasz\n"
        "loaded = {name.split('.')[0] for name in {*sys.modules} - before}\n"
        "print(loaded - sys.stdlib_module_names, {'torchmetrics', 'triton', 'lightning'} & {*sys.modules})"
    )
    assert done.stdout.strip() == "{'lovasz'} set()", done.stdout + done.stderr


def _blocks(language):
    readme = (ROOT / "README.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)


def test_every_python_block_of_the_readme_runs():
    blocks = _blocks("python")
    assert len(blocks) >= 4
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)


def test_every_command_of_the_readme_exists():
    commands = "\n".join(_blocks("(?:sh|bash|console)"))
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", commands, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make demo" in commands
    assert "make test" in commands


def _public_functions():
    """Every public function and method of the package, with its name."""
    import lovasz.berman
    import lovasz.metrics

    for module in (lovasz, lovasz.berman, lovasz.metrics):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                yield f"{module.__name__}.{name}", thing
            elif inspect.isclass(thing):
                for method, value in vars(thing).items():
                    value = value.fget if isinstance(value, property) else value
                    if inspect.isfunction(value) and not method.startswith("_") and value.__doc__:
                        yield f"{module.__name__}.{name}.{method}", value


def test_docstrings_begin_with_a_verb():
    """Ruff's D401 finds "Returns" and "The", and no noun."""
    verbs = {"Add", "Compute", "Count", "Draw", "List", "Return", "Share"}
    names = dict(_public_functions())
    assert len(names) > 30
    for name, function in names.items():
        assert function.__doc__.split()[0] in verbs, f"{name}: {function.__doc__.splitlines()[0]}"


def test_an_argument_is_explained_where_it_stands():
    """An editor shows its line alone: not "as in" another function, nor several arguments in one line."""
    for name, function in _public_functions():
        arguments = (inspect.getdoc(function).partition("Args:\n")[2] or "").partition("\n\n")[0]
        assert "as in " not in arguments, name
        if not name.startswith("lovasz.berman"):  # which has pairs of the same shape
            assert not re.search(r"^    \w+, \w+.*:", arguments, re.MULTILINE), name
            documented = set(re.findall(r"^    (\w+):", arguments, re.MULTILINE))
            assert documented in (set(), {*inspect.signature(function).parameters} - {"self"}), name


def test_the_versions_agree():
    import tomllib

    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pyproject["project"]["version"] in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {pyproject['project']['version']}" in (ROOT / "CITATION.cff").read_text()


def test_every_lower_bound_was_tested():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = re.search(r"\*\*oldest:\*\*(.*?)\n-", (ROOT / "CONTRIBUTING.md").read_text(), re.S)[1]
    tested = dict(re.findall(r"([\w-]+) (\d[\d.]*\d)", oldest))
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(r for extra in extras for r in extra)]:
        name, bound = re.fullmatch(r"([\w-]+)(?:\[.*\]|[>=]=(.+))", requirement).groups()
        if name != "lovasz":
            assert f"{tested[name]}.0".startswith(f"{bound}."), requirement
