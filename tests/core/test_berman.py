"""The published names: signatures, values and gradients of the definition, and each row of docs/berman.md."""

import inspect
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import lovasz
from lovasz import berman

ROOT = Path(__file__).parents[2]
VOID = 255
#: Images of few pixels, which are sorted, and of many, which are counted: shape (N, H, W) and tolerance.
SIZES = {"sorted": ((3, 6, 7), 1e-6), "counted": ((2, 131, 127), 2e-5)}
sizes = pytest.mark.parametrize(("shape", "atol"), SIZES.values(), ids=SIZES)
every_ignore = pytest.mark.parametrize("ignore", [None, VOID])
every_mean = pytest.mark.parametrize("per_image", [False, True])

PUBLISHED = {
    "lovasz_grad": "(gt_sorted)",
    "iou_binary": "(preds, labels, EMPTY=1.0, ignore=None, per_image=True)",
    "iou": "(preds, labels, C, EMPTY=1.0, ignore=None, per_image=False)",
    "lovasz_hinge": "(logits, labels, per_image=True, ignore=None)",
    "lovasz_hinge_flat": "(logits, labels)",
    "flatten_binary_scores": "(scores, labels, ignore=None)",
    "binary_xloss": "(logits, labels, ignore=None)",
    "lovasz_softmax": "(probas, labels, classes='present', per_image=False, ignore=None)",
    "lovasz_softmax_flat": "(probas, labels, classes='present')",
    "flatten_probas": "(probas, labels, ignore=None)",
    "xloss": "(logits, labels, ignore=None)",
    "isnan": "(x)",
    "mean": "(l, ignore_nan=False, empty=0)",
}


# ---- the definition, in float64 ----


def extension(errors, foreground):
    """Σ (m_i - m_{i+1}) · J of the i largest errors, J = 1 - IoU from numbers of pixels."""
    m, order = errors.double().sort(descending=True)
    G, wrong = int(foreground.sum()), torch.arange(1, len(order) + 1)
    missed = foreground[order].long().cumsum(0)
    J = 1 - (G - missed).double() / (G + wrong - missed)
    return ((m - F.pad(m[1:], (0, 1))) * J).sum()


def softmax_by_definition(probas, labels, classes, ignore=None):
    """Probabilities (N, C, H, W), labels (N, H, W), all pixels one set; None where no pixel is valid."""
    valid = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
    if not valid.any():
        return None
    if classes == "present":
        classes = labels[valid].unique().tolist()
    elif classes == "all":
        classes = range(probas.shape[1])
    losses = []
    for c in classes:
        foreground = (labels == c)[valid]
        p = probas[:, c][valid]
        losses.append(extension(torch.where(foreground, 1 - p, p), foreground))
    return torch.stack(losses).mean()


def hinge_by_definition(logits, labels, ignore=None):
    valid = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
    if not valid.any():
        return logits.sum().double() * 0
    foreground = labels[valid] == 1
    margin = torch.where(foreground, logits[valid], -logits[valid])
    return extension((1 - margin).clamp(min=0), foreground)


def over_images(loss, x, labels, per_image):
    """The loss of all pixels, or the mean over the images that have one."""
    if not per_image:
        return loss(x, labels)
    losses = [loss(x[n : n + 1], labels[n : n + 1]) for n in range(len(x))]
    return torch.stack([value for value in losses if value is not None]).mean()


def assert_same_loss(actual, expected, x, atol):
    """Value, and gradient relative to its norm."""
    assert actual.dtype == x.dtype
    assert_close(actual.double(), expected.double(), rtol=atol, atol=atol)
    (got,) = torch.autograd.grad(actual, x)
    (right,) = torch.autograd.grad(expected, x)
    scale = right.norm().clamp(min=1e-30)
    counted = 5e-3 if atol > 1e-6 else 1e-6
    assert_close((got - right).norm() / scale, torch.zeros_like(scale), rtol=0, atol=counted)


