"""Each row of docs/migrating.md: both expressions are run, and what it says of their values holds."""

import builtins
import importlib.util
import re
import sys
import types
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from benchmarks import peers, published
from studies.operators import declare

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
#: A relation is code that names theirs or ours.
RELATION = re.compile(r"`([^`]*\b(?:theirs|ours)\b[^`]*)`")
SECTIONS = {title: text for title, _, text in (part.partition("\n") for part in PAGE.split("\n## ")[1:])}


def code(text):
    return "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


def rows(text):
    """Pairs of expressions, and all that the last column says of their values."""
    for line in re.findall(r"^\| `.*$", text, re.MULTILINE):
        have, write, value = line.strip("| ").split(" | ")
        assert have[0] == have[-1] == write[0] == write[-1] == "`", line
        yield have[1:-1], write[1:-1], RELATION.findall(value)


CASES = [(title, *row) for title, text in SECTIONS.items() for row in rows(text)]


# ---- the libraries ----


def transcription():
    """What the rows use of the published file, on the transcription of its Algorithm 1."""
    file = types.ModuleType("lovasz_losses")

    def pixels(probas, labels, ignore):
        probas = (probas.unsqueeze(1) if probas.ndim == 3 else probas).movedim(1, -1).flatten(0, -2)
        valid = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
        return probas[valid.flatten()], labels[valid]

    def lovasz_softmax(probas, labels, classes="present", per_image=False, ignore=None):
        if per_image:
            pairs = zip(probas[:, None], labels[:, None], strict=True)
            return torch.stack([lovasz_softmax(p, t, classes, False, ignore) for p, t in pairs]).mean()
        return lovasz_softmax_flat(*pixels(probas, labels, ignore), classes)

    def lovasz_softmax_flat(probas, labels, classes="present"):
        losses = []
        for c in range(probas.shape[1]) if isinstance(classes, str) else classes:
            foreground = (labels == c).float()
            if classes == "present" and not foreground.any():
                continue
            column = probas[:, 0 if probas.shape[1] == 1 else c]
            losses.append(published.lovasz_of_errors((foreground - column).abs(), foreground))
        return torch.stack(losses).mean()

    def lovasz_hinge(logits, labels, per_image=True):
        pairs = zip(logits, labels, strict=True) if per_image else [(logits, labels)]
        return torch.stack([published.lovasz_hinge(x, t) for x, t in pairs]).mean()

    def iou(preds, labels, C, ignore=None):
        scores = []
        for c in range(C):
            union = ((labels == c) | ((preds == c) & (labels != ignore))).sum()
            scores.append(((labels == c) & (preds == c)).sum() / union if union else torch.tensor(1.0))
        return 100 * torch.stack(scores)

    def iou_binary(preds, labels):
        return torch.stack([iou(p.long(), t, 2)[1] for p, t in zip(preds, labels, strict=True)]).mean()

    def xloss(logits, labels):
        return torch.nn.functional.cross_entropy(logits, labels, ignore_index=255)

    file.lovasz_hinge_flat = published.lovasz_hinge
    for function in (lovasz_softmax, lovasz_softmax_flat, lovasz_hinge, iou, iou_binary, xloss):
        setattr(file, function.__name__, function)
    return file


@pytest.fixture
def libraries(monkeypatch):
    """The published file is transcribed, and of torch-pointcloud the one file that needs nothing else is loaded."""
    if importlib.util.find_spec("lovasz_losses") is None:
        monkeypatch.setitem(sys.modules, "lovasz_losses", transcription())
    losses = peers.torch_pointcloud()
    if losses is not None:
        for name in ("torch_pointcloud", "torch_pointcloud.losses"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, "torch_pointcloud.losses.lovasz", losses)


