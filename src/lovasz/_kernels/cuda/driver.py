"""Launch kernels through CUDA's driver, on the device of the tensors and on PyTorch's current stream."""

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Any

import torch

from . import compiler
from .records import Launch, Limits
from .source import source

#: What PyTorch says of errors of work before, which any call may return.
EARLIER = (
    " (of an operation before it: CUDA_LAUNCH_BLOCKING=1 shows which; after it the process can use the GPU no more)"
)
HINTS = {"CUDA_ERROR_ASSERT": EARLIER, "CUDA_ERROR_ILLEGAL_ADDRESS": EARLIER}


def _driver() -> Any:
    from cuda.bindings import driver

    return driver


def _checked(call: str, *arguments: Any) -> Any:
    """Call a function of the driver and return what it returned, without its error."""
    driver = _driver()
    error, *values = getattr(driver, call)(*arguments)
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"{call}: {error.name}{HINTS.get(error.name, '')}")
    return values[0] if values else None


@functools.cache
def _attribute(name: str, device: int) -> int:
    attribute = getattr(_driver().CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
    return int(_checked("cuDeviceGetAttribute", attribute, _checked("cuDeviceGet", device)))


@functools.cache
def _context(device: int) -> Any:
    """Return the context of a device that PyTorch uses."""
    return _checked("cuDevicePrimaryCtxRetain", _checked("cuDeviceGet", device))


def _enter(device: int) -> None:
    """Make a context current where there is none: in a thread, as autograd's, that has not used CUDA yet."""
    if not int(_checked("cuCtxGetCurrent")):
        _checked("cuCtxSetCurrent", _context(device))


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """Let code be loaded while a graph is captured, which drivers from 12.3 on can do."""
    relaxed = _driver().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    before = _checked("cuThreadExchangeStreamCaptureMode", relaxed)
    try:
        yield
    finally:
        _checked("cuThreadExchangeStreamCaptureMode", before)


@functools.cache
def _function(file: str, kernel: str, macros: tuple[tuple[str, str | int], ...], device: int) -> Any:
    """Return a kernel, compiled and loaded into the context of a device, which is the current one."""
    major, minor = (_attribute(f"COMPUTE_CAPABILITY_{part}", device) for part in ("MAJOR", "MINOR"))
    compiles, runs = compiler.version(), _checked("cuDriverGetVersion")
    if compiles[0] > runs // 1000:
        runs = f"{runs // 1000}.{runs % 1000 // 10}"
        raise RuntimeError(f"NVRTC compiles for CUDA {compiles[0]}.{compiles[1]}, the driver is for CUDA {runs}")
    code = ctypes.create_string_buffer(compiler.code(source(file, dict(macros)), 10 * major + minor))
    with _loading():  # all of it: a driver may put off what it loads to the first use of the function
        try:
            return _loaded(code, kernel, device)
        except RuntimeError as error:
            if "OUT_OF_MEMORY" not in str(error) or torch.cuda.is_current_stream_capturing():
                raise
        torch.cuda.empty_cache()  # what PyTorch keeps for later is not there for code
        return _loaded(code, kernel, device)


def _loaded(code: Any, kernel: str, device: int) -> Any:
    """Return the function of a kernel, which may take all the shared memory there is."""
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
        index = _index(device)
        _enter(index)
        function = _function(one.file, one.kernel, tuple(sorted(one.macros.items())), index)
        pointers = (ctypes.c_void_p * len(one.arguments))(*map(ctypes.addressof, one.arguments))
        stream = torch.cuda.current_stream(device).cuda_stream
        _checked(
            "cuLaunchKernel", function, one.blocks, 1, 1, one.threads, 1, 1, one.shared, stream,
            ctypes.addressof(pointers), 0,
        )  # fmt: skip
