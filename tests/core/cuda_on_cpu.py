"""The CUDA kernels on the CPU: the same sources, compiled under a small stand-in for CUDA; see cuda_on_cpu.hpp."""

import ctypes
import functools
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from lovasz._kernels.cuda import apply, count, weigh
from lovasz._kernels.cuda.records import Limits
from lovasz._kernels.cuda.source import source

HERE = Path(__file__).parent
FOLDER = Path(tempfile.gettempdir(), f"lovasz-cuda-on-cpu-{os.getuid()}")
COMPILER = os.environ.get("CXX", "g++")
ORDERS = (0, 1, 2)  # of threads and blocks: first to last, last to first, shuffled


@functools.cache
def _compiled(file, kernel, macros, structures):
    """A kernel as a function of C."""
    text = source(file, dict(macros), f'#include "{HERE / "cuda_on_cpu.hpp"}"\n')
    arguments = ", ".join(f"*static_cast<{name}*>(given[{i}])" for i, name in enumerate(structures))
    text += (
        'extern "C" int on_cpu_run(void** given, long long blocks, int threads, int shared, int order) {\n'
        f"  const auto of_a_thread = [](void** given) {{ {kernel}({arguments}); }};\n"
        "  return on_cpu::run(blocks, threads, shared, order, of_a_thread, given);\n}\n"
    )
    return built(text)


def built(text):
    """The function `on_cpu_run` of a C++ text; compiled once for all processes, as it is everywhere the same."""
    header = (HERE / "cuda_on_cpu.hpp").read_bytes()
    library = FOLDER / f"{hashlib.sha256(text.encode() + header).hexdigest()[:32]}.so"
    if not library.exists():
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            Path(folder, "kernel.cpp").write_text(text)
            options = [
                "-std=c++17",
                "-O1",
                "-fPIC",
                "-shared",
                "-Wall",
                "-Wno-unknown-pragmas",
                "-Wno-unused-function",
            ]
            subprocess.run([COMPILER, *options, "kernel.cpp", "-o", "kernel.so"], cwd=folder, check=True)
            os.replace(Path(folder, "kernel.so"), library)
    function = ctypes.CDLL(str(library)).on_cpu_run
    function.argtypes = [ctypes.c_void_p, ctypes.c_longlong, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    return function


class OnCPU:
    """A launcher, and the kernel by it: the functions of `contract.Kernel`."""

    def __init__(self, multiprocessors=2, shared=232448, order=0):
        self._limits = Limits(multiprocessors, shared)
        self.order = order
        self.launches = []
        self.__name__ = "lovasz._kernels.cuda"
        self.count = functools.partial(count.count, self)
        self.weigh = functools.partial(weigh.weigh, self)
        self.apply = functools.partial(apply.apply, self)

    def limits(self, device):
        return self._limits

    def launch(self, launch, device):
        self.launches.append(launch)
        structures = tuple(type(one).__name__ for one in launch.arguments)
        macros = tuple(sorted(launch.macros.items()))
        function = _compiled(launch.file, launch.kernel, macros, structures)
        given = (ctypes.c_void_p * len(launch.arguments))(*map(ctypes.addressof, launch.arguments))
        assert launch.shared <= self._limits.shared
        code = function(ctypes.addressof(given), launch.blocks, launch.threads, launch.shared, self.order)
        assert code == 0, f"{launch.kernel} of {launch.file}: code {code}"
