"""Runs a function in several processes of one gloo group."""

import datetime
import traceback

import torch


def _rank(rank, world, function, folder, seconds, args):
    torch.set_num_threads(1)
    value = error = None
    try:
        torch.distributed.init_process_group(
            "gloo",
            f"file://{folder}/store",
            world_size=world,
            rank=rank,
            timeout=datetime.timedelta(seconds=seconds),
        )
        value = function(rank, world, *args)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
    except Exception:
        error = traceback.format_exc()
    torch.save((value, error), folder / f"{rank}.pt")


def start(function, world, folder, *args, seconds=60):
    """The processes, started: each saves what the function returned, or what it raised, to RANK.pt."""
    context = torch.multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_rank, args=(rank, world, function, folder, seconds, args), daemon=True)
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    return processes


def result(folder, rank):
    """What the function returned in that process."""
    value, error = torch.load(folder / f"{rank}.pt", weights_only=False)
    assert error is None, f"rank {rank}: {error}"
    return value


def run(function, world, folder, *args):
    """What the function returned in each process, by rank; its arguments are rank, number of processes, args."""
    processes = start(function, world, folder, *args)
    for process in processes:
        process.join(200)
    found = [result(folder, rank) for rank in range(world)]
    assert [process.exitcode for process in processes] == [0] * world
    return found
