"""What may be passed, and the message for what may not: the argument, the expected, the received."""

import re
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import lovasz
import lovasz.metrics
from lovasz import lovasz_cross_entropy, lovasz_softmax
from tests.core.cases import lovasz_hinge, lovasz_sigmoid, random
from tests.core.oracle import gradient

MODES = ("auto", 512, None)
#: Calls of Python that check the arguments of a loss, all at their defaults but the bins.
MOST_CHECKS = 16
ALL = (lovasz_softmax, lovasz_sigmoid, lovasz_hinge)


def softmax_input(*shape, dtype=torch.float32):
    logits, target = random("softmax", shape or (2, 3, 4, 5))
    return logits.to(dtype), target


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 7), (2, 3, 4, 5), (2, 3, 4, 5, 6), (40, 3)])
def test_softmax_takes_0_to_3_spatial_axes(shape, bins):
    logits, target = random("softmax", shape)
    flat = logits.movedim(1, -1).reshape(-1, 3)
    found = lovasz_softmax(logits, target, bins=bins)
    assert_close(found, lovasz_softmax(flat, target.flatten(), bins=bins))


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("loss", [lovasz_sigmoid, lovasz_hinge])
@pytest.mark.parametrize("shape", [(40, 3), (2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_multilabel_is_the_mean_of_its_channels(shape, loss, bins):
    logits, target = random("sigmoid", shape)
    channels = [loss(logits[:, c].flatten(), target[:, c].flatten(), bins=bins) for c in range(3)]
    assert_close(loss(logits, target, bins=bins), torch.stack(channels).mean())
    assert_close(loss(logits, target, bins=bins, reduction="none"), torch.stack(channels))


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("loss", [lovasz_sigmoid, lovasz_hinge])
@pytest.mark.parametrize("spatial", [(), (7,), (4, 5), (3, 4, 5)])
def test_a_binary_head_may_come_with_or_without_a_channel_axis(spatial, loss, bins):
    logits, target = random("sigmoid", (6, 1, *spatial))
    expected = loss(logits.flatten(), target.flatten(), bins=bins)
    assert_close(loss(logits, target, bins=bins), expected)
    assert_close(loss(logits, target.squeeze(1), bins=bins), expected)
    assert_close(loss(logits.squeeze(1), target.squeeze(1), bins=bins, channels=False), expected)
    plain = getattr(lovasz, loss.__name__)
    assert_close(plain(logits, target, bins=bins), expected)
    assert_close(plain(logits, target.squeeze(1), bins=bins), expected)
    mask = target.squeeze(1) < 2
    assert_close(loss(logits.squeeze(1), target.squeeze(1), mask=mask, bins=bins, channels=False), expected)


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 50), (2, 3, 4, 5)])
@pytest.mark.parametrize("loss", [lovasz.lovasz_sigmoid, lovasz.lovasz_hinge])
def test_where_the_shape_leaves_it_open_channels_must_say_what_axis_1_is(shape, loss):
    logits, target = random("sigmoid", shape)
    several = "(P, C)" if len(shape) == 2 else "(N, C, *)"
    said = (
        f"channels must say what axis 1 of logits {shape} is, which their shape does not: pass channels=True for "
    )
    with pytest.raises(
        ValueError, match=re.escape(f"{said}{several}, one mask per channel, or channels=False for")
    ):
        loss(logits, target)
    by_channel = [loss(logits[:, c].flatten(), target[:, c].flatten()) for c in range(3)]
    assert_close(loss(logits, target, channels=True, reduction="none"), torch.stack(by_channel))
    assert_close(loss(logits, target, channels=False), loss(logits.flatten(), target.flatten()))
    per_image = [loss(one.flatten(), label.flatten()) for one, label in zip(logits, target, strict=True)]
    assert_close(loss(logits, target, channels=False, per_image=True), torch.stack(per_image).mean())


def test_one_loss_is_not_the_other():
    logits, target = random("sigmoid", (2, 3, 50))
    found = [lovasz.lovasz_sigmoid(logits, target, channels=channels).item() for channels in (True, False)]
    assert abs(found[0] - found[1]) > 1e-3


