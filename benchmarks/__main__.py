"""`python -m benchmarks accuracy` or `speed`."""

import argparse

from . import accuracy, speed


def main() -> None:
    """Parses the name and runs that benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=("accuracy", "speed"))
    parser.add_argument("--csv", help="speed: write the rows to this file")
    args = parser.parse_args()
    if args.name == "accuracy":
        accuracy.print_table()
    else:
        speed.print_table(args.csv)


if __name__ == "__main__":
    main()
