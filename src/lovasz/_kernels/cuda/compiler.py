"""From the source of a kernel to code for an architecture, by NVRTC, which PyTorch's builds for CUDA bring.

From 2.11 on those for Linux bring `cuda.bindings` as well, by which it is called.

What was compiled is kept in a folder, `lovasz` in `$XDG_CACHE_HOME` or `~/.cache`, under a digest of the source,
the options, the architecture and the version of the compiler. Where nothing can be written, each process compiles.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

#: The square root may be wrong in its last digit: what it is for is rounded to a bin. Numbers below 1.2e-38 are 0,
#: which saves instructions of every exponential and root.
OPTIONS = ("--std=c++17", "--prec-sqrt=false", "--ftz=true")


#: Boards with a GPU of their own kind: what is compiled for these is not for the next.
EMBEDDED = {72, 87, 101, 110}


def folder() -> Path | None:
    """Return where compiled kernels are kept; None where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "lovasz"
    except RuntimeError:
        return None


def version() -> tuple[int, int]:
    """Return the version of NVRTC."""
    nvrtc = _nvrtc()
    major, minor = _checked(nvrtc, nvrtc.nvrtcVersion())
    return major, minor


def code(source: str, architecture: int) -> bytes:
    """Return the code of a source for an architecture (90 for compute capability 9.0), kept or compiled.

    Raises:
        ImportError: without `cuda.bindings`, or without NVRTC.
        RuntimeError: if it does not compile, with what the compiler said.
    """
    nvrtc = _nvrtc()
    supported = sorted(_checked(nvrtc, nvrtc.nvrtcGetSupportedArchs())[0])
    options = [*OPTIONS, _target(architecture, supported)]
    key = hashlib.sha256("\0".join((source, *options, *map(str, version()))).encode()).hexdigest()
    kept = folder()
    found = kept and _read(kept / f"{key}.bin")
    if not found:
        found, _ = compiled(source, options)
        if kept is not None:
            _write(kept / f"{key}.bin", found)
    return found


def _target(architecture: int, supported: list[int]) -> str:
    """Return the option for an architecture; for one newer than the compiler, code that the driver adapts."""
    if architecture in supported:
        return f"--gpu-architecture=sm_{architecture}"
    older = [one for one in supported if one <= architecture and one not in EMBEDDED]
    if not older:
        raise RuntimeError(f"NVRTC compiles for sm_{supported[0]} and later, not for sm_{architecture}")
    return f"--gpu-architecture=compute_{older[-1]}"


def _nvrtc() -> Any:
    from cuda.bindings import nvrtc

    return nvrtc


def _checked(nvrtc: Any, returned: tuple[Any, ...]) -> Any:
    """Return what a call returned, without its error."""
    error, *values = returned
    if error != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC: {error.name}")
    return values


def compiled(source: str, options: list[str]) -> tuple[bytes, str]:
    """Return the code of a source, and what the compiler said."""
    nvrtc = _nvrtc()
    (program,) = _checked(nvrtc, nvrtc.nvrtcCreateProgram(source.encode(), b"lovasz.cu", 0, None, None))
    try:
        (error,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        said = _text(nvrtc, program)
        if error != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            first = next((line for line in said.splitlines() if "error" in line), "")
            raise RuntimeError(f"NVRTC {'.'.join(map(str, version()))}: {error.name}: {first}\n{said}")
        binary = any("=sm_" in option for option in options)
        size_of, get = (
            (nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN) if binary else (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
        )
        (size,) = _checked(nvrtc, size_of(program))
        found = bytes(size)
        _checked(nvrtc, get(program, found))
        return found, said
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _text(nvrtc: Any, program: Any) -> str:
    (size,) = _checked(nvrtc, nvrtc.nvrtcGetProgramLogSize(program))
    said = bytes(size)
    _checked(nvrtc, nvrtc.nvrtcGetProgramLog(program, said))
    return said.rstrip(b"\0").decode(errors="replace")


def _read(file: Path) -> bytes | None:
    """Return what is kept in a file, None where there is nothing or where it is not whole."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, kept = content[:32], content[32:]
    return kept if kept and hashlib.sha256(kept).digest() == digest else None


def _write(file: Path, found: bytes) -> None:
    """Keep code in a file, which is whole as soon as it is there; where that cannot be, it is not kept."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(hashlib.sha256(found).digest() + found)
            os.replace(name, file)
        except OSError:
            os.unlink(name)
            raise
