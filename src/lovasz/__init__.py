"""The Lovász losses for PyTorch: segmentation models trained on the Jaccard index, by counting."""

from importlib.metadata import PackageNotFoundError, version

from ._kernels import operators as _operators
from .counts import Counts, count
from .functional import lovasz_cross_entropy, lovasz_hinge, lovasz_sigmoid, lovasz_softmax
from .measures import FBeta, Tversky
from .modules import (
    LovaszCrossEntropyLoss,
    LovaszHingeLoss,
    LovaszSigmoidLoss,
    LovaszSoftmaxLoss,
)

try:
    __version__ = version("lovasz")
except PackageNotFoundError:  # run from the source tree
    __version__ = "unknown"


def kernels() -> list[tuple[str, str, str]]:
    """List which kernel serves which device and why, as ``lovasz info`` prints it.

    Returns:
        A row of device, kernel and reason for the CPU, for CUDA and for every other device.

    Example:
        >>> [device for device, _, _ in kernels()]
        ['cpu', 'cuda', 'any other']
    """
    return _operators.kernels()


__all__ = [
    "Counts",
    "FBeta",
    "LovaszCrossEntropyLoss",
    "LovaszHingeLoss",
    "LovaszSigmoidLoss",
    "LovaszSoftmaxLoss",
    "Tversky",
    "count",
    "kernels",
    "lovasz_cross_entropy",
    "lovasz_hinge",
    "lovasz_sigmoid",
    "lovasz_softmax",
]