def probabilities(shape, C=5, seed=0):
    """Softmax output as a leaf, labels of classes 0 .. C - 2 (the last is absent), some of them void."""
    generator = torch.Generator().manual_seed(seed)
    N, H, W = shape
    probas = torch.randn(N, C, H, W, generator=generator).softmax(1).requires_grad_()
    labels = torch.randint(0, C - 1, shape, generator=generator)
    return probas, labels


def scores(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = (2 * torch.randn(shape, generator=generator)).requires_grad_()
    return logits, (torch.rand(shape, generator=generator) < 0.3).long()


def with_void(labels, ignore):
    labels = labels.clone()
    if ignore is not None:
        labels[:, 1::3] = ignore
    return labels


# ---- names and arguments ----


def test_every_published_name_exists_and_a_star_import_brings_no_other():
    assert set(berman.__all__) == {*PUBLISHED, "StableBCELoss", "lovasz_softmax_logits"}
    assert len(berman.__all__) == len(set(berman.__all__)) == 15
    assert all(hasattr(berman, name) for name in berman.__all__)


def plain(signature):
    """Names, order, kinds and defaults, without annotations."""
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


@pytest.mark.parametrize(("name", "arguments"), PUBLISHED.items())
def test_a_name_takes_the_published_arguments(name, arguments):
    assert plain(inspect.signature(getattr(berman, name))) == arguments


def test_stable_bce_loss_is_a_module_with_the_published_arguments():
    assert issubclass(berman.StableBCELoss, torch.nn.Module)
    assert plain(inspect.signature(berman.StableBCELoss.forward)) == "(self, input, target)"
    assert plain(inspect.signature(berman.StableBCELoss)) in ("()", "(*args, **kwargs)")
    berman.StableBCELoss()


# ---- values and gradients of the losses ----


@sizes
@every_ignore
@every_mean
@pytest.mark.parametrize("classes", ["present", "all", [2], [3, 0, 4]], ids=str)
def test_lovasz_softmax_is_the_definition(shape, atol, classes, per_image, ignore):
    probas, labels = probabilities(shape)
    labels = with_void(labels, ignore)
    actual = berman.lovasz_softmax(probas, labels, classes, per_image, ignore)
    expected = over_images(lambda p, t: softmax_by_definition(p, t, classes, ignore), probas, labels, per_image)
    assert_same_loss(actual, expected, probas, atol)


@sizes
@pytest.mark.parametrize("classes", ["present", "all", [1, 2]], ids=str)
def test_lovasz_softmax_flat_is_the_definition(shape, atol, classes):
    probas, labels = probabilities(shape, seed=1)
    flat, flat_labels = berman.flatten_probas(probas, labels)
    actual = berman.lovasz_softmax_flat(flat, flat_labels, classes)
    assert_same_loss(actual, softmax_by_definition(probas, labels, classes), probas, atol)


@sizes
@every_ignore
@every_mean
@pytest.mark.parametrize("axis", ["none", "one"])
def test_lovasz_softmax_of_a_sigmoid_is_the_definition(shape, atol, per_image, ignore, axis):
    logits, labels = scores(shape, seed=2)
    labels = with_void(labels, ignore)
    probas = logits.detach().sigmoid().requires_grad_()
    pair = torch.stack((1 - probas, probas), 1)
    expected = over_images(lambda p, t: softmax_by_definition(p, t, [1], ignore), pair, labels, per_image)
    given = probas if axis == "none" else probas[:, None]
    actual = berman.lovasz_softmax(given, labels, classes=[1], per_image=per_image, ignore=ignore)
    assert_same_loss(actual, expected, probas, atol)


@sizes
@every_ignore
@every_mean
def test_lovasz_hinge_is_the_definition(shape, atol, per_image, ignore):
    logits, labels = scores(shape, seed=3)
    labels = with_void(labels, ignore)
    actual = berman.lovasz_hinge(logits, labels, per_image, ignore)
    expected = over_images(lambda x, t: hinge_by_definition(x, t, ignore), logits, labels, per_image)
    assert_same_loss(actual, expected, logits, atol)


@sizes
def test_lovasz_hinge_flat_is_the_definition(shape, atol):
    logits, labels = scores(shape, seed=4)
    actual = berman.lovasz_hinge_flat(logits.flatten(), labels.flatten())
    assert_same_loss(actual, hinge_by_definition(logits, labels), logits, atol)


def test_lovasz_hinge_counts_an_image_without_valid_pixels_as_a_zero():
    logits, labels = scores((3, 4, 5), seed=5)
    labels[1] = VOID
    actual = berman.lovasz_hinge(logits, labels, ignore=VOID)
    expected = over_images(lambda x, t: hinge_by_definition(x, t, VOID), logits, labels, True)
    assert_same_loss(actual, expected, logits, 1e-6)
    apart = [berman.lovasz_hinge(logits[n : n + 1], labels[n : n + 1], ignore=VOID) for n in (0, 1, 2)]
    assert_close(actual, torch.stack(apart).mean())


def test_labels_may_be_floats_and_may_have_an_axis_of_one():
    probas, labels = probabilities((2, 5, 6))
    expected = berman.lovasz_softmax(probas, labels)
    for same in (labels.float(), labels.double(), labels[:, None], labels.to(torch.uint8)):
        assert_close(berman.lovasz_softmax(probas, same), expected)
        assert_close(berman.flatten_probas(probas, same), berman.flatten_probas(probas, labels), check_dtype=False)
    logits, binary = scores((2, 5, 6))
    for x, t in ((logits, binary.float()), (logits[:, None], binary), (logits, binary[:, None])):
        assert_close(berman.lovasz_hinge(x, t), berman.lovasz_hinge(logits, binary))
    sigmoid = berman.lovasz_softmax(logits.sigmoid(), binary, classes=[1])
    for p, t in ((logits[:, None], binary[:, None]), (logits, binary[:, None]), (logits[:, None], binary)):
        assert_close(berman.lovasz_softmax(p.sigmoid(), t, classes=[1]), sigmoid)


@pytest.mark.parametrize("ignores", [[255], [255, 0], (-1,), []], ids=str)
@pytest.mark.parametrize("classes", ["present", "all", [1]], ids=str)
def test_lovasz_softmax_logits_leaves_out_a_list_of_labels(classes, ignores):
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(60, 4, generator=generator, requires_grad=True)
    labels = torch.randint(0, 3, (60,), generator=generator)
    for n, label in enumerate(ignores):
        labels[n::7] = label
    valid = ~torch.isin(labels, torch.tensor(ignores, dtype=torch.long))
    probas = logits.softmax(1)[valid].t()[None, :, None]
    expected = softmax_by_definition(probas, labels[valid][None, None], classes)
    actual = berman.lovasz_softmax_logits(logits, labels, classes, ignores=ignores)
    assert_same_loss(actual, expected, logits, 1e-6)


def test_lovasz_softmax_logits_ignores_255_by_default():
    logits, labels = torch.randn(9, 3), torch.tensor([0, 1, 2, 255, 0, 1, 255, 2, 1])
    valid = labels != 255
    expected = lovasz.lovasz_softmax(logits[valid], labels[valid])
    assert_close(berman.lovasz_softmax_logits(logits, labels), expected)


# ---- the other names ----


def test_lovasz_grad_is_the_growth_of_the_jaccard_loss():
    for order in ([1, 0, 1, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [1], [0]):
        f = torch.tensor(order)
        G, joined = f.sum(), torch.arange(1, len(f) + 1)
        J = 1 - (G - f.cumsum(0)).double() / (G + joined - f.cumsum(0))
        expected = J.diff(prepend=J.new_zeros(1)).float()
        for given in (f, f.float(), f.to(torch.uint8)):
            assert_close(berman.lovasz_grad(given), expected)


def test_iou_binary_is_the_percentage_over_images():
    preds = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    labels = torch.tensor([[1, 0, 0, 0], [0, 1, 1, VOID], [0, 0, 0, 0]])
    assert berman.iou_binary(preds, labels, ignore=VOID) == pytest.approx(100 * (0.5 + 1 + 1) / 3)
    assert berman.iou_binary(preds, labels, EMPTY=0.0, ignore=VOID) == pytest.approx(100 * (0.5 + 1) / 3)
    assert berman.iou_binary(preds, labels, per_image=False) == pytest.approx(100 * 3 / 4)
    ignored = torch.where(preds == 0, 1, preds)
    assert berman.iou_binary(ignored, labels, ignore=VOID, per_image=False) == pytest.approx(100 * 3 / 11)
    assert berman.iou_binary(ignored, labels, per_image=False) == pytest.approx(100 * 3 / 12)


def test_iou_is_an_array_of_percentages_without_the_ignored_class():
    preds = torch.tensor([[0, 0, 1, 1], [2, 1, 1, 3]])
    labels = torch.tensor([[0, 1, 1, 3], [2, 2, 1, 3]])
    batch = berman.iou(preds, labels, C=5)
    assert type(batch).__module__ == "numpy"
    assert batch.tolist() == pytest.approx([50, 100 * 2 / 5, 50, 50, 100])
    without = berman.iou(preds, labels, 5, EMPTY=0.0, ignore=3)
    assert without.tolist() == pytest.approx([50, 100 * 2 / 4, 50, 0])
    per_image = berman.iou(preds, labels, 5, per_image=True)
    assert per_image.tolist() == pytest.approx([75, 100 * (1 / 3 + 1 / 2) / 2, 75, 50, 100])
    for of in (berman.iou(preds.numpy(), labels.numpy(), 5), berman.iou(preds.float(), labels.byte(), 5)):
        assert of.tolist() == batch.tolist()


def test_mean_takes_values_generators_and_nan():
    nan = float("nan")
    assert berman.mean([1.0, 2.0, 6.0]) == 3
    assert berman.mean(v for v in (1, 2)) == 1.5
    assert berman.mean(iter([7])) == 7
    assert berman.isnan(berman.mean([1.0, nan]))
    assert berman.mean((v for v in (nan, 1.0, nan, 3.0)), ignore_nan=True) == 2
    assert berman.mean([]) == 0
    assert berman.mean([nan], ignore_nan=True, empty=-1) == -1
    with pytest.raises(ValueError, match="Empty mean"):
        berman.mean(iter([]), empty="raise")
    assert_close(berman.mean([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])]), torch.tensor([2.0, 3.0]))
    assert berman.isnan(nan)
    assert not berman.isnan(1.0)


