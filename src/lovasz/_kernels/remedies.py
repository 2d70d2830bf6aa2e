"""What to do where a kernel for GPUs raises: a remedy for each of the usual causes."""

import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import torch

REPORT = "report it with the output of `lovasz info --check`"
DRIVER = (
    "DRIVER VERSION IS INSUFFICIENT", "INSUFFICIENT_DRIVER", "DRIVER ON YOUR SYSTEM IS TOO OLD",
    "UNSUPPORTED_PTX_VERSION", "COMPILED WITH AN UNSUPPORTED TOOLCHAIN", "THE DRIVER IS FOR CUDA",
)  # fmt: skip


def remedy(error: Exception) -> str:
    """Return what to do about an exception that a kernel has raised where it was loaded, compiled or run."""
    said = str(error).upper()
    if isinstance(error, ModuleNotFoundError):
        return _install(error.name or "")
    if "CUDA ERROR: NO KERNEL IMAGE" in said:  # in PyTorch's words
        return "install a PyTorch that is built for this GPU"
    if any(word in said for word in DRIVER):
        return "update the NVIDIA driver, or install the PyTorch that is built for the one there is"
    if "OUT OF MEMORY" in said or "OUT_OF_MEMORY" in said:  # as PyTorch says it, and the driver
        return "leave some memory of the device free and start again"
    if "C COMPILER" in said:
        return "install gcc, or set CC to a C compiler"
    if "NVRTC" in said and isinstance(error, (OSError, RuntimeError)) and _not_found(said):
        return _nvrtc()
    if (
        isinstance(error, subprocess.CalledProcessError)
        and not Path(sysconfig.get_path("include"), "Python.h").exists()
    ):
        return "install the headers of Python (python3-dev), which compiling needs"
    return REPORT


def _not_found(said: str) -> bool:
    """Return whether a library could not be loaded."""
    return any(word in said for word in ("DLOPEN", "CANNOT OPEN SHARED OBJECT", "FAILURE FINDING"))


def _install(module: str) -> str:
    """Return how to install a package of Python that is missing, in the version that goes with PyTorch."""
    package = module.partition(".")[0]
    if package == "triton":
        return _triton()
    if package == "cuda" and torch.version.cuda:
        return f"pip install 'cuda-bindings=={_major()}.*' '{_nvrtc_package()}'"
    return REPORT


def _triton() -> str:
    """Return how to install the Triton that this PyTorch asks for; only its wheels for Linux and CUDA say which."""
    try:
        requirements = metadata.requires("torch") or []
    except metadata.PackageNotFoundError:
        requirements = []
    for requirement in requirements:
        wanted = requirement.partition(";")[0].strip()
        if wanted.startswith("triton==") and sys.platform == "linux":
            return f"pip install '{wanted}'"
    return "install the Triton that goes with this PyTorch"


def _nvrtc() -> str:
    return f"pip install '{_nvrtc_package()}'" if torch.version.cuda else REPORT


def _nvrtc_package() -> str:
    """Return the wheel of NVRTC: up to CUDA 12 its name says for which."""
    major = _major()
    return f"nvidia-cuda-nvrtc=={major}.*" if major > 12 else f"nvidia-cuda-nvrtc-cu{major}"


def _major() -> int:
    return int((torch.version.cuda or "0").partition(".")[0])
