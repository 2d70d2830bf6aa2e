"""One training run: what it records, and that it is repeatable."""

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lovasz import lovasz_softmax
from lovasz.study.data.iou import confusion, iou_per_class, mean_iou
from lovasz.study.data.parts import IGNORE_INDEX, TEST, TRAIN, VAL, Data, Part
from lovasz.study.train import training
from lovasz.study.train.clock import PARTS
from lovasz.study.train.config import Config
from lovasz.study.train.config_file import make_config
from lovasz.study.train.known import OF_CLASSES
from lovasz.study.train.network import build_network
from lovasz.study.train.order import Order
from lovasz.study.train.predict import evaluate
from lovasz.study.train.rounds import rounds_of
from lovasz.study.train.runs import plan
from lovasz.study.train.store import Run
from lovasz.study.train.terms import ce_lovasz
from lovasz.study.train.training import train
from lovasz.study.train.work import sizes_of_loss
from tests.study.tiny_data import tiny_scene

CONFIG = make_config({"losses": "ce+lovasz", "seeds": 1, "steps": 5, "accelerator": "cpu"}, None)


@pytest.fixture(scope="module")
def scene() -> Data:
    return tiny_scene()


@pytest.fixture
def quietly(tmp_path: Path, scene: Data) -> Callable[..., Run]:
    """Trains a run whose settings differ so from the plain ones, each in a folder of its own."""
    number = itertools.count()

    def run(on_step: Callable[[int], None] = lambda step: None, data: Data = scene, **change: object) -> Run:
        configured = {k: v for k, v in change.items() if k in Config.model_fields and k != "lr"}
        config = CONFIG.model_copy(update=configured)
        (settings,) = plan(config, data, threads=1).runs
        settings = replace(settings, **{k: v for k, v in change.items() if hasattr(settings, k)})
        return train(settings, config, data, tmp_path / str(next(number)), on_step)

    return run


def test_run_holds_what_happened(quietly: Callable[..., Run], scene: Data) -> None:
    steps: list[int] = []
    run = quietly(steps.append, steps=40, lr=0.01)
    assert steps == list(range(1, 41))
    assert [point.step for point in run.curve] == list(range(2, 41, 2))
    assert all(0 <= point.miou <= 1 for point in run.curve)
    assert run.curve[-1].loss < run.curve[0].loss
    assert run.curve[9].lr == pytest.approx(0.005)
    assert run.curve[-1].lr == pytest.approx(0)
    assert len(run.step_seconds) == len(run.loss_seconds) == 39
    assert run.seconds_per_step > 0
    assert 0 < run.loss_share < 1
    assert not run.diverged
    assert np.sum(run.val_counts) == sum(scene.parts[VAL].pixels)
    assert run.curve[-1].miou == pytest.approx(run.val_miou / 100)
    assert run.test_miou > 80  # four fields of different colour are learned in forty steps


