"""The inputs every kernel must get right, each with its reason."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import lovasz
from lovasz._inputs import layouts

FORMS = ("softmax", "sigmoid", "hinge")


def _with_channels(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Says of logits (N, C, *) and (P, C) that axis 1 is that of channels."""

    @functools.wraps(loss)
    def found(logits: Tensor, target: Tensor, **arguments: Any) -> Tensor:
        return loss(logits, target, **{"channels": logits.ndim > 1, **arguments})

    return found


lovasz_sigmoid = _with_channels(lovasz.lovasz_sigmoid)
lovasz_hinge = _with_channels(lovasz.lovasz_hinge)


@functools.wraps(lovasz.count)
def count(logits: Tensor, target: Tensor, *, form: str = "softmax", **arguments: Any) -> lovasz.Counts:
    """Says the same of the sigmoid and the hinge."""
    channels = None if form == "softmax" else logits.ndim > 1
    return lovasz.count(logits, target, form=form, **{"channels": channels, **arguments})


def view(logits: Tensor, target: Tensor, mask: Tensor | None, form: str, *how: Any) -> layouts.View:
    """The one view of the pixels, likewise."""
    given = dict(zip(("upsample", "align_corners"), how, strict=False))
    channels = None if form == "softmax" else logits.ndim > 1
    return layouts.view(logits, target, mask, form, **given, channels=channels)


LOSSES = {"softmax": lovasz.lovasz_softmax, "sigmoid": lovasz_sigmoid, "hinge": lovasz_hinge}
MODULES = (
    lovasz.LovaszSoftmaxLoss,
    lovasz.LovaszSigmoidLoss,
    lovasz.LovaszHingeLoss,
    lovasz.LovaszCrossEntropyLoss,
    lovasz.LovaszBinaryCrossEntropyLoss,
)


class Case(NamedTuple):
    """Arguments of a loss; `reason` says what would break."""

    reason: str
    form: str
    logits: Tensor
    target: Tensor
    arguments: dict[str, Any] = {}  # noqa: RUF012


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(form: str, shape: tuple[int, ...], seed: int = 0, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """float32 logits (N, C, *) and a target that they fit somewhat, as in a network half trained."""
    generator = _generator(seed)
    logits = scale * torch.randn(shape, generator=generator)
    if form == "softmax":
        target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
        right = torch.nn.functional.one_hot(target, shape[1]).movedim(-1, 1)
    else:
        target = (torch.rand(shape, generator=generator) < 0.2).long()
        right = 2 * target - 1
    return logits + right, target


def _shaped(form: str) -> list[Case]:
    def case(reason: str, shape: tuple[int, ...], **arguments: Any) -> Case:
        return Case(reason, form, *random(form, shape), arguments)

    C = 5 if form == "softmax" else 3
    cases = [
        case("P = 1: sums over one pixel", (1, C, 1, 1)),
        case("one class", (2, 1, 6, 6)),
        case("two classes", (3, 2, 9, 7)),
        case("P not a multiple of any block", (2, C, 13, 19)),
        case("no spatial axis: a point cloud", (1031, C)),
        case("one spatial axis", (2, C, 507, 1)),
        case("three spatial axes", (2, C, 5, 6, 7)),
        case("no image at all", (0, C, 8, 8)),
        case("images without pixels", (2, C, 8, 0)),
        case("one loss per image", (4, C, 11, 10), per_image=True),
        case("per image with one image", (1, C, 11, 10), per_image=True),
        case("every class, present or not", (2, C, 12, 12), classes="all"),
        case("only classes present", (2, C, 12, 12), classes="present"),
        case("a list of classes", (2, C, 12, 12), classes=[2, 0]),
        case("class weights", (2, C, 12, 12), weight=torch.arange(1.0, C + 1)),
        case("weights and images", (2, C, 12, 12), weight=torch.arange(1.0, C + 1), per_image=True),
        case("the sum over classes", (2, C, 12, 12), reduction="sum", per_image=True),
    ]

    logits, target = random(form, (3, C, 10, 12), 1)
    void = target.clone()
    void[0] = 255
    cases.append(Case("a void image among others", form, logits, void, {"ignore_index": 255}))
    cases.append(Case("a void image, per image", form, logits, void, {"ignore_index": 255, "per_image": True}))
    everything = torch.full_like(target, 255)
    cases.append(Case("all pixels ignored", form, logits, everything, {"ignore_index": 255}))
    cases.append(Case("an ignored label that is a class", form, logits, target, {"ignore_index": 0}))
    several = target.clone()
    several[:, ..., :3] = 254
    several[:, ..., 5] = -1
    ignored = {"ignore_index": [254, -1]}
    cases.append(Case("several ignored labels", form, logits, several, ignored))
    mask = torch.rand(target.shape, generator=_generator(2)) < 0.6
    cases.append(Case("a mask", form, logits, target, {"mask": mask}))
    both = {"mask": mask, "ignore_index": [254, -1]}
    cases.append(Case("a mask and ignored labels", form, logits, several, both))
    one_valid = torch.full_like(target, 255)
    one_valid.view(-1)[7] = 1
    cases.append(Case("exactly one valid pixel", form, logits, one_valid, {"ignore_index": 255}))
    absent = torch.where(target == 1, 0, target)
    cases.append(Case("a class absent", form, logits, absent))
    cases.append(Case("a class absent, all classes", form, logits, absent, {"classes": "all"}))

    strided, strided_target = random(form, (2, C, 20, 24), 3)
    channels_last = strided.contiguous(memory_format=torch.channels_last)
    cases.append(Case("channels-last memory", form, channels_last, strided_target))
    crop = (..., slice(1, 19, 2), slice(2, 20))
    cases.append(Case("strided in both axes", form, strided[crop], strided_target[crop]))
    turned = (strided.transpose(2, 3), strided_target.transpose(-2, -1))
    cases.append(Case("transposed", form, *turned))
    expanded = (strided[:1].expand(4, -1, -1, -1), strided_target[:1].expand(4, *strided_target.shape[1:]))
    cases.append(Case("expanded, stride 0", form, *expanded))

    level = torch.zeros(2, C, 8, 8)
    cases.append(Case("all errors equal", form, level, target[:2, ..., :8, :8]))
    sure = 60.0 * torch.where(random(form, (2, C, 10, 12), 4)[0] > 0, 1.0, -1.0)
    cases.append(Case("saturated: probabilities of 0 and 1", form, sure, target[:2]))
    large = random(form, (2, C, 10, 12), 5, scale=3e4)
    cases.append(Case("logits of 3e4", form, *large))
    offset, offset_target = random(form, (2, C, 10, 12), 6)
    if form == "softmax":
        cases.append(Case("logits far from zero", form, offset + 4096.0, offset_target))
    return cases


CASES = [case for form in FORMS for case in _shaped(form)]


def name(case: Case) -> str:
    """The name of a case in the output of the tests."""
    return f"{case.form}: {case.reason}"
