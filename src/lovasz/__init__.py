"""The Lovász losses for PyTorch: segmentation models trained on the Jaccard index, by counting."""

from importlib.metadata import PackageNotFoundError, version

from ._kernels.check import KernelCheck, check_kernels
from ._kernels.operators import kernels
from .counts import Counts, count
from .functional import (
    lovasz_binary_cross_entropy,
    lovasz_cross_entropy,
    lovasz_hinge,
    lovasz_sigmoid,
    lovasz_softmax,
)
from .measures import FBeta, Tversky
from .modules import (
    DeepSupervisionLoss,
    LovaszBinaryCrossEntropyLoss,
    LovaszCrossEntropyLoss,
    LovaszHingeLoss,
    LovaszSigmoidLoss,
    LovaszSoftmaxLoss,
)

try:
    __version__ = version("lovasz")
except PackageNotFoundError:  # run from the source tree
    __version__ = "unknown"


__all__ = [
    "Counts",
    "DeepSupervisionLoss",
    "FBeta",
    "KernelCheck",
    "LovaszBinaryCrossEntropyLoss",
    "LovaszCrossEntropyLoss",
    "LovaszHingeLoss",
    "LovaszSigmoidLoss",
    "LovaszSoftmaxLoss",
    "Tversky",
    "check_kernels",
    "count",
    "kernels",
    "lovasz_binary_cross_entropy",
    "lovasz_cross_entropy",
    "lovasz_hinge",
    "lovasz_sigmoid",
    "lovasz_softmax",
]
