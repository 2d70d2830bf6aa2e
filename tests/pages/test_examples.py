"""Each file in examples/, run as a user runs it: it ends well, prints nothing unexpected, and learns."""

import ast
import functools
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
#: The packages beyond PyTorch and lovasz that a file needs.
NEEDS = {
    "plain_pytorch": (),
    "lightning_module": ("lightning",),
    "monai_volume": ("monai",),
    "huggingface_trainer": ("transformers", "accelerate"),
    "points": (),
}
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
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
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
