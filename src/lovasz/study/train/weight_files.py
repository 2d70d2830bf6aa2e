"""Tensors by name from a file of weights, read so that nothing in it can run."""

import io
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lovasz.study.io.kinds import UnreadableFileError
from lovasz.study.io.text import printable

SAFETENSORS = ".safetensors"
SUFFIXES = (SAFETENSORS, ".pt", ".pth", ".ckpt", ".bin")
# Where training programs put the weights in what they save, and how deep one in another.
NESTS = ("state_dict", "model_state_dict", "network_weights", "model")
DEEPEST = 4
# How PyTorch says that a checkpoint would call something, and what.
REFUSED = re.compile(r"GLOBAL (\w+(?:\.\w+)*)")


def read_tensors(file: Path, content: bytes) -> dict[str, Tensor]:
    """Read the content of a file: safetensors by its suffix, else a checkpoint of PyTorch.

    Args:
        file: Where it is from.
        content: What it holds.

    Returns:
        Dense tensors on the CPU by name, from wherever in the checkpoint they are.

    Raises:
        UnreadableFileError: If it is damaged, would run code, or holds no tensors by name.
    """
    loaded = _safetensors(file, content) if file.suffix.lower() == SAFETENSORS else _checkpoint(file, content)
    for _ in range(DEEPEST):
        if not isinstance(loaded, Mapping):
            break
        inner = next((loaded[name] for name in NESTS if isinstance(loaded.get(name), Mapping)), None)
        if inner is None:
            break
        loaded = inner
    if not isinstance(loaded, Mapping):
        raise UnreadableFileError(file, f"holds no tensors by name, but {type(loaded).__name__}")
    found = {name: value.detach() for name, value in loaded.items() if isinstance(value, Tensor)}
    if not found:
        raise UnreadableFileError(file, "holds no tensors by name")
    for name, value in found.items():
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise UnreadableFileError(
                file, f"holds {printable(name)} sparse, quantized or without values; expected dense tensors"
            )
    return {str(name): value for name, value in found.items()}


def _safetensors(file: Path, content: bytes) -> dict[str, Tensor]:
    from safetensors.torch import load

    try:
        return load(content)
    except Exception as error:  # its own class, and what a damaged header makes of PyTorch
        raise UnreadableFileError(file, f"cannot be read as safetensors: {first_line(error)}") from error


def _checkpoint(file: Path, content: bytes) -> Any:
    stream = io.BytesIO(content)
    try:
        # PyTorch stores tensors as they are: one that is compressed could unfold to any size.
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                if sum(one.file_size for one in archive.infolist()) > len(content):
                    raise UnreadableFileError(file, "is compressed; expected a checkpoint as torch.save writes it")
        stream.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is no file of torch.save: the error says so
            return torch.load(stream, map_location="cpu", weights_only=True)
    except UnreadableFileError:
        raise
    except Exception as error:  # torn archives and hostile bytes raise what they like
        refused = REFUSED.search(str(error))
        if refused:
            reason = f"holds more than tensors and plain values ({refused[1]}); nothing in it was run"
        else:
            reason = "is damaged, or no checkpoint of PyTorch"
        raise UnreadableFileError(file, reason) from error


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, without a full stop, or its class."""
    return next(iter(str(error).strip().splitlines()), "").rstrip(".") or type(error).__name__
