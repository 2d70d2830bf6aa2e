"""What the kernels of CUDA and of Triton take of a GPU, compiled for each architecture, where none need be."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from . import launches, results
from .cases import Case

ARCHITECTURES = (80, 90, 100)


class Kernel(NamedTuple):
    """One kernel as it is launched: the types of its pointers, None for what is not given, and its settings."""

    name: str
    function: Any
    pointers: dict[str, str | None]
    settings: dict[str, Any]
    warps: int


class RegistersRow(NamedTuple):
    """Registers of a thread, bytes that it spills, and bytes of shared memory of a block."""

    compiler: str
    kernel: str
    architecture: str
    registers: int
    spilled_bytes: int
    shared_bytes: int
    version: str


def kernels() -> list[Kernel]:
    """Every kernel at the default settings, for the classes, types and forms of the GPU benchmark."""
    import triton.language as tl

    from lovasz._kernels.triton import apply, count, finer, tile, weigh

    common = {"PER_IMAGE": False, "HAS_IGNORED": True, "HAS_MASK": False, "REAL": tl.float32, "AT": tl.int32}
    read: dict[str, str | None] = {
        "target": "*i64",
        "mask": None,
        "bad": "*i64",
        "counters": "*i32",
        "valid": "*i64",
    }
    looked_up: dict[str, str | None] = {"target": "*i64", "mask": None, "weights": "*fp32", "grad": "*fp32"}
    found = []
    for classes, real, fused in ((21, "fp32", False), (21, "bf16", False), (2, "fp32", False), (150, "fp32", False),
                                 (300, "fp32", False), (21, "fp32", True)):  # fmt: skip
        length, width = tile.shape_of_tile(classes)
        settings = common | {"CLASSES": classes, "WIDTH": width, "LENGTH": length, "CROSS_ENTROPY": fused,
                             "SMOOTHING": 0.1 * fused, "HAS_WEIGHT": fused}  # fmt: skip
        label = f"softmax {classes} {real}{' + ce' * fused}"
        ce = {"class_weights": "*fp32" if fused else None}
        pointers = read | ce | {"logits": f"*{real}", "sums": "*fp64"}
        found.append(Kernel(f"count {label}", count._count_softmax, pointers, settings, tile.WARPS))
        pointers = (
            looked_up | ce | {"ce_grad": "*fp32" if fused else None, "logits": f"*{real}", "gradient": f"*{real}"}
        )
        settings = settings | {"HAS_GRAD": True}
        found.append(Kernel(f"apply {label}", apply._apply_softmax, pointers, settings, tile.WARPS))
    for form, fused in (("sigmoid", False), ("hinge", False), ("sigmoid", True), ("hinge", True)):
        settings = common | {"LENGTH": tile.TILE, "FORM": form, "CROSS_ENTROPY": fused, "HAS_WEIGHT": fused}
        label = f"{form} fp32{' + ce' * fused}"
        ce = {"sides": "*fp32" if fused else None}
        pointers = read | ce | {"logits": "*fp32", "sums": "*fp64"}
        found.append(Kernel(f"count {label}", count._count_binary, pointers, settings, tile.WARPS))
        pointers = looked_up | ce | {
            "ce_grad": "*fp32" if fused else None, "logits": "*fp32", "gradient": "*fp32"
        }  # fmt: skip
        settings = settings | {"HAS_GRAD": True}
        found.append(Kernel(f"apply {label}", apply._apply_binary, pointers, settings, tile.WARPS))
    tables: dict[str, str | None] = {"counters": "*i32", "valid": "*i64", "table": "*i64", "numbers": "*i64"}
    settings = {"BINS": 8192, "BLOCK": count.BLOCK, "CLASSES_A_ROW": 21, "COPIES": 8}
    found.append(Kernel("merge", count._merge, tables, settings, tile.WARPS))
    tables = {"table": "*i64", "coefficients": "*fp64", "losses": "*fp64", "weights": "*fp32"}
    for name, alpha, beta in (("weigh", 1.0, 1.0), ("weigh, other measures", 0.3, 0.7)):
        settings = {"BINS": 8192, "BLOCK": weigh.BLOCK, "HINGE": False, "ALPHA": alpha, "BETA": beta}
        found.append(Kernel(name, weigh._weigh, tables, settings, weigh.WARPS))
    axes: dict[str, str | None] = {
        f"{table}_{axis}": "*fp64" if table == "weight" else "*i32"
        for table in ("lower", "weight", "begin", "end")
        for axis in "zyx"
    }
    for name, three, most in (("a quarter", False, (9, 1, 9)), ("half, 3-D", True, (5, 5, 5))):
        settings = {"REAL": tl.float32, "BLOCK": finer.BLOCK}
        pointers = axes | {"logits": "*fp32", "strip": "*fp32", "gradient": "*fp32"}
        interpolate, collect = finer._interpolate, finer._collect
        warps = finer.WARPS
        found.append(Kernel(f"interpolate {name}", interpolate, pointers, settings | {"THREE": three}, warps))
        counts = dict(zip(("MOST_Z", "MOST_Y", "MOST_X"), most, strict=True))
        found.append(Kernel(f"collect {name}", collect, pointers, settings | counts, warps))
    return found


def compiled(kernel: Kernel, architecture: int) -> RegistersRow:
    """Compiles one kernel for one architecture; every integer is 32 bits wide."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.compiler import get_ptxas, sm_arch_from_capability
    from triton.compiler import ASTSource

    signature, constants = {}, dict(kernel.settings)
    for name in kernel.function.arg_names:
        if name in kernel.settings or kernel.pointers.get(name, "") is None:
            signature[name] = "constexpr"
            constants.setdefault(name, None)
        else:
            signature[name] = kernel.pointers.get(name) or "i32"
    source = ASTSource(kernel.function, signature, constants)
    target = GPUTarget("cuda", architecture, 32)
    built = triton.compile(source, target=target, options={"num_warps": kernel.warps})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.ptx")
        file.write_text(built.asm["ptx"])
        command = [get_ptxas(architecture).path, "-v", f"--gpu-name={sm_arch_from_capability(architecture)}"]
        said = subprocess.run([*command, str(file), "-o", "/dev/null"], capture_output=True, text=True, check=True)
    registers = max(int(n) for n in re.findall(r"Used (\d+) registers", said.stderr))
    spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill", said.stderr))
    return RegistersRow(
        "Triton", kernel.name, f"sm_{architecture}", registers, spilled, built.metadata.shared, triton.__version__
    )


