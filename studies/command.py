"""``python -m studies.command ARGUMENTS``: ``lovasz ARGUMENTS`` with timm's networks beside any torchvision."""

from lovasz.cli import main
from studies.operators import declare

if __name__ == "__main__":
    declare()
    main()
