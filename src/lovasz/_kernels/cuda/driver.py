"""Launch kernels through CUDA's driver, on the device of the tensors and on PyTorch's current stream."""

import ctypes
import functools
from typing import Any

import torch

from . import compiler
from .records import Launch, Limits
from .source import source


def _driver() -> Any:
    from cuda.bindings import driver

    return driver


def _checked(call: str, *arguments: Any) -> Any:
    """Call a function of the driver and return what it returned, without its error."""
    driver = _driver()
    error, *values = getattr(driver, call)(*arguments)
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"{call}: {error.name}")
    return values[0] if values else None


@functools.cache
def _attribute(name: str, device: int) -> int:
    attribute = getattr(_driver().CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
    return int(_checked("cuDeviceGetAttribute", attribute, _checked("cuDeviceGet", device)))


@functools.lru_cache(maxsize=512)
def _function(file: str, kernel: str, macros: tuple[tuple[str, str | int], ...], device: int) -> Any:
    """Return a kernel, compiled and loaded into the context of a device, which is the current one."""
    major, minor = (_attribute(f"COMPUTE_CAPABILITY_{part}", device) for part in ("MAJOR", "MINOR"))
    code = ctypes.create_string_buffer(compiler.code(source(file, dict(macros)), 10 * major + minor))
    module = _checked("cuModuleLoadData", ctypes.addressof(code))
    function = _checked("cuModuleGetFunction", module, kernel.encode())
    most = _driver().CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    static = _driver().CUfunction_attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES
    left = _attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN", device) - _checked(
        "cuFuncGetAttribute", static, function
    )
    _checked("cuFuncSetAttribute", function, most, left)
    return function


def limits(device: torch.device) -> Limits:
    """Return what a device has."""
    index = _index(device)
    return Limits(_attribute("MULTIPROCESSOR_COUNT", index), _attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN", index))


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


def launch(one: Launch, device: torch.device) -> None:
    """Launch a kernel; nothing waits for it."""
    with torch.cuda.device(device):
        function = _function(one.file, one.kernel, tuple(sorted(one.macros.items())), _index(device))
        pointers = (ctypes.c_void_p * len(one.arguments))(*map(ctypes.addressof, one.arguments))
        stream = torch.cuda.current_stream(device).cuda_stream
        _checked(
            "cuLaunchKernel", function, one.blocks, 1, 1, one.threads, 1, 1, one.shared, stream,
            ctypes.addressof(pointers), 0,
        )  # fmt: skip