#: Classes by one, by several threads, and not in registers; both layouts; each type; each form.
CUDA_CASES = (
    Case("21", (4, 21, 128, 128)),
    Case("20, class last", (4, 20, 128, 128), layout="channels_last"),
    Case("21, bfloat16", (4, 21, 128, 128), dtype=torch.bfloat16),
    Case("10, float64", (4, 10, 128, 128), dtype=torch.float64),
    Case("150", (4, 150, 128, 128)),
    Case("150, class last", (4, 150, 128, 128), layout="channels_last"),
    Case("2000", (4, 2000, 128, 128)),
    Case("sigmoid of 5", (4, 5, 128, 128), "sigmoid"),
    Case("hinge, float16", (4, 1, 128, 128), "hinge", torch.float16),
)


def asked() -> Iterator[tuple[str, launches.Launch]]:
    """Return the launches of CUDA that differ in what they are compiled with, each with a name."""
    seen = set()
    for case in CUDA_CASES:
        for fused, upsample in ((False, None), (True, None), (False, "linear")):
            both = launches.launches_of(case, fused, upsample)
            for one in (*both.forward, *both.backward):
                key = (one.file, one.kernel, *sorted(one.macros.items()))
                if key not in seen:
                    seen.add(key)
                    yield f"{one.kernel} {case.name}{' + ce' * fused}", one


def of_cuda(name: str, launch: launches.Launch, architecture: int) -> RegistersRow:
    """Compiles one launch of CUDA for one architecture."""
    from cuda.bindings import nvrtc

    from lovasz._kernels.cuda import compiler
    from lovasz._kernels.cuda.source import source

    options = [*compiler.OPTIONS, f"--gpu-architecture=sm_{architecture}", "-Xptxas=-v"]
    _, said = compiler.compiled(source(launch.file, launch.macros), options)
    (told,) = re.findall(rf"entry function '{launch.kernel}'.*?Compile time", said, re.DOTALL)
    (registers,) = re.findall(r"Used (\d+) registers", told)
    spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill", told))
    shared = sum(int(n) for n in re.findall(r"(\d+) bytes smem", told)) + launch.shared
    version = ".".join(map(str, nvrtc.nvrtcVersion()[1:]))
    return RegistersRow("NVRTC", name, f"sm_{architecture}", int(registers), spilled, shared, version)


def rows() -> Iterator[RegistersRow]:
    """Every kernel on every architecture."""
    for name, launch in asked():
        for architecture in ARCHITECTURES:
            yield of_cuda(name, launch, architecture)
    for kernel in kernels():
        for architecture in ARCHITECTURES:
            yield compiled(kernel, architecture)


def line(row: RegistersRow) -> str:
    """One row under the heading."""
    return (
        f"{row.compiler:8}{row.kernel:36}{row.architecture:>8}{row.registers:11}{row.spilled_bytes:15}"
        f"{row.shared_bytes:14}"
    )


def print_table(csv_file: str | None) -> None:
    """Prints every row; that one spills is an error."""
    print(f"{'by':8}{'kernel':36}{'for':>8}{'registers':>11}{'spilled bytes':>15}{'shared bytes':>14}")
    found = results.gather(rows(), line, csv_file)
    spilling = [f"{r.compiler}: {r.kernel} on {r.architecture}" for r in found if r.spilled_bytes]
    if spilling:
        raise SystemExit(f"spills: {', '.join(spilling)}")
    print("no kernel spills")
