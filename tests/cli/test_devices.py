"""`lovasz compare` in several processes, by --devices and by torchrun."""

import subprocess
import sys

import torch

from lovasz.study.processes import leave


def test_the_command_trains_on_two_devices(tmp_path):
    command = ["compare", "--loss", "lovasz", "--seeds", "1", "--steps", "2", "--devices", "2", "--threads", "1"]
    command += ["--network", "tests.study.own:encoded", "--freeze", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "lovasz", *command, "--out", str(tmp_path), "--accelerator", "cpu"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1 of 1: lovasz, seed 0, lr 0.01: val mIoU") == 1
    assert "2 steps on cpu" in done.stdout
    assert ", 2 processes" in done.stdout
    assert (tmp_path / "report.html").exists()

    # In the first of the two steps the encoder was kept as it was, in the second it was trained.
    states = [torch.load(file, weights_only=True) for file in tmp_path.glob("runs/*/last.pt")]
    assert [int(one["network.encoder.1.num_batches_tracked"]) for one in states] == [1]
    assert (states[0]["network.encoder.1.weight"] != 1).all()

    # As torchrun starts `lovasz evaluate`; the run above is one of those that it wants.
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.cli.leaving"]
    command = ["compare", "--resume", str(tmp_path), "--seeds", "2"]
    again = subprocess.run([sys.executable, *torchrun, *command], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "not left" not in again.stderr
    assert "; 1 finished before" in again.stdout
    assert again.stdout.count("2 of 2: lovasz, seed 1, lr 0.01: val mIoU") == 1


def test_where_pytorch_has_no_processes_there_is_no_group_to_leave(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    monkeypatch.delattr(torch.distributed, "is_initialized")  # as in such a build
    leave()