@pytest.mark.parametrize(
    ("upsample", "shape", "fine", "channels"),
    [
        ("linear", (2, 3, 10), (2, 3, 20), True),
        ("bilinear", (2, 3, 10), (2, 6, 20), False),
        ("bilinear", (2, 1, 10), (2, 4, 20), False),
        ("bilinear", (2, 3, 4, 5), (2, 3, 8, 10), True),
        ("trilinear", (2, 3, 4, 5), (2, 6, 8, 10), False),
    ],
)
def test_the_interpolation_says_how_many_axes_are_spatial(upsample, shape, fine, channels):
    logits, target = random("sigmoid", shape)[0], random("sigmoid", fine)[1]
    for loss in (lovasz.lovasz_sigmoid, lovasz.lovasz_hinge):
        found = loss(logits, target, upsample=upsample)
        assert_close(found, loss(logits, target, upsample=upsample, channels=channels))


def test_counts_and_curves_know_their_channels():
    logits, target = random("sigmoid", (2, 3, 50))
    with pytest.raises(ValueError, match="channels must say"):
        lovasz.count(logits, target, form="sigmoid")
    counts = lovasz.count(logits, target, form="sigmoid", channels=True)
    assert counts.table.shape[1] == 3
    metric = lovasz.metrics.JaccardCurve(3, form="sigmoid")
    metric.update(logits, target)
    assert_close(metric.table, counts.table[0])
    with pytest.raises(ValueError, match="channels is for the sigmoid and the hinge, got True for the softmax"):
        lovasz.count(logits, target[:, 0], channels=True)


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", ALL)
def test_every_floating_type(loss, dtype, bins):
    form = loss.__name__.removeprefix("lovasz_")
    logits, target = random(form, (2, 3, 30, 30))
    logits = logits.to(dtype).requires_grad_()
    value = loss(logits, target, bins=bins)
    assert value.dtype == dtype
    exact = logits.detach().double().requires_grad_()
    expected = loss(exact, target, bins=None)
    eps = torch.finfo(dtype).eps
    tolerance = 1e-3 if bins == 512 else 1e-6
    assert_close(value.double(), expected, rtol=eps + tolerance, atol=0)
    g, h = gradient(value, logits), gradient(expected, exact)
    assert torch.autograd.grad(loss(logits, target, bins=bins), logits)[0].dtype == dtype
    assert (g - h).norm() <= (0.03 if bins == 512 else 2e-3 + 2 * eps) * h.norm() + 1e-4 * (eps > 1e-4)


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize(
    "dtype",
    [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64],
)
def test_every_integer_type_of_target(dtype, bins):
    logits, target = softmax_input()
    assert_close(lovasz_softmax(logits, target.to(dtype), bins=bins), lovasz_softmax(logits, target, bins=bins))
    binary, labels = random("sigmoid", (2, 3, 4, 5))
    for loss in (lovasz_sigmoid, lovasz_hinge):
        assert_close(loss(binary, labels.to(dtype), bins=bins), loss(binary, labels, bins=bins))


@pytest.mark.parametrize("bins", MODES)
def test_bool_targets(bins):
    logits, labels = random("sigmoid", (2, 3, 4, 5))
    for loss in (lovasz_sigmoid, lovasz_hinge):
        assert_close(loss(logits, labels.bool(), bins=bins), loss(logits, labels, bins=bins))
    two, target = softmax_input(2, 2, 4, 5)
    assert_close(lovasz_softmax(two, target.bool(), bins=bins), lovasz_softmax(two, target, bins=bins))


@pytest.mark.parametrize("bins", MODES)
def test_a_uint64_label_that_would_wrap_to_an_ignored_one_is_an_error(bins):
    logits, target = softmax_input()
    target[0, 0, 0] = -100
    wrapped = target.view(torch.uint64)  # 2^64 - 100
    with pytest.raises(ValueError, match="got 1 other"):
        lovasz_softmax(logits, wrapped, bins=bins)


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("loss", ALL)
def test_labels_out_of_range_are_named_with_their_number(loss, bins):
    form = loss.__name__.removeprefix("lovasz_")
    logits, target = random(form, (2, 3, 4, 5))
    target[0, ..., 0, :2] = 7
    target[1, ..., 0, 0] = -3
    sevens, others = int((target == 7).sum()), int((target == -3).sum())
    with pytest.raises(ValueError, match=re.escape(f"got {sevens + others} other: -3 ({others}x), 7 ({sevens}x)")):
        loss(logits, target, bins=bins)
    loss(logits, target, ignore_index=[7, -3], bins=bins)
    mask = (target >= 0) & (target < 7)
    assert_close(loss(logits, target, mask=mask, bins=bins), loss(logits, target, ignore_index=(7, -3), bins=bins))


