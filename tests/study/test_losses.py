"""The named losses against plain formulas, unlabelled pixels included."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from lovasz import lovasz_cross_entropy, lovasz_softmax
from lovasz._math import binning
from lovasz.measures import FBeta, Tversky
from lovasz.study.data.parts import IGNORE_INDEX
from lovasz.study.train.known import OF_CLASSES
from lovasz.study.train.losses import check_names, check_own, code_of, describe, named_loss
from lovasz.study.train.terms import inverse_frequency

PIXELS = [50, 10, 0, 5]


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 6, generator=generator)
    target = torch.randint(4, (2, 5, 6), generator=generator)
    target[0, :2] = IGNORE_INDEX
    return logits, target


def value(name: str, batch: tuple[Tensor, Tensor], progress: float = 0.0) -> Tensor:
    with warnings.catch_warnings():
        # MONAI's imports warn about what other packages deprecate.
        warnings.simplefilter("ignore")
        loss = named_loss(name, PIXELS)
        return loss(*batch, progress)


def flat(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    logits, target = batch
    labelled = target != IGNORE_INDEX
    return logits.movedim(1, -1)[labelled].double(), target[labelled]


def plain_ce(batch: tuple[Tensor, Tensor], weight: Tensor | None = None) -> Tensor:
    logits, target = flat(batch)
    losses = -logits.log_softmax(1)[torch.arange(len(target)), target]
    weights = torch.ones(4) if weight is None else weight
    return (weights[target] * losses).sum() / weights[target].sum()


def plain_dice(batch: tuple[Tensor, Tensor]) -> Tensor:
    logits, target = flat(batch)
    probs, truth = logits.softmax(1), torch.eye(4, dtype=torch.float64)[target]
    return (1 - 2 * (probs * truth).sum(0) / (probs.sum(0) + truth.sum(0))).mean()


def test_ce(batch: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(value("ce", batch), plain_ce(batch).float())


def test_weighted_ce(batch: tuple[Tensor, Tensor]) -> None:
    logits, target = batch
    target[target == 2] = 3  # class 2 has no training pixel
    weight = torch.tensor([1 / 50, 1 / 10, 0, 1 / 5])
    expected = plain_ce((logits, target), weight).float()
    torch.testing.assert_close(value("weighted-ce", (logits, target)), expected)


def test_inverse_frequency_has_mean_one_over_the_classes_that_occur() -> None:
    weight = inverse_frequency(PIXELS)
    assert weight[2] == 0
    assert float(weight.sum()) == pytest.approx(3)
    assert float(weight[3] / weight[0]) == pytest.approx(10)


def test_dice(batch: tuple[Tensor, Tensor]) -> None:
    # MONAI adds 1e-5 to numerator and denominator.
    expected = plain_dice(batch).float()
    torch.testing.assert_close(value("dice", batch), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OF_CLASSES.names)
def test_unlabelled_pixels_change_nothing_and_get_no_gradient(name: str, batch: tuple[Tensor, Tensor]) -> None:
    logits, target = batch
    other = logits.clone()
    other[0, :, :2] += 3
    for progress in (0.0, 0.9):
        assert value(name, (other, target), progress) == value(name, batch, progress)
    leaf = logits.clone().requires_grad_()
    value(name, (leaf, target)).backward()
    assert leaf.grad is not None
    assert (leaf.grad[0, :, :2] == 0).all()
    assert leaf.grad.abs().sum() > 0


def test_lovasz(batch: tuple[Tensor, Tensor]) -> None:
    expected = lovasz_softmax(*batch, ignore_index=IGNORE_INDEX, bins=binning.default_bins(4, "softmax"))
    torch.testing.assert_close(value("lovasz", batch), expected)
    exact = lovasz_softmax(*batch, ignore_index=IGNORE_INDEX, bins=None)
    torch.testing.assert_close(value("lovasz-exact", batch), exact, rtol=0, atol=0)
    assert not torch.equal(value("lovasz", batch), exact)


def test_a_users_own(batch: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(value("tests.study.own:loss", batch), 2 * lovasz_softmax(*batch))
    check_names(["ce", "tests.study.own:loss"])
    for classes, dims in ((4, 2), (2, 3), (200, 2)):
        check_own(["ce", "ce+tests.study.own:loss>tests.study.own:loss"], classes, dims)
    with pytest.raises(ValueError, match=r"requires a gradient, got a tensor of shape \(\) without"):
        check_own(["tests.study.own:constant"], 4, 2)
    said = r"own:of_two failed on logits \(2, 4, 8, 8\) and target \(2, 8, 8\), void is -100: two classes"
    with pytest.raises(ValueError, match=said):
        check_own(["ce>tests.study.own:of_two"], 4, 2)
    check_own(["tests.study.own:of_two"], 2, 2)
    with pytest.raises(ValueError, match=r"tests.study.own:nothing cannot be imported: .*no attribute 'nothing'"):
        check_names(["tests.study.own:nothing"])


@pytest.mark.parametrize(
    "name",
    ["ce+dice", "ce+jml", "ce+lovasz", "weighted-ce+focal(1)", "ce+lovasz-tversky(0.4,1.5)", "dice+ce+lovasz-dice"],
)
def test_sums(name: str, batch: tuple[Tensor, Tensor]) -> None:
    parts = [value(part, batch) for part in name.split("+")]
    torch.testing.assert_close(value(name, batch), torch.stack(parts).sum())


@pytest.mark.parametrize("measure", [("lovasz-dice", "dice"), ("lovasz-tversky(0.4,1.5)", Tversky(0.4, 1.5)),
                                     ("lovasz-fbeta(3)", FBeta(3)), ("lovasz-fbeta", FBeta(2))])  # fmt: skip
def test_other_measures(measure: tuple[str, object], batch: tuple[Tensor, Tensor]) -> None:
    arguments = {"ignore_index": IGNORE_INDEX, "bins": binning.default_bins(4, "softmax"), "measure": measure[1]}
    torch.testing.assert_close(value(measure[0], batch), lovasz_softmax(*batch, **arguments))
    torch.testing.assert_close(value(f"ce+{measure[0]}", batch), lovasz_cross_entropy(*batch, **arguments))


def test_focal(batch: tuple[Tensor, Tensor]) -> None:
    logits, target = flat(batch)
    p = logits.softmax(1)[torch.arange(len(target)), target]
    for name, gamma in (("focal", 2), ("focal(0.5)", 0.5)):
        torch.testing.assert_close(value(name, batch), ((1 - p) ** gamma * -p.log()).mean().float())


def test_tversky(batch: tuple[Tensor, Tensor]) -> None:
    logits, target = flat(batch)
    probs, truth = logits.softmax(1), torch.eye(4, dtype=torch.float64)[target]
    tp, fp, fn = (probs * truth).sum(0), (probs * (1 - truth)).sum(0), ((1 - probs) * truth).sum(0)
    for name, alpha, beta in (("tversky", 0.3, 0.7), ("tversky(0.6,0.4)", 0.6, 0.4)):
        expected = (1 - tp / (tp + alpha * fp + beta * fn)).mean()
        torch.testing.assert_close(value(name, batch), expected.float(), rtol=1e-4, atol=1e-5)


def test_the_jaccard_metric_loss_is_the_soft_jaccard_of_the_classes_present(batch: tuple[Tensor, Tensor]) -> None:
    logits, target = batch
    target[target == 2] = 3
    x, labels = flat((logits, target))
    probs, truth = x.softmax(1), torch.eye(4, dtype=torch.float64)[labels]
    iou = torch.minimum(probs, truth).sum(0) / torch.maximum(probs, truth).sum(0)
    torch.testing.assert_close(value("jml", (logits, target)), (1 - iou[[0, 1, 3]]).mean().float())


@pytest.mark.parametrize("name", ["jml", "focal", "tversky", "dice"])
def test_a_batch_without_a_labelled_pixel_trains_nothing(name: str, batch: tuple[Tensor, Tensor]) -> None:
    logits, target = batch[0].clone().requires_grad_(), torch.full_like(batch[1], IGNORE_INDEX)
    loss = named_loss(name, PIXELS)(logits, target, 0.0)
    loss.backward()
    assert logits.grad is not None


def test_names_are_described_and_own_code_is_hashed() -> None:
    assert describe("ce+lovasz-tversky(0.4,1.5)>jml+tests.study.own:loss") == (
        "cross-entropy + Lovász extension of 1 - Tversky index (0.4, 1.5) for the first half of the steps, then "
        "Jaccard metric loss + the user's own"
    )
    said = "cross-entropy for the first half of the steps, then Lovász-Softmax loss"
    assert describe("ce>lovasz") == said
    assert len(code_of("tests.study.own:loss>ce+tests.study.own:loss")) == 8
    assert code_of("ce>lovasz") == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ce>dice>lovasz", "at most one >"),
        ("ce+", r"unknown loss '' in 'ce\+'"),
        ("lovasz(2)", "expected 0 numbers, got 1"),
        ("tversky(1)", r"expected 2 numbers, as tversky\(0.3,0.7\), got 1"),
        ("ce+lovasz-tversky(0,1)", r"lovasz-tversky\(0,1\): alpha of Tversky must be from"),
        ("focal(1..2)", r"focal\(1..2\)"),
        ("focal(-1)", "unknown loss"),
    ],
)
def test_names_that_are_none(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_names([name])


@pytest.mark.parametrize("size", [(5, 6), (9, 12)], ids=["fitting", "finer"])
def test_ce_lovasz_is_the_fused_loss(size: tuple[int, int], batch: tuple[Tensor, Tensor]) -> None:
    target = torch.nn.functional.interpolate(batch[1][None].double(), size)[0].long()
    leaves = [batch[0].clone().requires_grad_() for _ in range(2)]
    loss = named_loss("ce+lovasz", PIXELS)(leaves[0], target, 0.0)
    upsample = None if size == (5, 6) else "bilinear"
    fused = lovasz_cross_entropy(
        leaves[1], target, ignore_index=IGNORE_INDEX, bins=binning.default_bins(4, "softmax"), upsample=upsample
    )
    torch.testing.assert_close(loss, fused, rtol=0, atol=0)
    loss.backward()
    fused.backward()
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=0, atol=0)


def test_first_half_cross_entropy_then_lovasz(batch: tuple[Tensor, Tensor]) -> None:
    assert value("ce>lovasz", batch, 0.49) == value("ce", batch)
    assert value("ce>lovasz", batch, 0.5) == value("lovasz", batch)
    assert not math.isclose(value("ce", batch), value("lovasz", batch))


@pytest.mark.parametrize("names", [["ce", "focel"], [""], []])
def test_unknown_name_lists_the_known(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"choose from ce, weighted-ce, .*ce>lovasz") as error:
        check_names(names)
    assert "\n" not in str(error.value)
