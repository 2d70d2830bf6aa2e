"""Each file in examples/, run as a user runs it: it ends well, prints nothing unexpected, and learns."""

import ast
import functools
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import lovasz

EXAMPLES = Path(__file__).parents[2] / "examples"
#: The packages beyond PyTorch and lovasz that a file needs.
NEEDS = {
    "plain_pytorch": (),
    "lightning_module": ("lightning",),
    "monai_volume": ("monai",),
    "huggingface_trainer": ("transformers", "accelerate"),
    "points": (),
}
#: What another package runs: it has a test of its own, below.
BY_OTHERS = {"nnunet_trainer"}
#: A constant prediction has a mean IoU of at most 1 / C, 0.5 for the two classes of one example.
LEARNED = 0.75
#: What Lightning says of itself and of the machine, and a deprecation inside it.
LIGHTNING = (
    "GPU available", "TPU available", "HPU available", "💡 Tip", "`Trainer.fit` stopped",
    "does not have many workers", "Initializing distributed", "distributed_backend=", "-----",
    "All distributed processes registered", "`isinstance(treespec, LeafSpec)` is deprecated",
)  # fmt: skip


def run(name, *arguments, code=None):
    """The lines that a file printed, or a program that imports it; skips where a package is missing."""
    for package in NEEDS[name]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    command = [sys.executable, *(("-c", code) if code else (str(EXAMPLES / f"{name}.py"), *arguments))]
    # One thread, because the nets are tiny; offline, because nothing is to be downloaded.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=EXAMPLES, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = LIGHTNING if name == "lightning_module" else ()
    errors = [line for line in done.stderr.splitlines() if line.strip() and not any(e in line for e in expected)]
    assert errors == []
    return done.stdout.splitlines()


run_once = functools.cache(run)


def printed(lines, what):
    """The numbers after a name, one for each epoch."""
    found = [re.match(rf"epoch (\d+): .*\b{what} (\d\.\d+)", line) for line in lines]
    found = [match for match in found if match]
    assert [int(match[1]) for match in found] == list(range(1, len(found) + 1)), lines
    return [float(match[2]) for match in found]


def test_every_example_is_run_here():
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(NEEDS) | BY_OTHERS


@pytest.mark.parametrize("name", [*NEEDS, *BY_OTHERS])
def test_an_example_says_what_it_shows_and_is_short(name):
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(ast.get_docstring(ast.parse(text))) > 80
    assert len(text.splitlines()) <= 120


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_learns(name):
    iou = printed(run_once(name), "val IoU")
    assert len(iou) >= 5
    assert iou[0] < iou[-1]
    assert iou[-1] > LEARNED


def test_lightning_in_two_processes_has_the_losses_of_one():
    """Without `group` they differ by 2e-3 from the first epoch on."""
    one, two = run_once("lightning_module"), run("lightning_module", "--devices", "2")
    assert len(printed(one, "loss")) == len(printed(two, "loss")) >= 5
    for what in ("loss", "val IoU"):
        assert printed(two, what) == pytest.approx(printed(one, what), rel=0, abs=1e-3)


ACCUMULATE = """
import huggingface_trainer as example
from transformers import TrainingArguments
norms = []
example.TrainingArguments = lambda folder, **settings: TrainingArguments(folder, **{**settings, **CHANGED})
example.LovaszTrainer.train = lambda self, train=example.LovaszTrainer.train: (train(self), norms.append(
    self.state.log_history[0]["grad_norm"]))
for size, number in ((8, 1), (4, 2)):
    CHANGED = {"max_steps": 1, "logging_steps": 1, "per_device_train_batch_size": size,
               "gradient_accumulation_steps": number, "eval_strategy": "no"}
    example.main()
print("norms", *norms)
"""


def test_accumulated_batches_do_not_add_up_in_the_trainer():
    lines = run("huggingface_trainer", code=ACCUMULATE)
    (norms,) = [[float(word) for word in line.split()[1:]] for line in lines if line.startswith("norms")]
    assert norms[1] == pytest.approx(norms[0], rel=0.05)  # twice as much if they did


class _Trainer:
    """What the example asks of nnU-Net's trainer, version 2.8.1."""

    def __init__(self, ignore_label, has_regions, patch_size):
        self.label_manager = SimpleNamespace(ignore_label=ignore_label, has_regions=has_regions)
        self.configuration_manager = SimpleNamespace(patch_size=patch_size)
        self.is_ddp = False


@pytest.fixture
def nnunet(monkeypatch):
    """The example, with a stand-in for nnU-Net, which would bring sixty packages."""
    names = "nnunetv2", "nnunetv2.training", "nnunetv2.training.nnUNetTrainer"
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    module = ModuleType(f"{names[-1]}.nnUNetTrainer")
    module.nnUNetTrainer = _Trainer
    monkeypatch.setitem(sys.modules, module.__name__, module)
    specification = importlib.util.spec_from_file_location("nnunet_trainer", EXAMPLES / "nnunet_trainer.py")
    found = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(found)
    return found


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("ignored", [None, 3])
def test_nnunet_trains_labels(nnunet, ignored, dims):
    """Its loader gives a list of labels (N, 1, *), int16, of which the finest are taken."""
    sides, mode = (8, 6, 10)[:dims], ("bilinear", "trilinear")[dims - 2]
    torch.manual_seed(0)
    outputs = [torch.randn(2, 3, *(side // 2**i for side in sides)) for i in range(2)]
    target = torch.randint(0, 3 if ignored is None else 4, (2, 1, *sides), dtype=torch.int16)
    loss = nnunet.nnUNetTrainerLovasz(ignored, False, sides)._build_loss()
    fine = [outputs[0], F.interpolate(outputs[1], sides, mode=mode)]
    void = {} if ignored is None else {"ignore_index": ignored}
    terms = [lovasz.lovasz_cross_entropy(x, target[:, 0].long(), **void) for x in fine]
    for given in ([target, target[..., ::2]], target):
        assert_close(loss(outputs, given), (2 * terms[0] + terms[1]) / 3)
    assert_close(loss(outputs[0], target), terms[0])  # without deep supervision


@pytest.mark.parametrize("ignored", [None, 3])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.uint8])
def test_nnunet_trains_regions(nnunet, ignored, dtype):
    """A channel for each, and with an ignored label one more, of what is ignored."""
    torch.manual_seed(0)
    outputs = [torch.randn(2, 2, 8, 6), torch.randn(2, 2, 4, 3)]
    target = torch.rand(2, 2 if ignored is None else 3, 8, 6) < 0.4
    loss = nnunet.nnUNetTrainerLovasz(ignored, True, (8, 6))._build_loss()
    fine = [outputs[0], F.interpolate(outputs[1], (8, 6), mode="bilinear")]
    mask = {} if ignored is None else {"mask": ~target[:, 2]}
    terms = [lovasz.lovasz_binary_cross_entropy(x, target[:, :2], channels=True, **mask) for x in fine]
    assert_close(loss(outputs, [target.to(dtype)]), (2 * terms[0] + terms[1]) / 3)
