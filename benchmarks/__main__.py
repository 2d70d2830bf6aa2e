"""`python -m benchmarks accuracy`, `speed`, or `figure` for the README's figure from the kept rows."""

import argparse

from . import accuracy, results, speed


def main() -> None:
    """Parses the name and runs that benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=("accuracy", "speed", "figure"))
    parser.add_argument("--csv", metavar="FILE", help="write the rows to this file")
    args = parser.parse_args()
    if args.name == "figure":
        results.draw()
    else:
        (accuracy if args.name == "accuracy" else speed).print_table(args.csv)


if __name__ == "__main__":
    main()
