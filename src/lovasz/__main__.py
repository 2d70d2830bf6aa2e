"""`python -m lovasz` is the command `lovasz`."""

from .cli import main

main()
