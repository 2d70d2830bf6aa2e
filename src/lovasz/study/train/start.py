"""How a training begins: the network with its weights, and what these expect of images."""

from typing import Any

from torch import nn

from lovasz.study.data.normalize import DATA, Normalization, expected_by, parse_normalization
from lovasz.study.data.parts import Data
from lovasz.study.environment import version
from lovasz.study.io.text import printable
from lovasz.study.train.config import Config
from lovasz.study.train.encoder import inner
from lovasz.study.train.network import build_network
from lovasz.study.train.taking import take
from lovasz.study.train.weight_files import first_line
from lovasz.study.train.weights import (
    LITE0,
    LITE0_MEAN,
    LITE0_STD,
    by_order,
    encoder_name,
    is_file,
    stored_tensors,
)


def start_network(config: Config, data: Data, expected: str | None = None) -> tuple[nn.Module, str]:
    """Build the network of a comparison with the weights that its trainings begin with.

    What the weights do not hold is drawn from PyTorch's global generator.

    Args:
        config: What was asked for.
        data: The data.
        expected: The identity that the weights must still have; None is any.

    Returns:
        The network, and a sentence that says what it took; empty for random weights.

    Raises:
        ValueError: If the network cannot be built, or the weights do not fit it or cannot be had.
        UnreadableFileError: If the file of weights has changed, is damaged, or would run code.
    """
    weights, size = config.weights, (data.channels, data.num_classes, data.dims)
    if weights is None:
        return build_network(config.network, *size), ""
    if weights != LITE0 and not is_file(weights):
        return _from_smp(config.network, weights, size)
    if weights == LITE0 and data.channels != 3:
        raise ValueError(f"--weights {LITE0} is for images of 3 channels, got {data.channels}")
    network = build_network(config.network, *size)
    tensors = stored_tensors(weights, expected)
    named = weights if weights == LITE0 else printable(weights)
    if weights == LITE0:
        encoder: Any = inner(network).encoder
        tensors = by_order(encoder, tensors)
    taken = take(inner(network), tensors, f"--weights {named}")
    return network, f"Every training begins with the weights of {named}: {taken}."


def normalization_of(config: Config) -> Normalization:
    """Return how images are to be standardised: as asked for, else as pretrained weights expect, else by the data.

    Raises:
        ValueError: If what the weights expect cannot be had, or not be done here.
    """
    weights = config.weights
    if config.normalize is not None:
        return parse_normalization(config.normalize)
    if weights is None or is_file(weights):
        return DATA
    option = f"--weights {weights}"
    if weights == LITE0:
        return expected_by(option, LITE0_MEAN, LITE0_STD)
    smp, encoder = _checked_smp(config.network, weights)
    try:
        found = smp.encoders.get_preprocessing_params(encoder, pretrained=weights)
    except Exception as error:  # a download that fails raises what it likes
        raise _not_fetched(config.network, weights, error) from error
    if found["input_space"] != "RGB":
        raise ValueError(
            f"{option} of {encoder} expects {found['input_space']}, which is not done here; give --normalize, or "
            "another encoder"
        )
    top = max(found["input_range"])
    return expected_by(option, *([number / top for number in found[name]] for name in ("mean", "std")))


def _from_smp(network: str, weights: str, size: tuple[int, int, int]) -> tuple[nn.Module, str]:
    _, encoder = _checked_smp(network, weights)
    try:
        # For timm's encoders it is not said which: their variant is part of their name.
        built = build_network(network, *size, encoder_weights=True if encoder.startswith("tu-") else weights)
    except Exception as error:  # a download that fails raises what it likes
        build_network(network, *size)  # raises what is wrong with the network alone
        raise _not_fetched(network, weights, error) from error
    versions = f"segmentation_models_pytorch {version('segmentation-models-pytorch')}, timm {version('timm')}"
    adapted = "" if size[0] == 3 else f", its first convolution adapted to {size[0]} channels there"
    return built, f"Every training begins with the weights {weights} of {encoder} ({versions}){adapted}."


def _checked_smp(network: str, weights: str) -> tuple[Any, str]:
    """Return segmentation_models_pytorch and the name of the encoder, if this can have such weights."""
    encoder = encoder_name(network)
    try:
        import segmentation_models_pytorch as smp
    except Exception as error:  # of torchvision without operators, too
        raise ValueError(
            f"--network {network}: segmentation_models_pytorch cannot be imported: {first_line(error)}"
        ) from error
    if encoder.startswith("tu-"):
        known, hint = ["imagenet"], "; another variant is part of the encoder's name, as tu-resnet18.a1_in1k"
    elif encoder in smp.encoders.encoders:
        known, hint = [*smp.encoders.encoders[encoder]["pretrained_settings"]], ""
    else:
        raise ValueError(f"--network {network}: segmentation_models_pytorch has no encoder {encoder}")
    if weights not in known:
        raise ValueError(f"--weights {weights}: there is no such file, and {encoder} has {', '.join(known)}{hint}")
    return smp, encoder


def _not_fetched(network: str, weights: str, error: Exception) -> ValueError:
    return ValueError(
        f"--weights {weights} of {network} cannot be had: {first_line(error)}; run once where the download "
        "works, or give --weights FILE"
    )
