"""The losses of labels that may overlap, by name, against plain formulas; void of each label included."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lovasz import lovasz_hinge, lovasz_sigmoid
from lovasz.measures import Tversky
from lovasz.study.data.parts import IGNORE_INDEX
from lovasz.study.train.known import OF_CLASSES, OF_LABELS
from lovasz.study.train.losses import check_names, check_own, describe, named_loss
from lovasz.study.train.network import FullSize, build_network, outputs_for_training


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Logits of three labels, of which each is void elsewhere."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 6, generator=generator)
    target = torch.randint(2, (2, 3, 5, 6), generator=generator)
    target[0, 0, :2] = target[1, 1, :, 3:] = target[:, 2, 0] = IGNORE_INDEX
    return logits, target


def value(name: str, batch: tuple[Tensor, Tensor], progress: float = 0.0) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's imports warn about what other packages deprecate
        return named_loss(name, [1, 1, 1], True)(*batch, progress)


def each(batch: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The probabilities and masks of each label where it counts."""
    logits, target = batch
    pairs = zip(logits.double().unbind(1), target.unbind(1), strict=True)
    return [(x[y != IGNORE_INDEX].sigmoid(), y[y != IGNORE_INDEX].double()) for x, y in pairs]


def test_binary_cross_entropy_is_the_mean_over_all_that_counts(batch: tuple[Tensor, Tensor]) -> None:
    losses = torch.cat([-(y * p.log() + (1 - y) * (1 - p).log()) for p, y in each(batch)])
    torch.testing.assert_close(value("bce", batch), losses.mean().float())
    focal = torch.cat([-((1 - q) ** 2) * q.log() for q in (y * p + (1 - y) * (1 - p) for p, y in each(batch))])
    torch.testing.assert_close(value("focal", batch), focal.mean().float())


