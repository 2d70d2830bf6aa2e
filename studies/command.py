"""``python -m studies.command ARGUMENTS``: ``lovasz ARGUMENTS`` where torchvision has to be declared."""

from studies.operators import declare

if __name__ == "__main__":
    declare()
    from lovasz.cli import main

    main()
