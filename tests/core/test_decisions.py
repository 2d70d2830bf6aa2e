"""The decisions against brute force, against the definition of what they maximise, and against rankseg."""

import copy
import dataclasses
import itertools
import pickle

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from rankseg import rankseg_rma
from torch.testing import assert_close

import lovasz
from lovasz import FBeta, Tversky, _fitting
from lovasz._math import decision
from lovasz.decisions import DatasetDecision, image_decision
from lovasz.metrics import JaccardIndex
from tests.core import cases
from tests.core.processes import run

MEASURES = ["jaccard", "dice", Tversky(0.3, 2.0), FBeta(2)]
PRIOR = torch.tensor([0.5, 0.3, 0.1, 0.07, 0.03]).log().view(1, -1, 1, 1)


def images(
    number: int, seed: int, sharper: float = 1.0, classes: int = 5
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of one image, whose labels were drawn from its probabilities, smooth over the image."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(number):
        field = F.interpolate(2.5 * torch.randn(1, classes, 4, 5, generator=generator), (24, 30), mode="bilinear")
        logits = field + PRIOR[:, :classes]
        p = logits.softmax(1)[0].flatten(1).t()
        found.append((sharper * logits, torch.multinomial(p, 1, generator=generator).view(1, 24, 30)))
    return found


def iou(rule, batches) -> float:
    """The mean IoU over the classes of all pixels, by the metric."""
    metric = JaccardIndex(batches[0][0].shape[1])
    for logits, target in batches:
        metric.update(rule(logits), target)
    return metric.compute().item()


def argmax(logits: torch.Tensor) -> torch.Tensor:
    return logits.argmax(1)


def weights(measure: object) -> Tversky:
    return {"jaccard": Tversky(1, 1), "dice": Tversky(0.5, 0.5)}.get(measure) or getattr(
        measure, "tversky", measure
    )


def expected_measure(p: torch.Tensor, chosen: torch.Tensor, measure: Tversky) -> float:
    """The measure of the counts that are expected, of probabilities (P,) and the pixels chosen, bool (P,)."""
    tp, whole = p[chosen].sum(), p.sum()
    bottom = tp + measure.alpha * (chosen.sum() - tp) + measure.beta * (whole - tp)
    return (tp / bottom).item() if bottom > 0 else 0.0


# The decision for an image


@pytest.mark.parametrize("measure", MEASURES, ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_the_pixels_of_a_channel_are_the_best_of_all_sets(measure: object, seed: int) -> None:
    """Of all 256 sets of 8 pixels none has a higher expected measure, but for the width of a bin."""
    p = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    p[0] = 0.9  # else the class may be taken for absent
    chosen = image_decision(p.logit(), form="sigmoid", measure=measure, bins=65536)
    sets = (torch.tensor(one) for one in itertools.product([False, True], repeat=8))
    best = max(expected_measure(p, one, weights(measure)) for one in sets)
    assert expected_measure(p, chosen, weights(measure)) == pytest.approx(best, abs=1e-4)


def test_a_pixel_goes_to_the_class_of_the_largest_gain() -> None:
    """By sorting in float64: the claimed pixels, the counts expected of them, and the gain of one pixel more."""
    logits = torch.cat([logits for logits, _ in images(3, 1)]).double() * 2
    labels = image_decision(logits, bins=65536)
    for x, found in zip(logits, labels, strict=True):
        p = x.softmax(0).flatten(1)
        gains = []
        for one in p:
            ranked = one.sort(descending=True).values
            S, t = ranked.cumsum(0), torch.arange(1, len(ranked) + 1)
            union = one.sum() + t - S
            best = (S / union).argmax()
            score = (S / union)[best]
            gain = ((1 + score) * one - score) / union[best]
            gains.append(torch.where(one.max() > 0.5, gain, -torch.inf))
        by_hand = torch.stack(gains).argmax(0).view_as(found)
        assert (by_hand != found).double().mean() < 2e-3


@pytest.mark.parametrize(("measure", "metric"), [("jaccard", "iou"), ("dice", "dice")])
def test_it_is_that_of_rankseg_but_for_a_bin(measure: str, metric: str) -> None:
    logits = torch.cat([logits for logits, _ in images(8, 2, sharper=2.0)])
    theirs = rankseg_rma(logits.sigmoid(), metric=metric, output_mode="multilabel")
    ours = image_decision(logits, form="sigmoid", measure=measure, channels=True)
    assert (ours != theirs).double().mean() < 2e-3
    assert (ours != (logits > 0)).double().mean() > 0.02  # there was something to decide

    theirs = rankseg_rma(logits.softmax(1), metric=metric, output_mode="multilabel")
    single = theirs.sum(1) == 1  # claimed by one class
    labels = image_decision(logits, measure=measure)
    assert (labels != theirs.int().argmax(1))[single].double().mean() < 2e-3
    assert 0.5 < single.double().mean() < 1


def test_a_decision_raises_what_it_is_for() -> None:
    """Where the labels are drawn from the probabilities: IoU by image and of the set, each by its own rule."""
    batches = images(60, 3)
    metric = lovasz.metrics.ImageJaccardIndex(5)
    by_image = {}
    for name, rule in (("argmax", argmax), ("image", image_decision)):
        metric.reset()
        for logits, target in batches:
            metric.update(rule(logits), target)
        by_image[name] = metric.compute().item()
    assert by_image["image"] > by_image["argmax"] + 0.002
    rule = DatasetDecision(5)
    rule.fit(images(60, 4))
    assert iou(rule, batches) > iou(argmax, batches) + 0.005


def test_a_class_without_a_likely_pixel_is_absent() -> None:
    p = torch.tensor([[0.97, 0.03], [0.55, 0.45], [0.7, 0.3]])
    assert image_decision(p.log()).tolist() == [0, 0, 0]
    present = image_decision(p.log(), absent_below=0.1)
    assert present.tolist() == [0, 1, 0]
    one = torch.tensor([0.4, 0.1]).logit()
    assert image_decision(one, form="sigmoid").tolist() == [False, False]
    assert image_decision(one, form="sigmoid", absent_below=0.2).tolist() == [True, False]
    even = torch.zeros(4, 3)  # every class absent: all are candidates
    assert image_decision(even).tolist() == [0] * 4


def test_what_is_masked_does_not_change_the_expectation() -> None:
    (logits, _), (other, _) = images(2, 5, sharper=2.0)
    both = torch.cat((logits, other), 2)
    mask = torch.zeros(1, *both.shape[2:], dtype=torch.bool)
    mask[:, : logits.shape[2]] = True
    labels = image_decision(both, mask=mask)
    assert_close(labels[:, : logits.shape[2]], image_decision(logits), rtol=0, atol=0)
    assert (image_decision(both)[:, : logits.shape[2]] != image_decision(logits)).any()
    assert_close(image_decision(logits, mask=mask[:, -24:]), argmax(logits), rtol=0, atol=0)  # nothing counts


def test_an_image_is_decided_by_itself() -> None:
    batch = torch.cat([logits for logits, _ in images(4, 6)])
    one_by_one = torch.cat([image_decision(logits[None]) for logits in batch])
    assert_close(image_decision(batch), one_by_one, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["channels last", "points", "volume", "sequence", "six axes", "empty", "strided"])
def test_every_layout_has_the_labels_of_the_plain_one(kind: str) -> None:
    torch.manual_seed(0)
    plain = torch.randn(2, 3, 4, 6) * 3
    rule = DatasetDecision(3)
    rule.factor.copy_(torch.tensor([1.0, 2.0, 0.5]))
    rule.threshold.copy_(torch.tensor([0.3, 0.1, 0.0]))
    rule.bias.copy_(torch.tensor([0.5, -1.0, 2.0]))
    w, t, b = (one.view(3, 1, 1) for one in (rule.factor, rule.threshold, rule.bias))
    assert_close(rule(plain), (w * ((plain + b).softmax(1) - t)).argmax(1))
    for decide in (image_decision, rule):
        labels = decide(plain)
        if kind == "channels last":
            assert_close(decide(plain.contiguous(memory_format=torch.channels_last)), labels)
        elif kind == "points":
            points = plain[0].flatten(1).t()
            assert_close(decide(points), labels[0].flatten() if decide is rule else decide(plain[:1]).flatten())
        elif kind == "volume":
            assert_close(
                decide(plain.unflatten(3, (2, 3))).flatten(2), labels.view(2, 4, 6).flatten(2).view(2, 4, 6)
            )
        elif kind == "sequence":
            assert_close(decide(plain.flatten(2)), labels.flatten(1))
        elif kind == "six axes":
            six = plain.unflatten(3, (2, 3)).unsqueeze(-1)
            assert_close(decide(six).flatten(1), labels.flatten(1))
        elif kind == "empty":
            assert decide(plain[:0]).shape == (0, 4, 6)
            assert decide(plain[:, :, :0]).shape == (2, 0, 6)
        else:
            wide = torch.randn(2, 3, 4, 12)
            wide[..., ::2] = plain
            assert_close(decide(wide[..., ::2]), labels)


def test_every_layout_of_the_sigmoid() -> None:
    torch.manual_seed(1)
    plain = torch.randn(2, 3, 4, 6) * 3
    rule = DatasetDecision(3, form="sigmoid")
    rule.threshold.copy_(torch.tensor([0.3, 0.1, 0.7]))
    expected = plain.sigmoid() > rule.threshold.view(1, 3, 1, 1)
    assert_close(rule(plain), expected)
    assert_close(rule(plain.flatten(2)[..., None]), expected.flatten(2)[..., None])
    assert_close(rule(plain[0].flatten(1).t()), expected[0].flatten(1).t())
    one = DatasetDecision(1, form="sigmoid")
    one.threshold.fill_(0.3)
    for x in (plain[0, 0, 0], plain[:, 0], plain[:, :1]):
        assert_close(one(x), x.sigmoid() > 0.3)
    for x in (plain[:, 0], plain[0, 0], plain[0, 0].flatten()):
        found = image_decision(x, form="sigmoid", channels=False)
        alone = [image_decision(one.flatten(), form="sigmoid") for one in (x if x.ndim > 1 else [x])]
        assert_close(found, torch.stack(alone).view(x.shape))
    flat = plain.flatten(2)
    assert_close(rule(flat), expected.flatten(2))
    by_channel = torch.stack([image_decision(flat[:, c], form="sigmoid", channels=False) for c in range(3)], 1)
    assert_close(image_decision(flat, form="sigmoid", channels=True), by_channel)
    with pytest.raises(ValueError, match="channels must say"):
        image_decision(flat, form="sigmoid")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_dtype_is_decided_in_float32_or_wider(dtype: torch.dtype) -> None:
    logits = torch.cat([logits for logits, _ in images(2, 7)]).to(dtype)
    rule = DatasetDecision(5)
    rule.fit(images(10, 8))
    wide = logits.double() if dtype == torch.float64 else logits.float()
    for decide in (rule, image_decision):
        assert_close(decide(logits), decide(wide), rtol=0, atol=0)


@pytest.mark.parametrize(("mode", "align"), [("bilinear", False), ("bilinear", True), ("nearest", False)])
def test_labels_of_higher_resolution_are_those_of_interpolated_logits(mode: str, align: bool) -> None:
    logits = torch.cat([logits for logits, _ in images(2, 9)])
    fine = F.interpolate(
        logits.double(), (70, 81), mode=mode, **({"align_corners": align} if mode != "nearest" else {})
    )
    given = {"upsample": mode, "align_corners": align}
    rule = DatasetDecision(5, **given)
    rule.threshold.copy_(torch.linspace(0, 0.4, 5))
    rule.bias.copy_(torch.linspace(1, -1, 5))
    plain = DatasetDecision(5)
    plain.load_state_dict(rule.state_dict())
    found = rule(logits.double(), size=(70, 81))
    assert found.shape == (2, 70, 81)
    assert_close(found, plain(fine), rtol=0, atol=0)
    assert (image_decision(logits, size=(70, 81), **given) != image_decision(fine)).double().mean() < 2e-3
    masks = DatasetDecision(5, form="sigmoid", **given)
    assert_close(masks(logits.double(), size=(70, 81)), fine > 0)


@pytest.mark.parametrize(("given", "message"), [
    ({"form": "hinge"}, "form must be"),
    ({"measure": "precision"}, "measure must be"),
    ({"absent_below": 1.5}, r"absent_below must be a number from 0 to 1, got 1\.5"),
    ({"bins": None}, "bins must be an integer here"),
    ({"size": (4, 4)}, "size and upsample belong together"),
    ({"upsample": "bilinear"}, "size and upsample belong together"),
    ({"mask": torch.ones(3, dtype=torch.bool)}, "mask must have the shape"),
])  # fmt: skip
def test_arguments_that_do_not_fit_are_named(given: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        image_decision(torch.zeros(2, 3, 4, 4), **given)


@pytest.mark.parametrize(("shape", "options", "message"), [
    ((1, 3, 8, 8), {"size": (16,), "upsample": "bilinear"}, r"size must have 2 entries.*got \(16,\)"),
    ((1, 3, 4, 8, 8), {"size": (16, 16), "upsample": "trilinear"}, "size must have 3 entries"),
    ((2, 3, 8, 8), {"size": (2, 16, 16), "upsample": "bilinear"}, "size must have 2 entries"),
    ((2, 3, 8, 8), {"size": (4, 4), "upsample": "bilinear"}, r"each as large or larger, got \(4, 4\)"),
    ((2, 3, 8, 8), {"size": 16, "upsample": "bilinear"}, "size must hold positive integers.*got 16"),
    ((2, 8, 8), {"size": (16,), "upsample": "bilinear", "form": "sigmoid"}, "size must have 2 entries"),
])  # fmt: skip
def test_a_size_that_does_not_fit_is_named(shape: tuple[int, ...], options: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        image_decision(torch.zeros(shape), **options)


@pytest.mark.parametrize("out", [0, 1, 2])
def test_a_class_that_is_ruled_out_is_decided_as_if_it_were_not_there(out: int) -> None:
    logits = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(3))
    logits[:, out] = -torch.inf
    rest = [c for c in range(3) if c != out]
    found = image_decision(logits)
    assert torch.equal(found, torch.tensor(rest)[image_decision(logits[:, rest])])
    logits[0, :, 0, 0] = -torch.inf
    with pytest.raises(ValueError, match="logits must be finite"):
        image_decision(logits)


def test_a_fold_may_hold_all_that_counts() -> None:
    generator = torch.Generator().manual_seed(4)
    batches = [(torch.randn(1, 3, 6, 6, generator=generator), torch.zeros(1, 6, 6).long()) for _ in range(5)]
    batches[0][1][0, 0] = 2
    fitted = DatasetDecision(3, classes=[2]).fit(batches)
    assert fitted.images == 5
    assert fitted.fitted >= fitted.usual
    batches = [batches[0], (batches[1][0], torch.full((1, 6, 6), -100))]
    assert DatasetDecision(3).fit(batches).images == 2


def test_another_default_device_does_not_reach_the_fit() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(6, 1, 6, 6, generator=generator)
    target = torch.randint(2, (6, 6, 6), generator=generator)
    softmax, sigmoid = DatasetDecision(2), DatasetDecision(1, form="sigmoid")
    expected = [copy.deepcopy(softmax).fit([(logits.expand(-1, 2, -1, -1), target)]).fitted]
    expected += [copy.deepcopy(sigmoid).fit([(logits, target)]).fitted]
    torch.set_default_device("meta")
    try:
        found = [softmax.fit([(logits.expand(-1, 2, -1, -1), target)]).fitted]
        found += [sigmoid.fit([(logits, target)]).fitted]
    finally:
        torch.set_default_device(None)
    assert found == expected


def test_nan_is_named() -> None:
    logits = torch.zeros(1, 2, 3, 3)
    logits[0, 1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="logits must be finite where a pixel counts, got 2 of a pixel"):
        image_decision(logits)
    mask = torch.ones(1, 3, 3, dtype=torch.bool)
    mask[0, 0, 0] = False
    assert image_decision(logits, mask=mask).shape == (1, 3, 3)
    target = torch.zeros(1, 3, 3, dtype=torch.long)
    for form, labels in (("softmax", target), ("sigmoid", torch.stack((target, target), 1))):
        with pytest.raises(ValueError, match=r"logits must be finite.*NaN"):
            DatasetDecision(2, form=form).fit([(logits, labels)])


# The decision for a data set


@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_the_gain_of_a_pixel_is_the_derivative_of_the_measure(measure: object) -> None:
    parsed = weights(measure)
    counts = torch.tensor([[30.0, 50.0, 45.0], [2.0, 3.0, 9.0]], dtype=torch.float64)
    factor, threshold = decision.rule(counts, parsed)
    p, step = torch.tensor([0.2, 0.7], dtype=torch.float64), 1e-6
    more = counts + step * torch.stack((p, torch.zeros(2), torch.ones(2)), -1)
    growth = (decision.measured(more, parsed)[0] - decision.measured(counts, parsed)[0]) / step
    assert_close(factor * (p - threshold), growth, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_decision_of_a_small_problem_is_much_better(seed: int) -> None:
    """Ten kinds of pixels with known probabilities, three classes: of all 3^10 decisions, the best mean IoU."""
    generator = torch.Generator().manual_seed(seed)
    p = (2 * torch.randn(10, 3, generator=generator) + torch.tensor([1.0, 0.0, -1.5])).softmax(1)
    each = (200 * p).round().long()  # so many pixels of each label
    logits = (each.double() / each.sum(1, keepdim=True)).log().clamp(min=-50)
    target = torch.cat([torch.arange(3).repeat_interleave(one) for one in each])
    points = logits.repeat_interleave(each.sum(1), 0)
    # One image is fitted as it is, without folds.
    rule = DatasetDecision(3)
    fitted = rule.fit([(points, target)])
    decided = torch.cartesian_prod(*[torch.arange(3)] * 10)
    tp = torch.zeros(len(decided), 3)
    predicted = torch.zeros(len(decided), 3)
    for kind in range(10):
        tp.scatter_add_(1, decided[:, kind : kind + 1], each[kind][decided[:, kind : kind + 1]].float())
        predicted.scatter_add_(
            1, decided[:, kind : kind + 1], torch.full((len(decided), 1), each[kind].sum().float())
        )
    best = (tp / (predicted + each.sum(0) - tp)).mean(1).max().item()
    assert fitted.trust > 0 or fitted.usual == pytest.approx(best)
    assert best - 0.01 < fitted.fitted <= best + 1e-6
    assert fitted.fitted == pytest.approx(iou(rule, [(points, target)]))


@pytest.mark.parametrize("measure", MEASURES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_it_is_never_worse_than_the_argmax_on_what_it_was_fitted_on(measure: object, seed: int) -> None:
    """Labels that have little to do with the probabilities, in images of two sizes."""
    batches = images(3, seed, sharper=4.0)
    batches[1] = (batches[1][0].flip(2), batches[1][1])
    batches.append((batches[0][0][..., :7, :9].flip(1), batches[0][1][..., :7, :9]))
    rule = DatasetDecision(5, measure=measure)
    found = rule.fit(batches)

    def score(labels: list[torch.Tensor]) -> float:
        pairs = torch.zeros(25, dtype=torch.float64)
        for x, (_, t) in zip(labels, batches, strict=True):
            pairs += torch.bincount(5 * t.flatten() + x.flatten(), minlength=25)
        pairs = pairs.view(5, 5)
        tp, fn, fp = pairs.diagonal(), pairs.sum(1) - pairs.diagonal(), pairs.sum(0) - pairs.diagonal()
        weigh = weights(measure)
        return (tp / (tp + weigh.alpha * fp + weigh.beta * fn)).nanmean().item()

    assert found.usual == pytest.approx(score([argmax(x) for x, _ in batches]))
    assert found.fitted == pytest.approx(score([rule(x) for x, _ in batches]))
    assert found.fitted >= found.usual
    assert found.images == 4


def test_it_goes_as_far_as_pays_where_it_was_not_fitted() -> None:
    rules = [_fitting.Rule(torch.ones(2), torch.zeros(2), torch.zeros(2))] * 5
    fitted, held_out = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9]), torch.tensor([0.5, 0.58, 0.55, 0.4, 0.3])

    def chosen(held_out: torch.Tensor | None, fitted: torch.Tensor, images: int) -> tuple:
        return dataclasses.astuple(_fitting._chosen(rules, _fitting.SHRINKAGE, held_out, fitted, images)[1])

    assert chosen(held_out, fitted, 9) == pytest.approx((9, 0.25, 0.5, 0.6, 0.58))
    assert chosen(held_out, fitted.flip(0), 9) == pytest.approx((9, 0.0, 0.9, 0.9, 0.5))
    assert chosen(None, fitted, 1)[:4] == pytest.approx((1, 1.0, 0.5, 0.9))
    assert chosen(torch.full((5,), 0.4), fitted, 9)[1] == 0  # nothing is gained


def test_what_is_held_out_was_decided_by_rules_of_the_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five images are five folds; the others of each, joined to one image, have the same rule, without folds."""
    monkeypatch.setattr(_fitting, "SHRINKAGE", (1.0,))
    batches = images(5, 25)
    found = DatasetDecision(5).fit(batches)
    assert found.trust == 1
    metric = JaccardIndex(5)
    for n, (logits, target) in enumerate(batches):
        others = [batches[i] for i in range(5) if i != n]
        rule = DatasetDecision(5)
        assert rule.fit([tuple(torch.cat(part, -2) for part in zip(*others, strict=True))]).trust == 1
        metric.update(rule(logits), target)
    assert found.held_out == pytest.approx(metric.compute().item())


def test_what_is_held_out_of_channels_was_decided_by_thresholds_of_the_other_images() -> None:
    """Forty images are ten blocks of four."""
    batches = [(x[:, :3], F.one_hot(t, 5).movedim(-1, 1)[:, :3]) for x, t in images(40, 26)]
    found = DatasetDecision(3, form="sigmoid").fit(batches)
    tp, union = torch.zeros(3), torch.zeros(3)
    for first in range(0, 40, 4):
        others = [one for n, one in enumerate(batches) if not first <= n < first + 4]
        counts = sum(cases.count(x, t, form="sigmoid") for x, t in others)
        threshold = 0.5 + found.trust * (counts.threshold_curve().best()[0] - 0.5)
        for logits, target in batches[first : first + 4]:
            chosen = logits.sigmoid() > threshold.view(1, 3, 1, 1)
            tp += (chosen & target.bool()).sum((0, 2, 3))
            union += (chosen | target.bool()).sum((0, 2, 3))
    assert found.held_out == pytest.approx((tp / union).mean().item(), abs=1e-4)


@pytest.mark.parametrize("seed", [39, 44, 53])
def test_the_best_rule_seen_is_kept(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probabilities that are far too sure: the scores of the passes go up and down."""
    seen, score = [], _fitting.Task.score

    def watched(task, counts):
        found = score(task, counts)
        if counts.shape[:-2] == (1,):
            seen.append(found.item())
        return found

    monkeypatch.setattr(_fitting.Task, "score", watched)
    ((logits, target),) = images(1, seed, sharper=5.0)
    found = DatasetDecision(5).fit([(logits, target)])
    assert len(seen) == 14
    assert max(seen) > seen[-1] + 1e-3
    assert found.fitted >= max(seen) - 1e-12


def test_until_fitted_it_is_the_argmax_or_one_half() -> None:
    logits = torch.cat([logits for logits, _ in images(2, 12)])
    assert_close(DatasetDecision(5)(logits), argmax(logits), rtol=0, atol=0)
    assert_close(DatasetDecision(5, form="sigmoid")(logits), logits > 0, rtol=0, atol=0)


def test_only_the_pixels_that_count_are_fitted() -> None:
    batches = images(6, 13)
    plain = DatasetDecision(5)
    expected = plain.fit(batches)
    masked, ignored = [], []
    for logits, target in batches:
        noise, anything = torch.randn(1, 5, 10, 30), torch.randint(0, 5, (1, 10, 30))
        more = torch.cat((logits, noise), 2)
        mask = torch.ones(1, 34, 30, dtype=torch.bool)
        mask[:, 24:] = False
        masked.append((more, torch.cat((target, anything), 1), mask))
        ignored.append((more, torch.cat((target, torch.full_like(anything, 255)), 1)))
    for rule, given in ((DatasetDecision(5), masked), (DatasetDecision(5, ignore_index=255), ignored)):
        assert rule.fit(given) == expected
        # PyTorch adds the classes of a pixel in an order that depends on the size of the image, and on the machine.
        assert_close(rule.state_dict(), plain.state_dict(), rtol=1e-6, atol=1e-7)


WEIGHTS = torch.tensor([0.05, 0.3, 1.0, 3.0, 1.5])


def test_weights_of_classes_are_taken_off_the_logits() -> None:
    """What cross-entropy with weights makes of right probabilities, p w / sum of p w, is undone from labels."""
    plain = images(30, 27)
    weighted = [(logits + WEIGHTS.log().view(1, -1, 1, 1), target) for logits, target in plain]
    rule, right = DatasetDecision(5), DatasetDecision(5)
    found, expected = rule.fit(weighted), right.fit(plain)
    assert found.usual < expected.usual - 0.05
    assert found.fitted == pytest.approx(expected.fitted, abs=0.003)
    assert found.held_out == pytest.approx(expected.held_out, abs=0.003)
    undone = (rule.bias + WEIGHTS.log()) - (rule.bias + WEIGHTS.log()).mean()
    assert_close(undone, torch.zeros(5), rtol=0, atol=0.12)
    others = [(logits + WEIGHTS.log().view(1, -1, 1, 1), target) for logits, target in images(30, 28)]
    assert iou(rule, others) > iou(argmax, others) + 0.05


def test_the_bias_has_the_highest_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two classes and of five: sums of probabilities are numbers of labels, void pixels and masks left out."""
    for classes in (2, 5):
        batches = [(3 * x[:, :classes] - 1, t.clamp(max=classes - 1)) for x, t in images(4, 29)]
        batches[1][1][:, 5:9] = -100
        mask = torch.rand(1, 24, 30, generator=torch.Generator().manual_seed(0)) < 0.5
        batches[2] += (mask,)
        monkeypatch.setattr(_fitting, "BIAS_PASSES", 60)
        kept, likelier = [], decision.likelier

        def watched(*given, kept=kept, likelier=likelier):
            kept.append(likelier(*given))
            return kept[-1]

        monkeypatch.setattr(decision, "likelier", watched)
        DatasetDecision(classes).fit(batches)
        monkeypatch.setattr(decision, "likelier", likelier)
        bias = kept[-1][-1]  # of all images
        p, label = [], []
        for logits, target, *more in batches:
            counts = (target >= 0) & (more[0] if more else True)
            p.append((logits.double() + bias.view(1, -1, 1, 1)).softmax(1).movedim(1, -1)[counts])
            label.append(target[counts])
        number = torch.bincount(torch.cat(label), minlength=classes).double()
        assert_close(torch.cat(p).sum(0), number, rtol=1e-5, atol=1e-3)
        assert (number * bias).sum().abs() < 1e-6
        without = kept[-1][0]  # of the last images
        p, label = torch.cat(p[1:]), torch.cat(label[1:])
        p = (p.log() + without - bias).softmax(1)
        assert_close(p.sum(0), torch.bincount(label, minlength=classes).double(), rtol=1e-5, atol=1e-3)


def test_a_bias_of_what_is_sure_stays_finite() -> None:
    """Probabilities that are 0 and 1, wrongly, and a class that no pixel can have."""
    logits = 200.0 * F.one_hot(torch.arange(4).repeat(30) % 3, 4).t().view(1, 4, 12, 10)
    logits[:, 3] = -torch.inf
    target = torch.arange(4).repeat_interleave(30).view(1, 12, 10)
    for scale in (1.0, 0.01):
        rule = DatasetDecision(4)
        found = rule.fit([(scale * logits, target), (scale * logits, target.flip(1))])
        assert found.fitted >= found.usual
        assert rule.bias.isfinite().all()
        assert (rule.bias.abs() <= 2 * _fitting.BIAS_PASSES * decision.STEP).all()


def test_classes_of_the_mean() -> None:
    """Two classes of which the foreground alone is measured: the threshold is I / (1 + I)."""
    batches = []
    for logits, target in images(30, 14):
        p = logits.softmax(1)[:, 2]
        batches.append((torch.stack((1 - p, p), 1).log(), (target == 2).long()))
    rule = DatasetDecision(2, classes=[1])
    found = rule.fit(batches)
    best = max(
        lovasz.scores.iou(
            lovasz.scores.class_counts(_pairs(lambda x, t=t: (x.softmax(1)[:, 1] > t).long(), batches))
        )[1]
        for t in torch.linspace(0.05, 0.95, 91)
    )
    assert found.fitted == pytest.approx(best.item(), abs=5e-3)
    assert found.fitted > found.usual + 0.02
    decided = [rule(x) for x, _ in batches]
    lowest = min(x.softmax(1)[:, 1][d == 1].min() for (x, _), d in zip(batches, decided, strict=True))
    highest = max(x.softmax(1)[:, 1][d == 0].max() for (x, _), d in zip(batches, decided, strict=True))
    assert lowest >= highest  # a threshold

    ignored = DatasetDecision(2, ignore_index=0)
    assert ignored._counted.tolist() == [False, True]


def _pairs(rule, batches) -> torch.Tensor:
    metric = lovasz.metrics.ConfusionMatrix(batches[0][0].shape[1])
    for logits, target in batches:
        metric.update(rule(logits), target)
    return metric.compute()


def test_a_class_that_no_target_holds_is_favoured_no_more_than_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = [(logits, target.clamp(max=3)) for logits, target in images(30, 15)]
    rule = DatasetDecision(5)
    monkeypatch.setattr(_fitting, "SHRINKAGE", (1.0,))
    found = rule.fit(batches)
    assert found.fitted > found.usual
    assert rule.bias[4] == 0
    assert rule.factor[:4].max() > 1.2 * rule.factor[:4].min()
    assert rule.factor[4] == rule.factor[:4].min()
    assert rule.threshold[4] == rule.threshold[:4].max() > 0.1


def test_the_threshold_of_a_channel_is_the_best_of_all() -> None:
    batches = [(logits[:, :3], F.one_hot(target, 5).movedim(-1, 1)[:, :3]) for logits, target in images(40, 16)]
    rule = DatasetDecision(3, form="sigmoid")
    found = rule.fit(batches)
    scores = []
    for c in range(3):
        p = torch.cat([x[:, c].sigmoid().flatten() for x, _ in batches])
        truth = torch.cat([t[:, c].flatten() for _, t in batches]).bool()
        values = [((p > t) & truth).sum() / ((p > t) | truth).sum() for t in torch.linspace(0.01, 0.99, 99)]
        scores.append(max(values).item())
    assert found.trust == 1
    assert found.fitted == pytest.approx(sum(scores) / 3, abs=3e-3)
    assert found.fitted > found.usual + 0.03
    assert found.held_out == pytest.approx(found.fitted, abs=0.02)
    assert found.images == 40


def test_a_fitted_threshold_takes_the_pixels_that_the_curve_counts() -> None:
    """In float32 p > t of the rule is p >= t of the curve, for thresholds that are a float32 or between two."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.cat((torch.rand(50, generator=generator), torch.tensor([0.0, 1.0, 0.25, 1e-30])))
    for t in torch.cat((exact.double(), torch.rand(50, dtype=torch.float64, generator=generator))):
        near = t.float()
        beside = [torch.nextafter(near, torch.tensor(end)) for end in (-torch.inf, torch.inf)]
        p = torch.stack((near, *beside)).clamp(min=0)
        stored = decision.just_below(t[None])
        assert stored.dtype == torch.float32
        assert_close(p > stored, p.double() >= t, rtol=0, atol=0)
    assert decision.just_below(torch.tensor([0.5], dtype=torch.float64)).tolist() == [0.5]


@pytest.mark.parametrize("channels", [1, 3, 5])  # bins of which the one of 1/2 stands for a little less, and more
@pytest.mark.parametrize("values", [[0.0, -2.0], [0.0, 0.5, -0.5], [-200.0, -300.0], [-200.0, 3.0]])
def test_ties_are_scored_as_they_are_decided(values: list[float], channels: int) -> None:
    """Logits of a few values, among them 0 (p = 1/2) and some of p = 0 in float32; any may be a threshold."""
    generator = torch.Generator().manual_seed(0)
    shape = 3, channels, 8, 8
    logits = torch.tensor(values)[torch.randint(len(values), shape, generator=generator)]
    target = (torch.rand(shape, generator=generator) < 0.4).long()

    def score(mask: torch.Tensor) -> float:
        tp = (mask & (target == 1)).sum((0, 2, 3))
        return (tp / (mask | (target == 1)).sum((0, 2, 3))).mean().item()

    rule = DatasetDecision(channels, form="sigmoid")
    found = rule.fit([(logits, target)])
    assert found.usual == pytest.approx(score(logits > 0))
    assert found.fitted == pytest.approx(score(rule(logits)))
    best, _ = cases.count(logits, target, form="sigmoid").threshold_curve().best()
    rule.set_rule(_fitting.Rule(torch.ones(channels), best, torch.zeros(channels)))
    assert_close(rule(logits), logits.sigmoid().double() >= best.view(1, -1, 1, 1), rtol=0, atol=0)


def test_batches_may_be_of_any_size_and_images_of_any_number() -> None:
    batches = images(13, 17)
    for form in ("softmax", "sigmoid"):
        given = batches if form == "softmax" else [(x, F.one_hot(t, 5).movedim(-1, 1)) for x, t in batches]
        joined = [
            tuple(torch.cat(part) for part in zip(*given[a:b], strict=True)) for a, b in ((0, 4), (4, 5), (5, 13))
        ]
        one, other = DatasetDecision(5, form=form), DatasetDecision(5, form=form)
        assert one.fit(given) == other.fit(joined)
        assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


class Shuffled:
    """Batches in another order each time."""

    def __init__(self, batches):
        self.batches, self.times = batches, 0

    def __iter__(self):
        self.times += 1
        return iter(self.batches[self.times :] + self.batches[: self.times])


class Growing(Shuffled):
    """One more batch in the last pass."""

    def __iter__(self):
        self.times += 1
        return iter(self.batches if self.times < 15 else self.batches * 2)


def test_what_cannot_be_fitted_is_named_and_changes_nothing() -> None:
    batches = images(3, 18)
    rule = DatasetDecision(5)
    before = copy.deepcopy(rule.state_dict())
    for given, error, message in [
        (iter(batches), TypeError, "gone through again, got list_iterator"),
        (Shuffled(batches), ValueError, "the same images in the same order"),
        (Growing(batches), ValueError, "the same images in the same order"),
        ([], ValueError, "must hold a pixel that counts"),
        ([(batches[0][0], torch.full((1, 24, 30), -100))], ValueError, "must hold a pixel that counts"),
        ([batches[0][0]], TypeError, r"batches must hold \(logits, target\)"),
        ([batches[0] + batches[0]], TypeError, "got 4 values"),
        ([(torch.zeros(1, 4, 24, 30), batches[0][1])], ValueError, "logits must have 5 classes, got 4"),
        ([(batches[0][0], batches[0][1] + 3)], ValueError, "target must hold classes 0 to 4"),
    ]:
        with pytest.raises(error, match=message):
            rule.fit(given)
        assert_close(rule.state_dict(), before, rtol=0, atol=0)
    with pytest.raises(ValueError, match="logits must have 5 classes"):
        rule(torch.zeros(1, 4, 3, 3))
    for given, message in [({"num_classes": 1}, 'at least 2, got 1; for one channel form="sigmoid"'),
                           ({"num_classes": 3, "classes": [3]}, "classes must be"),
                           ({"num_classes": 3, "classes": [0], "ignore_index": 0}, "does not leave out"),
                           ({"num_classes": 3, "upsample": "cubic"}, "upsample must be")]:  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=message):
            DatasetDecision(**given)


def test_progress_counts_the_passes() -> None:
    told: list[tuple[int, int]] = []
    DatasetDecision(5).fit(images(2, 19), progress=lambda done, of: told.append((done, of)))
    assert told == [(n, 15) for n in range(1, 16)]


def _fitted_by(rank, world, form):
    batches = images(7, 21)
    if form == "sigmoid":
        batches = [(x, F.one_hot(t, 5).movedim(-1, 1)) for x, t in batches]
    alone = DatasetDecision(5, form=form)
    expected = alone.fit(batches)
    rule = DatasetDecision(5, form=form)
    # Blocks of images, of which the folds of all are made: three and four; then all in one process.
    found = rule.fit(batches[:3] if rank == 0 else batches[3:], group="world"), rule.state_dict()
    rule = DatasetDecision(5, form=form)
    assert rule.fit(batches if rank == 0 else [], group="world") == expected
    assert_close(rule.state_dict(), alone.state_dict(), rtol=0, atol=0)
    return expected, *found


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_processes_fit_one_rule_to_the_images_of_all(form: str, tmp_path) -> None:
    (expected, first, rule), (_, second, other) = run(_fitted_by, 2, tmp_path, form)
    assert first == second
    assert_close(rule, other, rtol=0, atol=0)
    assert (first.images, first.usual) == (7, expected.usual)
    assert first.fitted == pytest.approx(expected.fitted, abs=0.01)  # the folds are others


def test_the_rule_is_saved_exported_and_shown(tmp_path) -> None:
    rule = DatasetDecision(5, measure=Tversky(0.5, 1.5), ignore_index=255)
    rule.fit(images(10, 22))
    assert "rule: " in repr(rule)
    assert "Tversky" in repr(rule)
    assert f"{rule.factor[2]:.3g} (p - {rule.threshold[2]:.3g})" in repr(rule)
    assert "bias" not in repr(DatasetDecision(5))
    rule.bias.copy_(torch.tensor([0.0, 0.0, -0.125, 0.0, 0.0]))
    assert "bias: 0, 0, -0.125, 0, 0" in repr(rule)
    again = DatasetDecision(5)
    again.load_state_dict(rule.state_dict())
    logits = torch.cat([logits for logits, _ in images(2, 23)])
    labels = rule(logits)
    assert (labels != argmax(logits)).any()
    for other in (again, copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):
        assert_close(other(logits), labels, rtol=0, atol=0)
    before = DatasetDecision(5)
    before.load_state_dict(
        {name: rule.state_dict()[name] for name in ("factor", "threshold")}
    )  # of an older version
    assert (before.bias == 0).all()
    assert_close(before.factor, rule.factor, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="Missing key"):
        before.load_state_dict({})
    model = torch.nn.Sequential(torch.nn.Identity(), rule).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (logits,), dynamic_shapes=({0: batch},))
    assert_close(program.module()(logits[:1]), labels[:1], rtol=0, atol=0)
    assert_close(torch.compile(rule, fullgraph=True, backend="aot_eager")(logits), labels, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_the_rule_of_a_network_of_another_precision_is_the_same(kind: torch.dtype) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(5, 5, 1), DatasetDecision(5))
    rule = network[1]
    rule.factor.copy_(torch.linspace(0.3, 1.7, 5))
    rule.threshold.copy_(torch.linspace(0.01, 0.4, 5))
    before = copy.deepcopy(rule.state_dict())
    for moved in (network.to(kind), network.to("cpu", kind), copy.deepcopy(network)):
        assert moved[0].weight.dtype == kind
        assert_close(moved[1].state_dict(), before, rtol=0, atol=0)
        assert set(dict(moved[1].named_buffers())) == set(before)
        assert moved[1](torch.zeros(1, 5, 2, 2, dtype=kind)).shape == (1, 2, 2)


def test_the_rule_moves_to_another_device() -> None:
    rule = torch.nn.Sequential(DatasetDecision(5)).to("meta", torch.float16)[0]
    assert {(one.device.type, one.dtype) for one in rule.buffers()} == {("meta", torch.float32)}
    assert {one.device.type for one in rule.to_empty(device="cpu").buffers()} == {"cpu"}


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_onnx_gives_the_same_labels(form: str, tmp_path) -> None:
    rule = DatasetDecision(5, form=form, upsample="bilinear")
    rule.threshold.copy_(torch.linspace(0.1, 0.4, 5))
    if rule.bias is not None:
        rule.bias.copy_(torch.linspace(-1, 1, 5))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rule = rule

        def forward(self, x):
            return self.rule(x, size=(48, 60))

    logits = images(1, 24)[0][0]
    program = torch.onnx.export(Network().eval(), (logits,), dynamo=True, verbose=False)
    program.save(str(tmp_path / "rule.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "rule.onnx"))
    (found,) = session.run(None, {session.get_inputs()[0].name: logits.numpy()})
    assert (torch.from_numpy(found) != rule(logits, size=(48, 60))).double().mean() < 1e-3
