"""Other implementations of the same losses: published, in libraries, and the best sort in plain PyTorch.

A library that is not installed is left out, and named. torch-pointcloud 0.0.18 needs many packages of its own
(torch_geometric, h5py, pandas), but the file of its Lovász loss nothing but PyTorch: that file alone is loaded,
so that `pip install --no-deps torch-pointcloud==0.0.18` is enough.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import published
from .measure import Loss


class Implementation(NamedTuple):
    """A loss, the layout that it wants (made before the clock starts), and which Lovász loss it computes.

    `definition` is (classes, per_image) as in `lovasz`; None for what is not a Lovász loss alone.
    """

    version: str
    loss: Loss
    definition: tuple[str, bool] | None = None
    prepare: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda x, t: (x, t)


def sorted_weights(errors: Tensor, foreground: Tensor, totals: Tensor) -> Tensor:
    """∂loss / ∂errors, both (C, P), by one sort of all classes; `totals` (C, 1) foreground pixels.

    In closed form. Counts are float32, exact below 2^24 pixels.
    """
    order = errors.argsort(-1, descending=True)
    f = foreground.gather(-1, order)
    k = f.cumsum(-1, dtype=torch.float32)
    place = torch.arange(1, f.shape[-1] + 1, device=f.device, dtype=torch.float32)
    union = place - k + totals  # once the pixel has joined
    weights = torch.where(f, 1.0, (totals - k) / (union - 1).clamp(min=1)) / union
    return torch.empty_like(weights).scatter_(-1, order, weights)


def softmax_of_present(logits: Tensor, target: Tensor, present: Tensor, totals: Tensor) -> Tensor:
    """Lovász-Softmax, the mean over the classes `present`."""
    probs = logits.softmax(1).transpose(0, 1).flatten(1).index_select(0, present)
    foreground = target.flatten() == present[:, None]
    errors = torch.where(foreground, 1 - probs, probs)
    weights = sorted_weights(errors.detach(), foreground, totals)
    return (errors * weights).sum() / len(present)


def batched_sort(logits: Tensor, target: Tensor, of_present: Callable[..., Tensor] = softmax_of_present) -> Tensor:
    """Lovász-Softmax of logits (N, C, *) or (P, C): classes without pixels are left out before the sort."""
    counts = target.flatten().bincount(minlength=logits.shape[1])
    present = counts.nonzero()[:, 0]
    return of_present(logits, target, present, counts[present, None].float())


def single_sort(logits: Tensor, target: Tensor, form: str) -> Tensor:
    """The binary losses: one class, one sort. Needs foreground."""
    foreground = (target.flatten() == 1)[None]
    x = logits.flatten()[None]
    signed = torch.where(foreground, -x, x)
    errors = (1 + signed).relu() if form == "hinge" else signed.sigmoid()
    weights = sorted_weights(errors.detach(), foreground, foreground.sum(-1, keepdim=True).float())
    return (errors * weights).sum()


def pointwise(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (P, C) and target (P,) of a batch of images, contiguous."""
    points = logits.detach().movedim(1, -1).flatten(0, -2).contiguous()
    return points, target.flatten()


def module(name: str) -> Any:
    """A module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def torch_pointcloud() -> Any:
    """The module of that package that holds its Lovász loss, or None."""
    package = importlib.util.find_spec("torch_pointcloud")
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / "losses" / "lovasz.py"
    spec = importlib.util.spec_from_file_location("torch_pointcloud_lovasz", file)
    if spec is None or spec.loader is None or not file.exists():
        return None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def peers(form: str, axes: int) -> tuple[dict[str, Implementation], list[str]]:
    """The implementations of one loss that take logits of so many axes, and the libraries that are missing."""
    plain: Loss = batched_sort if form == "softmax" else functools.partial(single_sort, form=form)
    pooled = ("present" if form == "softmax" else "all", False)
    found = {
        "published": Implementation(torch.__version__, getattr(published, f"lovasz_{form}"), pooled),
        "batched sort": Implementation(torch.__version__, plain, pooled),
        "batched sort, compiled": Implementation(torch.__version__, compiled(form), pooled),
    }
    missing = []
    if form != "sigmoid" and axes == 4:
        kornia = module("kornia")
        if kornia is None:
            missing.append("kornia")
        else:
            loss = getattr(kornia.losses, f"lovasz_{form}_loss")
            found["kornia"] = Implementation(kornia.__version__, loss, ("all", True), lambda x, t: (x, t.long()))
    if form == "softmax":
        points = torch_pointcloud()
        if points is None:
            missing.append("torch-pointcloud")
        else:
            version = importlib.metadata.version("torch_pointcloud")
            found["torch-pointcloud"] = Implementation(version, points.LovaszLoss(), pooled, pointwise)
    return found, missing


def compiled(form: str) -> Loss:
    """The batched sort by torch.compile, at its first call; what was compiled for other shapes is dropped."""

    @functools.cache
    def loss() -> Loss:
        torch.compiler.reset()
        if form == "softmax":
            return functools.partial(batched_sort, of_present=torch.compile(softmax_of_present, dynamic=False))
        return torch.compile(functools.partial(single_sort, form=form), dynamic=False)

    return lambda logits, target: loss()(logits, target)
