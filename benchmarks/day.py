"""A day with a GPU, in minutes: every check, test and benchmark that needs one, what it would stop first."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import gpu

TESTS = ("test_cuda.py", "test_triton.py", "test_gpu_start.py", "test_ops.py")
KERNELS = ("cuda", "triton")


def steps(folder: Path) -> list[tuple[str, Sequence[str], dict[str, str]]]:
    """Return the steps: what each is called, its command, and its environment."""
    python = sys.executable
    found: list[tuple[str, Sequence[str], dict[str, str]]] = [
        ("every kernel, checked and timed", [python, "-m", "lovasz", "info", "--check"], {}),
    ]
    # A process each: one that breaks a device takes all that come after it in the same process along.
    found += [(f"tests/core/{name}", [python, "-m", "pytest", "-q", f"tests/core/{name}"], {}) for name in TESTS]
    for kernel in KERNELS:
        command = [python, "-m", "benchmarks", "gpu", "--quick", "--csv", str(folder / f"gpu-{kernel}.csv")]
        found.append((f"the benchmark, by {kernel}", command, {"LOVASZ_CUDA_KERNEL": kernel}))
    found.append(("logits at a lower resolution", [python, "-m", "benchmarks", "upsample"], {}))
    return found


def print_day(folder: str | None) -> None:
    """Run every step, each even where one before it failed, then profile the slowest row of the first kernel."""
    where = Path(folder or tempfile.mkdtemp())
    where.mkdir(parents=True, exist_ok=True)
    failed = []
    for name, command, environment in steps(where):
        start = time.monotonic()
        print(f"==== {name}: {' '.join(command[1:])}", flush=True)
        code = subprocess.run(command, env=os.environ | environment, check=False).returncode
        print(f"==== {name}: exit code {code} after {time.monotonic() - start:.0f} s", flush=True)
        failed += [name] * (code != 0)
    rows = where / f"gpu-{KERNELS[0]}.csv"
    if rows.exists():
        gpu.print_profile(*gpu.slowest(str(rows)))
    print(f"the rows are in {where}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")
