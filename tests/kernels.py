"""Every kernel there is here; Triton's where its interpreter stands in for a GPU (TRITON_INTERPRET=1)."""

import importlib
import os

from lovasz import _cpu, _torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
COMPILED = [_cpu.Kernel(name) for name in _cpu.names()]
OTHERS = COMPILED + ([importlib.import_module("lovasz._triton")] if INTERPRETED else [])
KERNELS = [_torch, *OTHERS]