def test_a_binary_target_for_one_softmax_channel_points_to_the_sigmoid():
    with pytest.raises(ValueError, match="one channel and a sigmoid"):
        lovasz_softmax(torch.zeros(2, 1, 4, 4), torch.ones(2, 4, 4, dtype=torch.long))


F = torch.zeros
L = lambda *shape: torch.zeros(*shape, dtype=torch.long)  # noqa: E731
WRONG = [
    (lovasz_softmax, (F(2, 19, 64, 64), L(2, 64, 32)), {}, ValueError,
     "target must be (N, *) matching logits (2, 19, 64, 64): (2, 64, 64), got (2, 64, 32)"),
    (lovasz_softmax, (F(2, 3, 4, 4), L(2, 1, 4, 4)), {}, ValueError, "got (2, 1, 4, 4); use target.squeeze(1)"),
    (lovasz_softmax, (F(5), L(5)), {}, ValueError, "logits must be (N, C, *) with C >= 1, got (5,)"),
    (lovasz_softmax, (F(2, 0, 4), L(2, 4)), {}, ValueError, "with C >= 1, got (2, 0, 4)"),
    (lovasz_softmax, (F(2, 3, 4), F(2, 4)), {}, TypeError, "soft targets have no place"),
    (lovasz_sigmoid, (F(2, 3, 4, 4), F(2, 3, 4, 4)), {}, TypeError, "target.long()"),
    (lovasz_softmax, (L(2, 3, 4), L(2, 4)), {}, TypeError, "logits must be float64, float32, bfloat16 or"),
    (lovasz_softmax, ([[1.0]], L(1)), {}, TypeError, "logits must be a torch.Tensor, got list"),
    (lovasz_softmax, (F(2, 3, 4), [[1]]), {}, TypeError, "target must be a torch.Tensor, got list"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"mask": L(2, 4)}, TypeError, "mask must be a bool tensor"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"mask": L(2, 5).bool()}, ValueError,
     "mask must have the shape of the labels, (2, 4), got (2, 5)"),
    (lovasz_sigmoid, (F(2, 3, 4, 4), L(2, 3, 4, 4)), {"mask": L(2, 4).bool()}, ValueError,
     "mask must be (2, 3, 4, 4), or (2, 4, 4) for all channels, got (2, 4)"),
    (lovasz_sigmoid, (F(2, 3, 4, 4), L(2, 4, 4)), {}, ValueError, "for one label per pixel use lovasz_softmax"),
    (lovasz_hinge, (F(2, 1, 4, 4), L(2, 4, 5)), {}, ValueError, "target must match logits (2, 1, 4, 4)"),
    (lovasz_hinge, (F(()), L(())), {}, ValueError, "at least one axis"),
    (lovasz_sigmoid, (F(2, 0, 4, 4), L(2, 0, 4, 4)), {}, ValueError, "at least one channel"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"reduction": "average"}, ValueError,
     "reduction must be one of 'mean', 'sum', 'none', got 'average'"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"classes": "presnt"}, ValueError,
     "classes must be one of 'present', 'all', got 'presnt'"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"classes": [0, 3]}, ValueError, "from 0 to 2, got [0, 3]"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"classes": [1, 1]}, ValueError, "different class indices"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"classes": []}, ValueError, "got []"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"classes": 1}, ValueError, "got 1"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"weight": F(4)}, ValueError,
     "weight must have shape (3,), got (4,)"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"weight": [1, 1, 1]}, TypeError, "got list"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"weight": F(3).requires_grad_()}, ValueError,
     "weight must not require a gradient"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"weight": L(3)}, TypeError, "got torch.int64"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"bins": 8}, ValueError, "from 16 to 65536, got 8"),
    (lovasz_softmax, (F(2, 20000, 1), L(2, 1)), {"bins": 65536}, ValueError, "bins must be fewer for 20000"),
    (lovasz.count, (F(2, 200000, 1), L(2, 1)), {}, ValueError,
     "bins must be fewer for 200000 classes: at most 5352 bins fit a table below 2^31, got 8192"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"bins": True}, ValueError, "got True"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"bins": "many"}, ValueError, "got 'many'"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"bins": 512.0}, ValueError, "got 512.0"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"ignore_index": None}, TypeError, "ignore_index must be an int"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"ignore_index": [1.5]}, TypeError, "got [1.5]"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"ignore_index": True}, TypeError, "got True"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"ignore_index": 2**64}, ValueError, "must fit into 64 bits"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"group": object()}, TypeError,
     'group must be "world", a torch.distributed.ProcessGroup or None, got object'),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"group": torch.distributed.GroupMember.NON_GROUP_MEMBER}, ValueError,
     "group must contain this process"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4) + 7), {"counts": lovasz.count(F(2, 3, 4), L(2, 4))}, ValueError,
     "got 8 other: 7 (8x)"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)),
     {"counts": lovasz.Counts(lovasz.count(F(2, 3, 4), L(2, 4)).table.to("meta"), "softmax")}, ValueError,
     "counts must be on the device of the logits, cpu, got meta"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)),
     {"counts": lovasz.Counts(lovasz.count(F(2, 3, 4), L(2, 4)).table.int(), "softmax")}, TypeError,
     "counts.table must be int64 (1, C, 2, K + 1), got torch.int32 (1, 3, 2, 16394)"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"counts": 1}, TypeError,
     "counts must be lovasz.Counts or None, got int"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"counts": lovasz.count(F(2, 4, 4), L(2, 4))}, ValueError,
     "counts must be of form 'softmax' and 3 classes, as the logits, got 'softmax' and 4"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"counts": lovasz.count(F(2, 3, 4), L(2, 4), per_image=True)},
     ValueError, "counts must be pooled"),
    (lovasz_softmax, (F(2, 3, 4), L(2, 4)), {"counts": lovasz.count(F(2, 3, 4), L(2, 4), bins=64), "bins": 32},
     ValueError, 'bins must be "auto" or that of counts, 64, got 32'),
    (lovasz_cross_entropy, (F(2, 3, 4), L(2, 4)), {"reduction": "none"}, ValueError, "'mean', 'sum', got 'none'"),
    (lovasz_cross_entropy, (F(2, 3, 4), L(2, 4)), {"label_smoothing": 1.5}, ValueError, "from 0 to 1, got 1.5"),
    (lovasz.count, (F(2, 3, 4), L(2, 4)), {"bins": None}, ValueError, "counts always count"),
    (lovasz.count, (F(2, 3, 4), L(2, 4)), {"form": "probs"}, ValueError, "form must be one of 'softmax'"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "args", "arguments", "error", "message"), WRONG,
                         ids=[w[4][:60] for w in WRONG])  # fmt: skip
