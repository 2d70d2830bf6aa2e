"""Every kernel there is here; Triton's where its interpreter stands in for a GPU (TRITON_INTERPRET=1)."""

import importlib
import os

from lovasz._kernels import cpu, plain

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
COMPILED = [cpu.Kernel(name) for name in cpu.names()]
OTHERS = COMPILED + ([importlib.import_module("lovasz._kernels.triton.passes")] if INTERPRETED else [])
KERNELS = [plain, *OTHERS]
