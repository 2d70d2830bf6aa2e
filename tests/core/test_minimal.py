"""What a wheel must do where it is installed; needs pytest and the library, and nothing beside this file."""

import math
import os
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

import lovasz
from lovasz._kernels import cpu

LOSSES = (lovasz.lovasz_softmax, lovasz.lovasz_sigmoid, lovasz.lovasz_hinge)
TARGET = torch.tensor([1, 0])

# Two points. The second, background, has the larger error, so each has half of the Jaccard index in the class
# drawn here; in the softmax's other class it is foreground and has all of it. Logits, loss, gradient:
BY_HAND = {
    lovasz.lovasz_sigmoid: ([0, math.log(3)], 0.75 / 2 + 0.5 / 2, [-1 / 8, 3 / 32]),
    lovasz.lovasz_hinge: ([0, 0.5], 1.5 / 2 + 1 / 2, [-1 / 2, 1 / 2]),
    lovasz.lovasz_softmax: ([[0, 0], [0, math.log(3)]], (0.625 + 0.75) / 2, [[1 / 16, -1 / 16], [-9 / 64, 9 / 64]]),
}


def run(loss, logits, target, **arguments):
    x = logits.clone().requires_grad_()
    value = loss(x, target, **arguments)
    return value.detach(), *torch.autograd.grad(value, x)


@pytest.mark.skipif(os.environ.get("LOVASZ_EXPECT_KERNEL") == "off", reason="LOVASZ_EXPECT_KERNEL is off")
def test_the_compiled_kernel_is_there():
    assert cpu.names(), f"{cpu.select()[1]}; LOVASZ_EXPECT_KERNEL=off if there is no C++ compiler"


@pytest.mark.parametrize("bins", [None, 65536])
@pytest.mark.parametrize("loss", LOSSES)
def test_two_points_by_hand(loss, bins):
    logits, *expected = (torch.tensor(values, dtype=torch.float32) for values in BY_HAND[loss])
    assert_close(run(loss, logits, TARGET, bins=bins), tuple(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_counting_agrees_with_sorting(loss):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 33, 17, generator=generator)
    shape = (2, 33, 17) if loss is lovasz.lovasz_softmax else logits.shape
    target = torch.randint(0, 2, shape, generator=generator)
    channels = {} if loss is lovasz.lovasz_softmax else {"channels": True}
    value, gradient = run(loss, logits, target, bins=65536, **channels)
    exact, expected = run(loss, logits, target, bins=None, **channels)
    assert_close(value, exact, rtol=0, atol=1e-4)
    assert (gradient - expected).norm() < 1e-2 * expected.norm()


@pytest.mark.parametrize("bins", [None, 64])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_label_that_is_no_class_is_named(loss, bins):
    logits = torch.zeros(4, 2) if loss is lovasz.lovasz_softmax else torch.zeros(4)
    with pytest.raises(ValueError, match="7"):
        loss(logits, torch.tensor([0, 1, 7, 1]), bins=bins)


def test_info_says_which_kernel_serves():
    command = [sys.executable, "-c", "from lovasz.cli import main; main()", "info"]
    environment = {**os.environ, "COLUMNS": "300"}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    chosen, why = cpu.select()
    assert ("PyTorch" if chosen is None else f"C++, {chosen}") in printed
    assert why in printed