def test_flatten_keeps_the_pixels_that_are_not_ignored_in_order():
    probas = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    labels = torch.tensor([[[0, 1], [2, 5]], [[5, 0], [1, 2]]])
    rows, kept = berman.flatten_probas(probas, labels, ignore=5)
    assert_close(rows[:, 1], torch.tensor([4.0, 5, 6, 17, 18, 19]))
    assert_close(kept, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert berman.flatten_probas(probas, labels)[0].shape == (8, 3)
    assert berman.flatten_probas(probas[:, 0], labels)[0].shape == (8, 1)
    values, kept = berman.flatten_binary_scores(probas[:, 1], labels, 5)
    assert_close(values, rows[:, 1])
    assert_close(kept, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert berman.flatten_binary_scores(probas[:, 1], labels)[0].shape == (8,)


def test_cross_entropies_are_those_of_pytorch():
    logits, labels = scores((2, 5, 6), seed=7)
    void = with_void(labels, VOID)
    valid = void != VOID
    expected = F.binary_cross_entropy_with_logits(logits[valid], void[valid].float())
    assert_close(berman.binary_xloss(logits, void, ignore=VOID), expected)
    expected = F.binary_cross_entropy_with_logits(logits, labels.float())
    for target in (labels, labels.bool(), labels.float()):
        assert_close(berman.binary_xloss(logits, target), expected)
        assert_close(berman.StableBCELoss()(logits, target), expected)
    x, (_, classes) = torch.randn(2, 5, 4, 4), probabilities((2, 4, 4))
    assert_close(berman.xloss(x, classes), F.cross_entropy(x, classes))
    classes = with_void(classes, VOID)
    assert_close(berman.xloss(x, classes.int()), F.cross_entropy(x, classes, ignore_index=VOID))


# ---- docs/berman.md, row by row: where the published file fails ----


def test_a_batch_of_void_pixels_is_a_zero_with_zero_gradients():
    probas, labels = probabilities((2, 4, 5))
    logits, _ = scores((2, 4, 5))
    void, x = torch.full_like(labels, VOID), torch.randn(2, 3, 4, 5, requires_grad=True)
    results = [
        (berman.lovasz_softmax(probas, void, per_image=per_image, ignore=VOID), probas)
        for per_image in (False, True)
    ]
    results += [
        (berman.lovasz_softmax_flat(*berman.flatten_probas(probas, void, VOID)), probas),
        (berman.lovasz_hinge(logits, void, ignore=VOID), logits),
        (berman.lovasz_hinge(logits, void, per_image=False, ignore=VOID), logits),
        (berman.lovasz_hinge_flat(*berman.flatten_binary_scores(logits, void, VOID)), logits),
        (berman.binary_xloss(logits, void, ignore=VOID), logits),
        (berman.xloss(x, void), x),
        (berman.xloss(x.half(), void), x),
        (berman.lovasz_softmax_logits(x[:, :, 0, 0], void[:, 0, 0]), x),
    ]
    for loss, leaf in results:
        assert_close(loss, torch.zeros_like(loss))
        assert loss.ndim == 0
        (grad,) = torch.autograd.grad(loss, leaf)
        assert_close(grad, torch.zeros_like(leaf))


def test_a_void_image_is_left_out_of_the_mean_over_images():
    probas, labels = probabilities((3, 5, 6))
    labels[1] = VOID
    actual = berman.lovasz_softmax(probas, labels, per_image=True, ignore=VOID)
    expected = over_images(
        lambda p, t: softmax_by_definition(p, t, "present", VOID), probas, labels, per_image=True
    )
    assert_same_loss(actual, expected, probas, 1e-6)
    rest = berman.lovasz_softmax(probas[::2], labels[::2], per_image=True, ignore=VOID)
    assert_close(actual, rest)


def test_one_valid_pixel_is_a_set_of_one():
    probas, labels = probabilities((2, 4, 5))
    void = torch.full_like(labels, VOID)
    void[1, 2, 3] = 2
    rows, kept = berman.flatten_probas(probas, void, VOID)
    assert rows.shape == (1, 5)
    assert_close(kept, torch.tensor([2]))
    assert_same_loss(
        berman.lovasz_softmax(probas, void, ignore=VOID), 1 - probas[1, 2, 2, 3].double(), probas, 1e-6
    )


def test_classes_are_compared_by_value():
    probas, labels = probabilities((2, 5, 6))
    computed = "".join(["pre", "sent"])
    assert_close(berman.lovasz_softmax(probas, labels, computed), berman.lovasz_softmax(probas, labels))
    assert not torch.equal(berman.lovasz_softmax(probas, labels, "all"), berman.lovasz_softmax(probas, labels))
    with pytest.raises(ValueError, match="classes must be one of 'present', 'all'"):
        berman.lovasz_softmax(probas, labels, "every")


@pytest.mark.parametrize("classes", ["present", "all"])
def test_one_probability_is_the_foregrounds(classes):
    logits, labels = scores((2, 5, 6))
    probas = logits.detach().sigmoid().requires_grad_()
    expected = berman.lovasz_softmax(probas, labels, classes=[1])
    assert_close(berman.lovasz_softmax(probas, labels, classes=classes), expected)
    assert_close(berman.lovasz_softmax(probas[:, None], labels, classes=classes), expected)
    (grad,) = torch.autograd.grad(expected, probas)
    assert (grad[labels == 1] < 0).all()
    assert (grad[labels == 0] >= 0).all()
    with pytest.raises(ValueError, match="one class for one probability"):
        berman.lovasz_softmax(probas, labels, classes=[0, 1])


def test_one_probability_may_be_that_of_any_class():
    probas, labels = probabilities((2, 5, 6))
    of_two = probas.detach()[:, 2].clone().requires_grad_()
    actual = berman.lovasz_softmax(of_two, labels, classes=[2])
    assert_close(actual, berman.lovasz_softmax(probas, labels, classes=[2]))


def test_no_class_present_is_a_zero_with_zero_gradients():
    probas = torch.rand(2, 4, 5, requires_grad=True)
    loss = berman.lovasz_softmax(probas, torch.zeros(2, 4, 5, dtype=torch.long))
    assert_close(loss, torch.tensor(0.0))
    (grad,) = torch.autograd.grad(loss, probas)
    assert_close(grad, torch.zeros_like(probas))
    with pytest.raises(ValueError, match="classes must be"):
        berman.lovasz_softmax(probas[:, None].expand(-1, 3, -1, -1), torch.zeros(2, 4, 5), classes=[])


@pytest.mark.parametrize("label", [5, 255, -1])
def test_a_label_that_is_no_class_is_an_error(label):
    probas, labels = probabilities((2, 4, 5))
    labels[1, 0, :3] = label
    with pytest.raises(ValueError, match=rf"got 3 other: {label} \(3x\)"):
        berman.lovasz_softmax(probas, labels)


@pytest.mark.parametrize("label", [2, 255, -1])
def test_a_label_but_0_and_1_is_an_error_in_the_hinge(label):
    logits, labels = scores((2, 4, 5))
    labels[1, 0, :3] = label
    for per_image in (False, True):
        with pytest.raises(ValueError, match=rf"got 3 other: {label} \(3x\)"):
            berman.lovasz_hinge(logits, labels, per_image)
    with pytest.raises(ValueError, match=rf"got 3 other: {label} \(3x\)"):
        berman.lovasz_hinge_flat(logits.flatten(), labels.flatten())


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_a_label_that_is_no_integer_is_an_error(value):
    probas, labels = probabilities((2, 4, 5))
    labels = labels.float()
    labels[0, 0, 0] = value
    with pytest.raises(ValueError, match="labels must hold integers"):
        berman.lovasz_softmax(probas, labels)
    with pytest.raises(ValueError, match="labels must hold integers"):
        berman.lovasz_hinge(probas[:, 0], labels)


def test_values_that_are_no_probabilities_are_an_error():
    _, labels = probabilities((2, 4, 5))
    logits = 3 * torch.randn(2, 5, 4, 5, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\].*for logits use lovasz\.lovasz_softmax"):
        berman.lovasz_softmax(logits, labels)
    with pytest.raises(ValueError, match=r"for logits use lovasz\.lovasz_softmax"):
        berman.lovasz_softmax_flat(logits[:, :, 0, 0], labels[:, 0, 0])
    assert_close(lovasz.lovasz_softmax(logits, labels), berman.lovasz_softmax(logits.softmax(1), labels))


def test_an_ignored_pixel_may_hold_anything():
    probas, labels = probabilities((2, 4, 5))
    labels[:, :, 0] = VOID
    expected = berman.lovasz_softmax(probas, labels, ignore=VOID)
    for value in (7.0, -1.0, float("nan"), float("inf")):
        garbage = probas.detach().clone()
        garbage[..., 0] = value
        garbage.requires_grad_()
        loss = berman.lovasz_softmax(garbage, labels, ignore=VOID)
        assert_close(loss, expected)
        (grad,) = torch.autograd.grad(loss, garbage)
        assert_close(grad[..., 0], torch.zeros_like(grad[..., 0]))
        assert grad.isfinite().all()


@pytest.mark.parametrize("copies", [1, 10_000])
def test_probabilities_a_rounding_beyond_one_are_taken(copies):
    probas = torch.tensor([[1.0 + 1e-6, -1e-6], [0.25, 0.75]]).repeat(copies, 1)
    loss = berman.lovasz_softmax_flat(probas, torch.tensor([0, 1]).repeat(copies))
    assert_close(loss, torch.tensor((0.25 / 2 + 0.25) / 2), rtol=0, atol=1e-4)


def test_non_contiguous_tensors_are_taken():
    probas, labels = probabilities((2, 7, 6))
    turned, turned_labels = probas.transpose(2, 3), labels.transpose(1, 2)
    assert not turned_labels.is_contiguous()
    for per_image in (False, True):
        assert_close(
            berman.lovasz_softmax(turned, turned_labels, per_image=per_image, ignore=0),
            berman.lovasz_softmax(probas, labels, per_image=per_image, ignore=0),
        )
    logits, binary = scores((2, 7, 6))
    pair = (logits.transpose(1, 2), binary.transpose(1, 2))
    assert_close(berman.lovasz_hinge(*pair), berman.lovasz_hinge(logits, binary))
    assert_close(berman.binary_xloss(*pair), berman.binary_xloss(logits, binary))
    assert_close(berman.flatten_binary_scores(*pair)[0], pair[0].contiguous().flatten())


def test_float64_stays_float64():
    probas, labels = probabilities((2, 5, 6))
    double = probas.detach().double().requires_grad_()
    expected = softmax_by_definition(double, labels, "present")
    assert_same_loss(berman.lovasz_softmax(double, labels), expected, double, 1e-12)
    logits, binary = scores((2, 5, 6))
    double = logits.detach().double().requires_grad_()
    expected = over_images(hinge_by_definition, double, binary, per_image=True)
    assert_same_loss(berman.lovasz_hinge(double, binary), expected, double, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_the_loss_of_its_numbers(dtype):
    probas, labels = probabilities((2, 5, 6))
    half = probas.detach().to(dtype).requires_grad_()
    loss = berman.lovasz_softmax(half, labels)
    assert loss.dtype == dtype
    assert_close(loss, softmax_by_definition(half, labels, "present").to(dtype))
    (grad,) = torch.autograd.grad(loss, half)
    assert grad.isfinite().all()


def test_bool_labels_are_0_and_1():
    logits, labels = scores((2, 5, 6))
    assert_close(berman.lovasz_hinge(logits, labels.bool()), berman.lovasz_hinge(logits, labels))
    flat = (logits.flatten(), labels.flatten())
    assert_close(berman.lovasz_hinge_flat(flat[0], flat[1].bool()), berman.lovasz_hinge_flat(*flat))
    assert_close(berman.lovasz_grad(flat[1].bool()), berman.lovasz_grad(flat[1]))
    probas = logits.sigmoid()
    assert_close(
        berman.lovasz_softmax(probas, labels.bool(), classes=[1]),
        berman.lovasz_softmax(probas, labels, classes=[1]),
    )


@pytest.mark.parametrize("classes", [[-1], [5], [1, 1], [0.0]], ids=str)
def test_a_class_that_is_none_or_comes_twice_is_an_error(classes):
    probas, labels = probabilities((2, 4, 5))
    with pytest.raises(ValueError, match="different class indices from 0 to 4"):
        berman.lovasz_softmax(probas, labels, classes=classes)


def test_narrow_labels_are_compared_as_integers():
    probas, labels = probabilities((2, 4, 5))
    narrow = with_void(labels, VOID).byte()
    with pytest.raises(ValueError, match=r"got \d+ other: 255"):
        berman.lovasz_softmax(probas, narrow, ignore=-1)
    assert_close(berman.lovasz_softmax(probas, narrow, ignore=255),
                 berman.lovasz_softmax(probas, narrow.long(), ignore=255))  # fmt: skip
    narrow[narrow == VOID] = 156
    for flatten in (berman.flatten_probas, lambda p, t, i: berman.flatten_binary_scores(p[:, 0], t, i)):
        assert len(flatten(probas, narrow, -100)[1]) == narrow.numel()
    assert berman.iou(narrow, narrow, 157, EMPTY=0.0, ignore=-100)[156] == 100
    bits = (narrow == 156).byte() * 156
    with pytest.raises(ValueError, match=r"got \d+ other: 156"):
        berman.lovasz_hinge(probas[:, 0], bits, ignore=-100)


def test_labels_of_another_shape_are_an_error():
    probas, labels = probabilities((3, 4, 5))
    logits, binary = scores((3, 4, 5))
    for per_image in (False, True):
        for wrong in (labels.transpose(1, 2), labels[:2]):
            with pytest.raises(ValueError, match=r"must be \(N, \*\) matching"):
                berman.lovasz_softmax(probas, wrong, per_image=per_image)
        for wrong in (binary.transpose(1, 2), binary[:2]):
            with pytest.raises(ValueError, match=r"labels must have the shape of logits \(3, 4, 5\)"):
                berman.lovasz_hinge(logits, wrong, per_image=per_image)
    for metric in (berman.iou_binary, lambda p, t: berman.iou(p, t, 2, per_image=True)):
        with pytest.raises(ValueError, match="shorter"):
            metric(binary, binary[:2])


def test_any_number_of_spatial_axes():
    for shape in ((40,), (5, 8), (2, 4, 5)):
        generator = torch.Generator().manual_seed(8)
        probas = torch.randn(3, 4, *shape, generator=generator).softmax(1).requires_grad_()
        labels = torch.randint(0, 4, (3, *shape), generator=generator)
        flat, flat_labels = probas.flatten(2)[:, :, None], labels.flatten(1)[:, None]
        for per_image in (False, True):
            actual = berman.lovasz_softmax(probas, labels, per_image=per_image)
            expected = over_images(
                lambda p, t: softmax_by_definition(p, t, "present"), flat, flat_labels, per_image
            )
            assert_same_loss(actual, expected, probas, 1e-6)
        assert berman.flatten_probas(probas, labels)[0].shape == (120, 4)
    points = probas.movedim(1, -1).reshape(-1, 4)
    assert_close(berman.lovasz_softmax(points, labels.flatten()), berman.lovasz_softmax(probas, labels))


def test_xloss_leaves_out_the_label_it_is_told():
    x, (_, labels) = torch.randn(2, 5, 4, 4), probabilities((2, 4, 4))
    assert_close(berman.xloss(x, labels, ignore=1), F.cross_entropy(x, labels, ignore_index=1))
    assert not torch.equal(berman.xloss(x, labels, ignore=1), berman.xloss(x, labels))


def test_the_gradient_of_the_cross_entropy_of_a_logit_of_zero():
    logits = torch.zeros(2, requires_grad=True)
    loss = berman.StableBCELoss()(logits, torch.tensor([0.0, 1.0]))
    (grad,) = torch.autograd.grad(loss, logits)
    assert_close(grad, torch.tensor([0.25, -0.25]))  # (σ(0) - target) / 2


def test_the_stable_cross_entropy_keeps_what_confident_logits_are_worth():
    loss = berman.StableBCELoss()(torch.tensor([20.0]), torch.tensor([1.0]))
    assert_close(loss, torch.tensor(2.0611537e-09), rtol=1e-5, atol=0)


def test_mean_leaves_its_values_as_they_were():
    first, second = torch.tensor(1.0), torch.tensor(2.0)
    assert_close(berman.mean([first, second]), torch.tensor(1.5))
    assert_close(first, torch.tensor(1.0))
    leaf = torch.tensor(1.0, requires_grad=True)
    berman.mean([leaf, second]).backward()
    assert_close(leaf.grad, torch.tensor(0.5))


def test_the_weights_of_many_pixels_keep_their_digits():
    P = 2**20
    f = torch.arange(P) % 3 == 0
    G, k = f.sum(), f.cumsum(0) - f.long()
    j = torch.arange(P) - k
    exact = torch.where(f, 1 / (G + j).double(), (G - k).double() / ((G + j).double() * (G + j + 1)))
    assert_close(berman.lovasz_grad(f.float()), exact.float(), rtol=1e-6, atol=0)


# ---- the page ----


def test_every_example_of_the_page_runs():
    page = (ROOT / "docs" / "berman.md").read_text(encoding="utf-8")
    blocks = page.split("```python\n")[1:]
    assert blocks
    for block in blocks:
        exec(compile(block.split("```")[0], "docs/berman.md", "exec"), {})