def test_soft_losses_are_means_over_the_labels(batch: tuple[Tensor, Tensor]) -> None:
    pairs = each(batch)
    dice = torch.stack([1 - 2 * (p * y).sum() / (p.sum() + y.sum()) for p, y in pairs]).mean().float()
    torch.testing.assert_close(value("dice", batch), dice, rtol=1e-5, atol=1e-6)  # MONAI adds 1e-5 above and below
    jaccard = torch.stack([1 - (p * y).sum() / (p + y - p * y).sum() for p, y in pairs]).mean().float()
    torch.testing.assert_close(value("jml", batch), jaccard)  # of hard labels the soft Jaccard loss
    hits = [((p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()) for p, y in pairs]
    tversky = torch.stack([1 - tp / (tp + 0.3 * fp + 0.7 * fn) for tp, fp, fn in hits]).mean().float()
    torch.testing.assert_close(value("tversky", batch), tversky, rtol=1e-5, atol=1e-6)


def test_a_label_without_foreground() -> None:
    """The Jaccard metric loss is 1 as soon as anything is predicted, and finite, with its gradient, where not."""
    logits, target = torch.full((1, 1, 4, 4), -3.0), torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    assert value("jml", (logits, target)) == 1
    leaf = torch.full((1, 1, 4, 4), -200.0).requires_grad_()
    value("jml", (leaf, target)).backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert value("bce", (logits, torch.full_like(target, IGNORE_INDEX))) == 0


@pytest.mark.parametrize("form", ["sigmoid", "hinge"])
def test_lovasz(form: str, batch: tuple[Tensor, Tensor]) -> None:
    loss = {"sigmoid": lovasz_sigmoid, "hinge": lovasz_hinge}[form]
    expected = loss(*batch, channels=True, bins=None)
    torch.testing.assert_close(value(form, batch), expected, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(value(f"bce+{form}", batch), value("bce", batch) + value(form, batch))
    assert value(f"bce>{form}", batch, 0.2) == value("bce", batch)
    assert value(f"bce>{form}", batch, 0.7) == value(form, batch)


def test_measures_by_name(batch: tuple[Tensor, Tensor]) -> None:
    expected = lovasz_sigmoid(*batch, channels=True, bins=None, measure=Tversky(0.4, 1.5))
    torch.testing.assert_close(value("lovasz-tversky(0.4,1.5)", batch), expected, rtol=2e-3, atol=2e-3)
    both = value("bce+lovasz-dice", batch)
    torch.testing.assert_close(both, value("bce", batch) + value("lovasz-dice", batch))


def test_cross_entropy_and_lovasz_share_their_passes(
    batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    monkeypatch.setattr(
        "lovasz.study.train.label_terms.lovasz_binary_cross_entropy",
        lambda logits, target, **options: called.append((options["form"], options["measure"])) or logits.sum(),
    )
    value("bce+hinge", batch)
    value("lovasz-dice+bce", batch)
    assert called == [("hinge", "jaccard"), ("sigmoid", "dice")]


@pytest.mark.parametrize("name", OF_LABELS.names)
def test_void_changes_nothing_and_gets_no_gradient(name: str, batch: tuple[Tensor, Tensor]) -> None:
    logits, target = batch
    void = target == IGNORE_INDEX
    other = torch.where(void, logits + 3, logits)
    for progress in (0.0, 0.9):
        assert value(name, (other, target), progress) == value(name, batch, progress)
    leaf = logits.clone().requires_grad_()
    value(name, (leaf, target)).backward()
    assert leaf.grad is not None
    assert (leaf.grad[void] == 0).all()
    assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", OF_LABELS.names)
def test_the_loss_of_coarse_logits_is_that_of_interpolated_ones(name: str, dims: int) -> None:
    coarse = build_network("tests.study.own:coarse", 3, 2, dims)
    network = FullSize(coarse.network, 4)  # type: ignore[arg-type]
    sides = (7, 10, 6)[:dims]
    image, target = torch.randn(2, 3, *sides), torch.randint(0, 2, (2, 2, *sides))
    target[0, 0] = IGNORE_INDEX
    (logits,), padded = outputs_for_training(network, image, target)
    assert padded.shape[2:] == tuple(-(-side // 4) * 4 for side in sides)
    assert (padded[..., -(-sides[-1] // 4) * 4 - 1] == IGNORE_INDEX).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = named_loss(name, [5, 5], True)
        torch.testing.assert_close(loss(logits, padded, 1.0), loss(network(image), target, 1.0))


def bce(logits: Tensor, target: Tensor) -> Tensor:
    """A loss of the user's own, of one mask a label."""
    assert logits.shape == target.shape
    known = target != IGNORE_INDEX
    return F.binary_cross_entropy_with_logits(logits[known], target[known].to(logits))


def test_a_users_own(batch: tuple[Tensor, Tensor]) -> None:
    own = "tests.study.test_label_terms:bce"
    torch.testing.assert_close(value(own, batch), value("bce", batch))
    for labels, dims in ((1, 2), (3, 3)):
        check_own([f"{own}>bce"], labels, dims, overlap=True)
    with pytest.raises(ValueError, match=r"failed on logits \(2, 3, 8, 8\) and target \(2, 8, 8\)"):
        check_own([own], 3, 2)


def test_a_loss_of_the_other_head_is_refused_by_name() -> None:
    said = r"--loss ce\+dice is for one class a pixel, and the task is binary; choose from bce, focal, "
    with pytest.raises(ValueError, match=said):
        check_names(["bce", "ce+dice"], "binary")
    said = (
        r"--loss hinge is for a binary or multilabel task, and the task is multiclass; choose from ce, weighted-ce"
    )
    with pytest.raises(ValueError, match=said):
        check_names(["ce", "hinge"], "multiclass")
    with pytest.raises(ValueError, match="unknown loss 'lovaz'; choose from bce"):
        check_names(["lovaz"], "multilabel")
    check_names([*OF_LABELS.names, *OF_CLASSES.names], "auto")  # the data will tell
    with pytest.raises(ValueError, match="unknown loss 'lovaz'; choose from ce"):
        check_names(["lovaz"], "auto")
    with pytest.raises(ValueError, match=r"--loss lovasz-tversky\(1\): expected 2 numbers"):
        check_names(["lovasz-tversky(1)"], "binary")


def test_descriptions() -> None:
    assert describe("bce+lovasz-tversky(0.3,0.7)", True) == (
        "binary cross-entropy + Lovász extension of 1 - Tversky index, of the sigmoid (0.3, 0.7)"
    )
    assert describe("bce>hinge", True) == (
        "binary cross-entropy for the first half of the steps, then Lovász hinge"
    )
