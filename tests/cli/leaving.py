"""`lovasz` as a program that says so where it ends in a group of processes that it has not left."""

import atexit
import sys

import torch

from lovasz.cli import main


def _say() -> None:
    if torch.distributed.is_initialized():
        print("not left", file=sys.stderr)


if __name__ == "__main__":
    atexit.register(_say)
    main()
