"""Logits coarser than their labels: the sizes to try, each with its reason, and what is expected."""

import torch
import torch.nn.functional as F

from tests.core.cases import LOSSES

#: Spatial sizes of logits and labels, how, and why.
SIZES = {
    "a quarter": ((6, 9), (24, 36), "bilinear", False),
    "odd sizes, odd ratios": ((5, 7), (13, 33), "bilinear", False),
    "aligned corners": ((5, 7), (13, 33), "bilinear", True),
    "one axis alone": ((6, 11), (6, 35), "bilinear", False),
    "one place": ((1, 1), (7, 19), "bilinear", False),
    "one place, aligned": ((1, 4), (1, 19), "bilinear", True),
    "rows longer than a part of them": ((3, 40), (9, 2500), "bilinear", False),
    "many strips": ((37, 3), (150, 5), "bilinear", False),
    "volumes": ((5, 3, 4), (11, 6, 16), "trilinear", False),
    "volumes, aligned": ((3, 4, 3), (7, 5, 6), "trilinear", True),
    "sequences": ((9,), (50,), "linear", False),
    "nearest": ((5, 7), (13, 33), "nearest", False),
    "nearest, volumes": ((2, 3, 4), (5, 3, 9), "nearest", False),
}
#: Of these there are several strips, parts and threads.
LARGE = {
    "an eighth": ((32, 32), (256, 256), "bilinear", False),
    "large, odd ratios": ((61, 47), (300, 200), "bilinear", False),
    "large volumes": ((16, 20, 24), (32, 40, 48), "trilinear", False),
}


def whole(logits, size, mode, corners):
    return F.interpolate(logits, size, mode=mode, align_corners=None if mode == "nearest" else corners)


def problem(form, size, dtype=torch.float32, N=2, C=5, scale=2.0):
    """Logits, a target that they fit somewhat and that has void pixels, a mask, and how to interpolate."""
    coarse, fine, mode, corners = (SIZES | LARGE)[size]
    generator = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn(N, C, *coarse, generator=generator)).to(dtype)
    if form == "softmax":
        target = whole(logits.float(), fine, mode, corners).argmax(1)
        other = torch.randint(0, C, target.shape, generator=generator)
    else:
        target = (whole(logits.float(), fine, mode, corners) > 1).long()
        other = 1 - target
    target = torch.where(torch.rand(target.shape, generator=generator) < 0.2, other, target)
    target[torch.rand(target.shape, generator=generator) < 0.1] = 255
    mask = torch.rand(target.shape, generator=generator) < 0.9
    return logits, target, mask, mode, corners


def plain(form, logits, target, mode, corners, **arguments):
    """The loss of logits interpolated first; an axis more says that 3-D logits have channels."""
    fine = whole(logits, target.shape[-logits.ndim + 2 :], mode, corners)
    if form != "softmax" and fine.ndim == 3:
        fine, target = fine[..., None], target[..., None]
        arguments |= {"mask": arguments["mask"][..., None]} if "mask" in arguments else {}
    return LOSSES[form](fine, target, **arguments)
