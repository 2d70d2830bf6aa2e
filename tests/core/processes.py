"""Runs a function, or the command, in other processes: several of one gloo group, or one to be killed."""

import datetime
import multiprocessing
import os
import sys
import traceback

import torch

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_context = torch.multiprocessing.get_context(METHOD)
# One process loads what takes seconds; all others are forked from it, and begin at once.
_context.set_forkserver_preload(["pytest", "torch._dynamo", "torch.distributed.fsdp", "torchmetrics",
                                 "lovasz.cli.app", "lovasz.study.train.training"])  # fmt: skip


def process(function, *args):
    """A process that is to call a function; it ends with this one."""
    return _context.Process(target=function, args=args, daemon=True)


def _command(output, arguments, prepare, *given):
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{output}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    os.environ["COLUMNS"] = "80"
    prepare(*given)
    sys.argv[1:] = arguments
    from lovasz.cli import main

    main()


def command(output, arguments, prepare, *given):
    """A process that calls `prepare` and runs the command, which writes to OUTPUT.stdout and OUTPUT.stderr."""
    return process(_command, output, arguments, prepare, *given)


def _rank(rank, world, function, folder, args):
    torch.set_num_threads(1)
    value = error = None
    try:
        torch.distributed.init_process_group(
            "gloo",
            f"file://{folder}/store",
            world_size=world,
            rank=rank,
            timeout=datetime.timedelta(minutes=3),
        )
        value = function(rank, world, *args)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
    except Exception:
        error = traceback.format_exc()
    torch.save((value, error), folder / f"{rank}.pt")


def start(function, world, folder, *args):
    """The processes, started: each saves what the function returned, or what it raised, to RANK.pt."""
    processes = [process(_rank, rank, world, function, folder, args) for rank in range(world)]
    for one in processes:
        one.start()
    return processes


def result(folder, rank):
    """What the function returned in that process."""
    value, error = torch.load(folder / f"{rank}.pt", weights_only=False)
    assert error is None, f"rank {rank}: {error}"
    return value


def run(function, world, folder, *args):
    """What the function returned in each process, by rank; its arguments are rank, number of processes, args."""
    processes = start(function, world, folder, *args)
    for one in processes:
        one.join(200)
    ended = [rank for rank in range(world) if (folder / f"{rank}.pt").exists()]
    found = [result(folder, rank) for rank in ended]  # an error says more than that others wait for that process
    assert ended == list(range(world))
    assert [one.exitcode for one in processes] == [0] * world
    return found
