"""One training run: what it records, and that it is repeatable."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lovasz.study.iou import confusion, iou_per_class, mean_iou
from lovasz.study.losses import DESCRIPTIONS
from lovasz.study.scene import Scene
from lovasz.study.settings import Settings
from lovasz.study.split import TEST, VAL
from lovasz.study.store import Run
from lovasz.study.training import Views, train, turned
from tests.tiny_scene import tiny_scene

SETTINGS = Settings("ce+lovasz", 0, 5, 0.01, "tiny", "net", "cpu", 1, "0", "0")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return tiny_scene()


def quietly(settings: Settings, scene: Scene) -> Run:
    return train(settings, scene, lambda step: None)


def test_run_holds_what_happened(scene: Scene) -> None:
    steps: list[int] = []
    run = train(replace(SETTINGS, steps=40), scene, steps.append)
    assert steps == list(range(1, 41))
    assert [step for step, _ in run.curve] == list(range(2, 41, 2))
    assert all(0 <= miou <= 1 for _, miou in run.curve)
    assert run.seconds_per_step > 0
    assert 0 < run.loss_share < 1
    assert not run.diverged
    assert run.prediction.shape == scene.split.shape
    for part, counts in ((VAL, run.val_counts), (TEST, run.test_counts)):
        preds = torch.from_numpy(run.prediction).long()
        assert counts == confusion(preds, scene.target_of(part), 4).tolist()
        assert np.sum(counts) == sum(scene.pixels(part))
    assert run.curve[-1][1] == pytest.approx(run.val_miou / 100)
    assert run.test_miou > 80  # four fields of different colour are learned in forty steps


def test_curve_ends_at_the_last_step(scene: Scene) -> None:
    run = quietly(replace(SETTINGS, steps=43), scene)
    assert [step for step, _ in run.curve][-2:] == [42, 43]
    assert run.curve[-1][1] == pytest.approx(run.val_miou / 100)


def test_same_settings_give_the_same_run_whatever_ran_before(scene: Scene) -> None:
    first = quietly(SETTINGS, scene)
    quietly(replace(SETTINGS, loss="ce", seed=3), scene)
    second = quietly(SETTINGS, scene)
    assert first.curve == second.curve
    assert (first.prediction == second.prediction).all()


def test_another_seed_gives_another_run(scene: Scene) -> None:
    assert quietly(SETTINGS, scene).curve != quietly(replace(SETTINGS, seed=1), scene).curve


@pytest.mark.parametrize("loss", DESCRIPTIONS)
def test_every_loss_trains_in_silence(loss: str, scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    run = quietly(replace(SETTINGS, loss=loss, steps=2), scene)
    assert not run.diverged
    assert capfd.readouterr() == ("", "")


def test_training_that_diverges_says_so(scene: Scene) -> None:
    assert quietly(replace(SETTINGS, loss="ce", lr=float("inf")), scene).diverged


def test_one_step(scene: Scene) -> None:
    run = quietly(replace(SETTINGS, steps=1), scene)
    assert len(run.curve) == 1
    assert run.seconds_per_step > 0


def test_views_are_the_eight_flips_and_turns() -> None:
    image = torch.arange(6).view(1, 2, 3)
    assert len({(tuple(turned(image, k).shape), str(turned(image, k))) for k in range(8)}) == 8
    views = Views(image, image[0], number=100, seed=0)
    assert len(views) == 100
    assert set(views.views) == set(range(8))
    seen, target = views[3]
    assert (seen[0] == target).all()


def test_iou_from_counts() -> None:
    preds, target = torch.tensor([0, 0, 1, 1, 3]), torch.tensor([0, 1, 1, -100, -100])
    counts = confusion(preds, target, 4)
    assert counts.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    iou = iou_per_class(counts)
    assert iou[:2].tolist() == [0.5, 0.5]
    assert iou[2:].isnan().all()
    assert mean_iou(counts) == 0.5
