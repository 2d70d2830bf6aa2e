"""The inputs of the CPU benchmark: shapes as in practice, each at three stages of a training."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Case(NamedTuple):
    """Logits (N, C, *) or, for points, (P, C); `form` says of which loss."""

    name: str
    shape: tuple[int, ...]
    form: str = "softmax"
    dtype: torch.dtype = torch.float32
    layout: str = "planar"

    @property
    def elements(self) -> int:
        """Number of logits."""
        return torch.Size(self.shape).numel()

    def shrunk(self, by: int) -> "Case":
        """The same with every spatial axis so many times shorter, and no shorter than 4."""
        if len(self.shape) == 2:
            return self._replace(shape=(max(4, self.shape[0] // by), self.shape[1]))
        return self._replace(shape=(*self.shape[:2], *(max(4, n // by) for n in self.shape[2:])))


class Stage(NamedTuple):
    """Logits `spread * N(0, 1)`, moved by `shift` on the right class, by +-`binary_shift` with one channel."""

    name: str
    spread: float
    shift: float
    binary_shift: float


def _of_voc(name: str, images: int) -> list[Case]:
    case = Case(name, (images, 21, 512, 512))
    return [
        case,
        case._replace(name=f"{name}, channels last", layout="channels_last"),
        case._replace(name=f"{name}, bfloat16", dtype=torch.bfloat16),
    ]


CASES = (
    *_of_voc("VOC", 1),
    *_of_voc("VOC batch", 4),
    Case("Cityscapes", (2, 19, 512, 1024)),
    Case("ADE20K", (2, 150, 256, 256)),
    Case("ADE20K, channels last", (2, 150, 256, 256), layout="channels_last"),
    Case("two classes", (8, 2, 512, 512)),
    Case("binary sigmoid", (8, 1, 512, 512), "sigmoid"),
    Case("binary hinge", (8, 1, 512, 512), "hinge"),
    Case("points", (500_000, 20)),
    Case("volume", (1, 4, 96, 160, 160)),
)
QUICK = (Case("quick softmax", (1, 21, 128, 128)), Case("quick hinge", (8, 1, 128, 128), "hinge"))
STAGES = (Stage("early", 0.3, 0.1, 0.1), Stage("mid", 1.5, 2, 2), Stage("late", 1.5, 12, 6))
MID = STAGES[1]

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def named(name: str) -> Case:
    """The case of that name."""
    return next(case for case in CASES + QUICK if case.name == name)


def smooth(images: int, channels: int, sides: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A field (N, C, *sides) that varies over 32 pixels along each side, over 1024 points of a line."""
    grain = 1024 if len(sides) == 1 else 32
    coarse = torch.randn(
        images, channels, *(max(2, n // grain) for n in sides), generator=generator, device=generator.device
    )
    return F.interpolate(coarse, sides, mode=_MODES[len(sides)])


def blobs(
    shape: tuple[int, ...], spread: float, shift: float, seed: int = 0, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Logits (N, C, *) in the regime of a stage, and labels (N, *) in blobs, as in real masks."""
    N, C, *sides = shape
    generator = torch.Generator(device).manual_seed(seed)
    target = smooth(N, C, tuple(sides), generator).argmax(1)
    logits = torch.randn(shape, generator=generator, device=device).mul_(spread)
    by = torch.full((N, 1, *sides), float(shift), device=device)
    return logits.scatter_add_(1, target[:, None], by), target


def binary_blobs(
    shape: tuple[int, ...], spread: float, shift: float, seed: int = 0, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Logits (N, 1, *) and masks of bytes (N, *), about a third of them foreground."""
    N, _, *sides = shape
    generator = torch.Generator(device).manual_seed(seed)
    foreground = smooth(N, 1, tuple(sides), generator) > 0.3
    logits = torch.randn(shape, generator=generator, device=device).mul_(spread)
    return logits.add_(shift * (2.0 * foreground - 1)), foreground[:, 0].byte()


def inputs(case: Case, stage: Stage, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Logits and target of a case at a stage, in its dtype and layout."""
    if case.form != "softmax":
        logits, target = binary_blobs(case.shape, stage.spread, stage.binary_shift, device=device)
    elif len(case.shape) == 2:
        P, C = case.shape
        logits, target = blobs((1, C, P), stage.spread, stage.shift, device=device)
        logits, target = logits[0].t().contiguous(), target[0]
    else:
        logits, target = blobs(case.shape, stage.spread, stage.shift, device=device)
    if case.layout == "channels_last":
        logits = logits.contiguous(memory_format=torch.channels_last)
    return logits.to(case.dtype), target