def test_messages(function, args, arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        function(*args, **arguments)


def test_numpy_integers_are_integers():
    numpy = pytest.importorskip("numpy")
    logits, target = softmax_input()
    target[0, 0] = 255
    expected = lovasz_softmax(logits, target, ignore_index=[255, 254], classes=[1], bins=64)
    n255, n254, n1, n64 = map(numpy.int64, (255, 254, 1, 64))
    found = lovasz_softmax(logits, target, ignore_index=[n255, n254], classes=[n1], bins=n64)
    assert_close(found, expected)
    assert_close(
        lovasz_softmax(logits, target, ignore_index=n255), lovasz_softmax(logits, target, ignore_index=255)
    )


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("bad", [{"classes": [9]}, {"weight": torch.ones(9)}])
def test_arguments_are_checked_before_the_pixels(bad, bins):
    """The target is wrong too, which only reading all of it can tell."""
    logits, target = softmax_input()
    with pytest.raises(ValueError, match=next(iter(bad))):
        lovasz_softmax(logits, target + 50, bins=bins, **bad)


def test_everything_after_target_is_keyword_only():
    with pytest.raises(TypeError):
        lovasz_softmax(F(2, 3, 4), L(2, 4), 255)


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("loss", ALL)
def test_all_pixels_ignored_is_a_zero_with_zero_gradients(loss, bins):
    logits, target = random(loss.__name__.removeprefix("lovasz_"), (2, 3, 4, 5))
    for arguments in ({"ignore_index": [0, 1, 2]}, {"mask": torch.zeros_like(target, dtype=torch.bool)}):
        for per_image in (False, True):
            x = logits.clone().requires_grad_()
            value = loss(x, target, bins=bins, per_image=per_image, **arguments)
            value.backward()
            assert_close(value.detach(), torch.tensor(0.0))
            assert_close(x.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_logit_that_is_not_finite_gives_nan_as_cross_entropy_does(loss, value, bins):
    logits, target = random(loss.__name__.removeprefix("lovasz_"), (2, 3, 4, 5))
    logits[1, 2, 1, 1] = value
    x = logits.requires_grad_()
    result = loss(x, target, bins=bins)
    result.backward()
    assert result.isnan()
    assert x.grad.isnan().any()


@pytest.mark.parametrize("bins", MODES)
def test_minus_infinity_is_as_in_cross_entropy(bins):
    """A class masked out by -inf is fine anywhere but at its own pixels."""
    logits, target = softmax_input()
    target[target == 2] = 0
    logits[:, 2] = -torch.inf
    x = logits.clone().requires_grad_()
    result = lovasz_softmax(x, target, bins=bins)
    result.backward()
    assert torch.nn.functional.cross_entropy(logits, target).isfinite()
    assert_close(result.detach(), lovasz_softmax(logits[:, :2], target, bins=bins))
    assert x.grad.isfinite().all()
    target[0, 0, 0] = 2
    assert torch.nn.functional.cross_entropy(logits, target).isinf()
    assert lovasz_softmax(logits, target, bins=bins).isnan()


@pytest.mark.parametrize("bins", MODES)
def test_the_loss_and_the_gradient_agree_on_what_is_not_finite(bins):
    """A channel that takes no part may hold NaN; a class masked out at its own pixel spoils all classes."""
    logits, target = random("sigmoid", (1, 2, 20, 20))
    target[:, 0] = 0
    logits[0, 0, 0, 0] = torch.nan
    x = logits.requires_grad_()
    loss = lovasz_sigmoid(x, target, classes="present", bins=bins)
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()

    y = torch.randn(6, 3)
    y[0, 0] = -torch.inf
    y.requires_grad_()
    per_class = lovasz_softmax(y, torch.tensor([0, 1, 2, 0, 1, 2]), bins=bins, reduction="none")
    per_class[1].backward()
    assert per_class.isnan().all()
    assert y.grad.isnan().any()


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("loss", ALL)
def test_what_is_ignored_may_hold_anything(loss, bins):
    logits, target = random(loss.__name__.removeprefix("lovasz_"), (2, 3, 4, 5))
    void = target.clone()
    void[1] = 255
    expected = loss(logits[:1], target[:1], bins=bins)
    logits[1] = torch.nan
    x = logits.requires_grad_()
    result = loss(x, void, ignore_index=255, bins=bins)
    result.backward()
    assert_close(result.detach(), expected)
    assert_close(x.grad[1], torch.zeros_like(x.grad[1]))


@pytest.mark.parametrize("bins", MODES)
def test_an_image_whose_classes_have_no_weight_is_left_out(bins):
    logits, target = softmax_input(2, 2, 4, 4)
    target[0], target[1] = 0, 1
    weighted = {"weight": torch.tensor([1.0, 0.0]), "per_image": True, "bins": bins}
    expected = lovasz_softmax(logits[:1], target[:1], **weighted)
    assert_close(lovasz_softmax(logits, target, **weighted), expected)


@pytest.mark.parametrize("bins", MODES)
def test_one_channel_and_one_spatial_axis(bins):
    """(N, 1, L) has a channel axis, so that a mask may lack it."""
    logits, target = random("sigmoid", (4, 1, 7))
    mask = torch.rand(4, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    expected = lovasz_sigmoid(logits.flatten(), target.flatten(), mask=mask.flatten(), bins=bins)
    for m in (mask, mask[:, None]):
        assert_close(lovasz_sigmoid(logits, target, mask=m, bins=bins), expected)
        assert_close(lovasz_sigmoid(logits, target.squeeze(1), mask=m, bins=bins), expected)


@pytest.mark.parametrize("bins", MODES)
def test_reductions_and_weights(bins):
    logits, target = softmax_input(3, 4, 6, 6)
    target[target == 3] = 0  # class 3 is absent
    target[0] = target[0].clamp(max=0)  # image 0 holds class 0 alone
    per = lovasz_softmax(logits, target, bins=bins, reduction="none", per_image=True)
    assert per.shape == (3, 4)
    assert_close(per.isnan(), torch.tensor([[(i == 0 and c > 0) or c == 3 for c in range(4)] for i in range(3)]))
    plain = {"bins": bins, "per_image": True}
    assert_close(lovasz_softmax(logits, target, **plain), per.nanmean(1).mean())
    assert_close(lovasz_softmax(logits, target, reduction="sum", **plain), per.nansum())
    weight = torch.tensor([1.0, 2.0, 3.0, 100.0])
    weighted = {"weight": weight, **plain}
    expected = ((per * weight).nansum(1) / (weight * ~per.isnan()).sum(1)).mean()
    assert_close(lovasz_softmax(logits, target, **weighted), expected)
    assert_close(lovasz_softmax(logits, target, reduction="none", **weighted), per * weight, equal_nan=True)
    nothing = lovasz_softmax(logits, target, weight=torch.zeros(4), bins=bins)
    assert_close(nothing, torch.tensor(0.0))


@pytest.mark.parametrize("bins", MODES)
def test_an_absent_class_in_reduction_none_sends_no_gradient(bins):
    logits, target = softmax_input()
    x = logits.requires_grad_()
    lovasz_softmax(x, target.clamp(max=1), bins=bins, reduction="none").sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("bins", MODES)
def test_a_void_image_is_left_out_of_the_mean_over_images(bins):
    logits, target = softmax_input(3, 3, 6, 6)
    target[1] = 255
    both = lovasz_softmax(logits[[0, 2]], target[[0, 2]], per_image=True, bins=bins)
    assert_close(lovasz_softmax(logits, target, per_image=True, ignore_index=255, bins=bins), both)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 0.5])])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("bins", MODES)
