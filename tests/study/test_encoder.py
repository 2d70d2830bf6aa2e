"""An encoder that is kept as it is at first, and one with a learning rate of its own."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lovasz.study.data.parts import TRAIN, Data, Part
from lovasz.study.train import store
from lovasz.study.train.config import Config
from lovasz.study.train.config_checks import check_config
from lovasz.study.train.config_file import make_config
from lovasz.study.train.encoder import FrozenEncoder, inner, parameter_groups
from lovasz.study.train.network import build_network
from lovasz.study.train.runs import check_fits, plan
from lovasz.study.train.settings import Settings
from lovasz.study.train.training import Training, train
from tests.study.tiny_data import tiny_scene


@pytest.fixture(scope="module")
def scene() -> Data:
    return tiny_scene()


def config_of(**more: Any) -> Config:
    given = {"losses": "ce", "seeds": 1, "steps": 6, "accelerator": "cpu", "network": "tests.study.own:encoded"}
    return make_config(given | more, None)


def settings_of(config: Config, data: Data) -> Settings:
    (settings,) = plan(config, data, threads=1).runs
    return settings


class StopError(Exception):
    pass


@pytest.fixture
def after_each_step(
    scene: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, Tensor]]]:
    """Trains, and returns the weights before the first step and after each."""

    def states(config: Config) -> list[dict[str, Tensor]]:
        found, made = [], []
        step = Training.training_step

        def noted(self: Training, *given: Any) -> None:
            if not found:
                found.append(self.weights())
            step(self, *given)
            made.append(self)
            found.append(self.weights())

        monkeypatch.setattr(Training, "training_step", noted)
        train(settings_of(config, scene), config, scene, tmp_path / "runs", lambda step: None)
        assert all(one.requires_grad for one in made[-1].network.parameters()) is (config.freeze < config.steps)
        return found

    return states


def test_the_encoder_is_kept_and_then_trained(after_each_step: Callable[..., list[dict[str, Tensor]]]) -> None:
    states = after_each_step(config_of(freeze=3, weight_decay=0.1))
    assert len(states) == 7
    for step, (before, after) in enumerate(itertools.pairwise(states)):
        for name in before:
            changes = not torch.equal(before[name], after[name])
            assert changes is (step >= 3 or ".head." in f".{name}"), (step, name)


def test_frozen_to_the_end(after_each_step: Callable[..., list[dict[str, Tensor]]]) -> None:
    states = after_each_step(config_of(freeze=6, optimizer="sgd"))
    assert all(torch.equal(states[0][name], states[-1][name]) for name in states[0] if "encoder" in name)
    assert not torch.equal(states[0]["network.head.weight"], states[-1]["network.head.weight"])


def test_epochs_are_counted_in_steps(scene: Data) -> None:
    many = replace(scene, parts=scene.parts | {TRAIN: Part([], 5 * scene.parts[TRAIN].samples, [])})
    settings = settings_of(config_of(steps=None, epochs=4, batch=2, freeze=3), many)
    assert (settings.steps, settings.freeze) == (10, 8)  # the third epoch ends in the eighth step
    assert settings_of(config_of(freeze=3), many).freeze == 3


@pytest.mark.parametrize("alone", [True, False])
def test_in_one_process_or_several(alone: bool) -> None:
    """Of several the parameters go on to need gradients, which are dropped."""
    torch.manual_seed(0)
    network = build_network("tests.study.own:encoded", 5, 4, 2)
    encoder: Any = inner(network).encoder
    encoder[0].bias.requires_grad_(False)  # its author's choice
    frozen = FrozenEncoder(network, 1, alone)
    for step in range(3):
        network.train()
        frozen.before(step)
        network(torch.randn(2, 5, 8, 8)).sum().backward()
        frozen.after(step)
        assert encoder.training is (step > 0)
        assert encoder[0].weight.requires_grad is (step > 0 or not alone)
        assert (encoder[0].weight.grad is None) is (step == 0)
        assert encoder[0].bias.requires_grad is False
        assert (int(encoder[1].num_batches_tracked) == 0) is (step == 0)


def test_rates(scene: Data) -> None:
    """The encoder's is the factor times the other all along the schedule; the one that is reported is the other."""
    config = config_of(encoder_lr=0.25, lr=0.008)
    settings = settings_of(config, scene)
    training = Training(settings, config, scene, None)  # type: ignore[arg-type]
    (optimizer,), (schedule,) = training.configure_optimizers()
    encoder: Any = inner(training.network).encoder
    assert [group["lr"] for group in optimizer.param_groups] == [0.008, 0.002]
    assert [{id(one) for one in group["params"]} for group in optimizer.param_groups] == [
        {id(one) for one in inner(training.network).head.parameters()},  # type: ignore[operator, union-attr]
        {id(one) for one in encoder.parameters()},
    ]
    for _ in range(3):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.004, 0.001])
    same = parameter_groups(training.network, replace(settings, encoder_lr=1.0))
    assert [id(one) for one in same] == [id(one) for one in training.network.parameters()]


def test_both_are_part_of_the_settings(scene: Data) -> None:
    found = [settings_of(config_of(**more), scene) for more in ({}, {"freeze": 2}, {"encoder_lr": 0.5})]
    assert len({settings.key for settings in found}) == 3


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("ended", [1, 3, 4])
def test_a_training_that_goes_on_gives_the_same(ended: int, optimizer: str, scene: Data, tmp_path: Path) -> None:
    config = config_of(freeze=3, encoder_lr=0.5, optimizer=optimizer)
    settings = settings_of(config, scene)

    def stop(step: int) -> None:
        if step > ended:
            raise StopError

    whole = train(settings, config, scene, tmp_path / "whole", lambda step: None)
    with pytest.raises(StopError):
        train(settings, config, scene, tmp_path / "cut", stop)
    steps: list[int] = []
    resumed = train(settings, config, scene, tmp_path / "cut", steps.append)
    assert steps[0] == ended + 1
    assert resumed.curve == whole.curve
    states = [
        torch.load(store.draft(tmp_path / name, settings) / store.LAST, weights_only=True)
        for name in ("whole", "cut")
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"network": "conv", "freeze": 1}, "--freeze 1 needs a network with an encoder.*--network conv has none"),
        ({"network": "unet-small", "encoder_lr": 0.1}, "--encoder-lr 0.1 needs a network with an encoder"),
        ({"network": "tests.study.own:encoder_alone", "freeze": 1}, "needs something to train beside the encoder"),
    ],
)
def test_networks_without_an_encoder(options: dict[str, Any], said: str, scene: Data) -> None:
    with pytest.raises(ValueError, match=said):
        check_fits(config_of(**options), scene)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"freeze": 7}, "--freeze must be at most --steps 6, got 7"),
        ({"freeze": 7, "steps": None, "epochs": 5}, "--freeze must be at most --epochs 5, got 7"),
        ({"freeze": -1}, "--freeze must be at least 0, got -1"),
        ({"encoder_lr": 0}, "--encoder-lr must be a number above 0, got 0"),
        ({"encoder_lr": float("inf")}, "--encoder-lr must be a number above 0, got inf"),
        ({"encoder_lr": float("nan")}, "--encoder-lr must be a number above 0, got nan"),
    ],
)
def test_values_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_config(config_of(**options))