def test_the_loss_is_given_coarse_logits_as_they_are(
    quietly: Callable[..., Run], scene: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its memory is measured on logits of that size."""
    seen = []

    def noted(logits: torch.Tensor, target: torch.Tensor, progress: float) -> torch.Tensor:
        seen.append((logits.shape[2:], target.shape[1:]))
        return ce_lovasz(logits, target)

    monkeypatch.setattr("lovasz.study.train.training.named_loss", lambda *_: noted)
    run = quietly(network="tests.study.own:coarse", steps=3)
    assert seen == 3 * [((10, 12), (20, 24))]
    assert not run.diverged
    config = CONFIG.model_copy(update={"network": "tests.study.own:coarse"})
    assert sizes_of_loss(run.settings, config, scene) == ([run.settings.batch, 4, 10, 12], [20, 24])
    assert sizes_of_loss(run.settings, CONFIG, scene) == ([run.settings.batch, 4, 20, 24], [20, 24])


def test_outputs_of_several_resolutions_are_all_trained(
    quietly: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each against the labels, weighing half as much as the one before; three that are one train as it does."""
    once, thrice = (quietly(network=f"tests.study.own:{name}", steps=12) for name in ("once", "thrice"))
    curves = [[point.loss for point in run.curve] for run in (once, thrice)]
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    assert curves[1][-1] < 0.9 * curves[1][0]
    assert thrice.test_miou == pytest.approx(once.test_miou, abs=0.5)
    seen = []

    def noted(logits: torch.Tensor, target: torch.Tensor, progress: float) -> torch.Tensor:
        seen.append((tuple(logits.shape[2:]), tuple(target.shape[1:])))
        return 0 * logits.sum() + 10.0 ** -(len(seen) - 1)

    monkeypatch.setattr("lovasz.study.train.training.named_loss", lambda *_: noted)
    run = quietly(network="tests.study.own:supervised", steps=1)
    assert seen == [((20, 24), (20, 24)), ((10, 12), (20, 24)), ((5, 6), (20, 24)), ((20, 24), (20, 24))]
    assert run.curve[-1].loss == pytest.approx((8 + 0.4 + 0.02 + 0.001) / 15)


def test_test_part_is_counted_from_what_is_kept(quietly: Callable[..., Run], scene: Data) -> None:
    run = quietly(steps=20, lr=0.01)
    found, (preds,) = run.tested, run.tested.predictions
    target = scene.parts[TEST].samples[0][1]
    counts = confusion(torch.from_numpy(preds.astype(np.int64)), target, 4)
    assert found.kept.tolist() == [0]
    assert (run.test_counts == counts).all()
    hit = counts.diag()
    assert found.images.tolist() == [[hit.tolist(), (counts.sum(0) - hit).tolist(), (counts.sum(1) - hit).tolist()]]
    # Each curve falls from J of all pixels with an error to 0.
    assert found.curves.shape == (4, 101)
    assert (np.diff(found.curves) <= 1e-6).all()


def test_curves_have_the_area_of_the_loss(scene: Data) -> None:
    torch.manual_seed(0)
    network = build_network("conv", 5, 4, 2).eval()
    found = evaluate(network, scene, None)
    image, target = scene.parts[TEST].samples[0]
    with torch.no_grad():
        losses = lovasz_softmax(network(image[None]), target[None], ignore_index=IGNORE_INDEX, reduction="none")
    area = torch.trapezoid(torch.as_tensor(found.curves), torch.as_tensor(found.thresholds)).numpy()
    np.testing.assert_allclose(area, losses.numpy(), atol=2e-3)


@pytest.mark.parametrize(("schedule", "third"), [("poly", 0.4**0.9), ("constant", 1.0)])
def test_schedules(quietly: Callable[..., Run], schedule: str, third: float) -> None:
    run = quietly(schedule=schedule, lr=0.01, optimizer="sgd")
    assert [point.step for point in run.curve] == [1, 2, 3, 4, 5]
    assert run.curve[2].lr == pytest.approx(0.01 * third)


def test_rounds_are_even_and_end_at_the_last_step(quietly: Callable[..., Run]) -> None:
    run = quietly(steps=43)
    points = [point.step for point in run.curve]
    assert (len(points), points[-1]) == (20, 43)
    assert set(np.diff([0, *points])) == {2, 3}
    assert run.curve[-1].miou == pytest.approx(run.val_miou / 100)


@pytest.mark.parametrize(
    ("validations", "validated"), [(1, [5]), (2, [3, 5]), (4, [2, 3, 4, 5]), (20, [1, 2, 3, 4, 5])]
)
def test_validations_are_even_and_follow_the_last_step(
    validations: int, validated: list[int], quietly: Callable[..., Run]
) -> None:
    run, whole = quietly(validations=validations), quietly()
    assert [point.step for point in run.curve] == validated
    assert run.curve[-1].miou == pytest.approx(run.val_miou / 100)
    # Nothing that is tested depends on it.
    assert run.settings == whole.settings
    assert run.val_counts == whole.val_counts
    np.testing.assert_array_equal(run.tested.predictions[0], whole.tested.predictions[0])
    assert {point.step: point.miou for point in run.curve}.items() <= {p.step: p.miou for p in whole.curve}.items()
    since = validated[-2] if len(validated) > 1 else 0
    assert run.curve[-1].loss == pytest.approx(np.mean([point.loss for point in whole.curve[since:]]))


def test_validation_sees_no_more_images_than_the_training(scene: Data) -> None:
    """Unless it is asked to: of 30 validation images, 5 steps of 6 images allow one pass, 43 of 4 five."""
    (settings,) = plan(CONFIG, scene, threads=1).runs
    many = replace(scene, parts=scene.parts | {VAL: Part([], 30 * scene.parts[VAL].samples, [])})
    for steps, batch, devices, asked, passes in (
        (5, 6, 1, None, 1), (5, 6, 1, 3, 3), (43, 4, 1, None, 5), (43, 2, 2, None, 5), (1, 1, 1, None, 1),
        (900, 1, 1, None, 20), (900, 1, 1, 7, 7), (3, 30, 1, 20, 3),
    ):  # fmt: skip
        rounds = rounds_of(replace(settings, steps=steps, batch=batch, devices=devices), asked, many)
        validated = [turn for turn in range(rounds.number) if rounds.validated(turn)]
        assert (len(validated), validated[-1]) == (passes, rounds.number - 1)
        gaps = np.diff([-1, *validated])
        assert max(gaps) - min(gaps) <= 1


def test_every_second_of_a_run_is_of_one_part(quietly: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.perf_counter()
    run = quietly(steps=4)
    passed = time.perf_counter() - started
    assert run.seconds is not None
    assert list(run.seconds) == list(PARTS)
    assert 0.5 * passed < sum(run.seconds.values()) <= passed
    assert run.seconds["steps"] >= sum(run.step_seconds)
    assert run.seconds["memory"] == 0  # it is measured by who saves the run
    assert all(run.seconds[part] > 0 for part in PARTS if part != "memory")
    for part, name in (("validation", "counted"), ("rules", "fitted_rules"), ("test", "evaluate")):
        done = getattr(training, name)

        def slowly(*given: object, done: Callable[..., object] = done) -> object:
            time.sleep(0.3)
            return done(*given)

        with monkeypatch.context() as patch:
            patch.setattr(training, name, slowly)
            slow = quietly(steps=4, validations=2).seconds
        assert slow is not None
        assert slow[part] >= (0.6 if part == "validation" else 0.3)


def test_same_settings_give_the_same_run_whatever_ran_before(quietly: Callable[..., Run]) -> None:
    first = quietly()
    quietly(loss="ce", seed=3)
    second = quietly(workers=2)
    assert first.curve == second.curve
    np.testing.assert_array_equal(first.tested.predictions[0], second.tested.predictions[0])


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch": 2}, {"optimizer": "sgd"}, {"augment": ("light",)},
                                    {"weight_decay": 0.5}, {"crop": (8, 8)}, {"precision": "bf16"}])  # fmt: skip