def test_lovasz_cross_entropy_is_the_sum_of_the_two(bins, reduction, weight, smoothing):
    logits, target = softmax_input()
    target[0, 0] = 255
    same = {"weight": weight, "reduction": reduction, "ignore_index": 255}
    ce = torch.nn.functional.cross_entropy(logits, target, label_smoothing=smoothing, **same)
    lv = lovasz_softmax(logits, target, bins=bins, **same)
    both = lovasz_cross_entropy(logits, target, bins=bins, label_smoothing=smoothing, lovasz_weight=0.3,
                                ce_weight=0.7, **same)  # fmt: skip
    assert_close(both, 0.7 * ce + 0.3 * lv)


@pytest.mark.parametrize("bins", MODES)
def test_lovasz_cross_entropy_with_masks_and_nothing_valid(bins):
    logits, target = softmax_input()
    mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    void = target.masked_fill(~mask, -100)
    expected = lovasz_cross_entropy(logits, void, bins=bins)
    assert_close(lovasz_cross_entropy(logits, target, mask=mask, bins=bins), expected)
    logits[~mask.unsqueeze(1).expand_as(logits)] = torch.nan
    x = logits.clone().requires_grad_()
    lovasz_cross_entropy(x, target, mask=mask, bins=bins).backward()
    assert x.grad.isfinite().all()
    x = logits.requires_grad_()
    nothing = lovasz_cross_entropy(x, target, mask=torch.zeros_like(mask), bins=bins)
    nothing.backward()
    assert_close(nothing.detach(), torch.tensor(0.0))
    assert_close(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("loss", [*ALL, lovasz_cross_entropy])
def test_the_defaults_pass_the_checks_in_few_steps(loss):
    """And PyTorch does not take the signature of the gradient apart at every call."""
    shape = (2, 4, 16, 16) if loss in (lovasz_softmax, lovasz_cross_entropy) else (2, 16, 16)
    logits = torch.zeros(shape, requires_grad=True)
    target = torch.zeros(2, 16, 16, dtype=torch.int64)
    calls = []

    def note(frame, event, _):
        if event == "call" and "_kernels" not in Path(frame.f_back.f_code.co_filename).parts:
            calls.append((Path(frame.f_code.co_filename).parts, frame.f_code.co_name))

    loss(logits, target, bins=64)
    sys.setprofile(note)
    try:
        loss(logits, target, bins=64)
    finally:
        sys.setprofile(None)
    checks = [name for parts, name in calls if "_inputs" in parts]
    assert 0 < len(checks) <= MOST_CHECKS, checks
    assert "signature" not in [name for _, name in calls]