def names_of(title):
    """The inputs of the page and the imports of the section; skips where the library is not installed."""
    names = {}
    exec(compile(code(PAGE.split("\n## ")[0]), "docs/migrating.md", "exec"), names)
    imports = code(SECTIONS[title])
    package = re.search(r"^(?:from|import) (\w+)", imports, re.MULTILINE)[1]
    if package == "segmentation_models_pytorch":
        declare()  # beside a PyTorch without CUDA its torchvision has to be declared
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    exec(compile(imports, "docs/migrating.md", "exec"), names)
    return names


# ---- the relations ----


def tensor(value):
    return value.detach() if isinstance(value, torch.Tensor) else torch.as_tensor(value)


def assert_relation(relation, theirs, ours, names):
    names = {**names, "theirs": theirs, "ours": ours}
    if " == " in relation:
        left, right = (tensor(eval(side, names)) for side in relation.split(" == "))
        assert_close(left.double(), right.double(), rtol=1e-5, atol=1e-6)
    elif relation == "theirs != ours":
        assert abs(theirs - ours) > 1e-3 * abs(ours)
    else:
        assert bool(eval(relation, names)), relation


def assert_same_gradients(theirs, ours, leaves):
    """To what float32 differences leave, by the norm of the difference."""
    of_both = [torch.autograd.grad(value, leaves, allow_unused=True) for value in (theirs, ours)]
    for gradient, other in zip(*of_both, strict=True):
        assert (gradient is None) == (other is None)
        if gradient is not None:
            assert (gradient - other).norm() <= 1e-3 * other.norm()


@pytest.mark.usefixtures("libraries")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of other libraries' imports
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("title", "have", "write", "relations"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_a_row_says_what_happens(title, have, write, relations, seed):
    torch.manual_seed(seed)
    names = names_of(title)
    leaves = [names[name].requires_grad_() for name in ("logits", "score", "points")]
    (raises,) = [r for r in relations if " raises " in r] or [None]
    if raises is not None:
        who, error = raises.split(" raises ")
        raising, working = (have, write) if who == "theirs" else (write, have)
        with pytest.raises(getattr(builtins, error)):
            eval(raising, names)
        eval(working, names)
        return
    theirs, ours = eval(have, names), eval(write, names)
    assert relations
    for relation in relations:
        assert_relation(relation, theirs, ours, names)
    if relations == ["theirs == ours"] and getattr(theirs, "requires_grad", False):
        assert_same_gradients(theirs, ours, leaves)


def test_every_row_is_read():
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    heads = [line for line in lines if line.startswith(("| you have | you write | value |", "|---"))]
    assert len(heads) == 2 * len(SECTIONS) == 16
    assert len(CASES) == len(lines) - len(heads) > 50
    assert all(relations for *_, relations in CASES)


@pytest.mark.parametrize("title", [title for title in SECTIONS if re.search(r" \d+\.\d", title)])
def test_the_version_is_the_one_that_is_tested(title):
    name, version = title.split()
    pins = dict(re.findall(r"^([\w-]+)==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert pins.get(name.lower(), version) == version


def test_an_entry_of_a_registry_takes_what_a_head_hands_over(monkeypatch):
    class Registry:
        def register_module(self):
            return lambda entry: entry

    for name in ("mmseg", "mmseg.registry"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["mmseg.registry"].MODELS = Registry()
    names = {}
    exec(code(PAGE.split("\n## ")[0]), names)
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "register_module" in b]
    exec(block, names)
    logits, target = names["logits"], names["void"]
    chosen = (torch.rand(2, 24, 32) < 0.5).float()
    loss = names["LovaszCrossEntropy"](loss_weight=0.4)(logits, target, weight=chosen, ignore_index=255)
    apart = target.where(chosen > 0, 255)
    assert_close(loss, 0.4 * names["lovasz_cross_entropy"](logits, apart, ignore_index=255))
    assert_close(
        names["LovaszCrossEntropy"]()(logits, target, weight=None, ignore_index=255),
        names["lovasz_cross_entropy"](logits, target, ignore_index=255),
    )