def test_another_setting_gives_another_run(quietly: Callable[..., Run], change: dict[str, object]) -> None:
    assert quietly().curve != quietly(**change).curve


@pytest.mark.parametrize("loss", [*OF_CLASSES.names, "tests.study.own:loss"])
def test_every_loss_trains_in_silence(
    loss: str, quietly: Callable[..., Run], capfd: pytest.CaptureFixture[str]
) -> None:
    run = quietly(losses=(loss,), steps=2)
    assert not run.diverged
    assert capfd.readouterr() == ("", "")


def test_training_that_diverges_says_so(quietly: Callable[..., Run]) -> None:
    assert quietly(loss="ce", lr=float("inf")).diverged


def test_one_step(quietly: Callable[..., Run]) -> None:
    run = quietly(steps=1)
    assert len(run.curve) == 1
    assert run.seconds_per_step > 0


def test_each_pass_sees_every_image_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    class Numbered:
        def __len__(self) -> int:
            return 7

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.full((1, 4, 4), float(index)), torch.zeros(4, 4).long()

    scene = tiny_scene()
    data = replace(scene, parts=scene.parts | {TRAIN: Part([], Numbered(), [])}, sizes=((4, 4),))
    (settings,) = plan(CONFIG, scene, threads=1).runs
    order = Order(data, replace(settings, augment=("flip",)))
    seen = [int(order[number][0].max()) for number in range(21)]
    turns = [seen[first : first + 7] for first in (0, 7, 14)]
    assert [sorted(turn) for turn in turns] == 3 * [list(range(7))]
    assert len(set(map(tuple, turns))) == 3
    # A sample is the same whenever it is asked for.
    assert [int(order[number][0].max()) for number in (20, 3, 11)] == [seen[20], seen[3], seen[11]]


def test_tensorboard(quietly: Callable[..., Run], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = quietly(logger="tensorboard")
    assert list(tmp_path.glob(f"*/tensorboard/{run.settings.key}/events.*"))


def test_iou_from_counts() -> None:
    preds, target = torch.tensor([0, 0, 1, 1, 3]), torch.tensor([0, 1, 1, -100, -100])
    counts = confusion(preds, target, 4)
    assert counts.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    iou = iou_per_class(counts)
    assert iou[:2].tolist() == [0.5, 0.5]
    assert iou[2:].isnan().all()
    assert mean_iou(counts) == 0.5
