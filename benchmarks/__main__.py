"""`python -m benchmarks NAME`: accuracy, coverage, cpu, day, decide, evaluate, gpu, model, pairing, reduce,
resample, scaling, small, upsample.

`day` runs every check, test and benchmark that needs a GPU. For two none need be there: `model` says what the
launches of the CUDA kernel should take on an H100, `registers` compiles the kernels for GPUs. `pages` puts the kept
rows into the pages of docs, and draws those of the CPU.
"""

import argparse

import torch

from . import (
    accuracy,
    coverage,
    cpu,
    day,
    decide,
    evaluate,
    gpu,
    model,
    pairing,
    reduce,
    registers,
    resample,
    results,
    scaling,
    tables,
    upsample,
)


def main() -> None:
    """Parses the name and runs that benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = (
        "accuracy",
        "coverage",
        "cpu",
        "day",
        "decide",
        "evaluate",
        "gpu",
        "model",
        "pairing",
        "reduce",
        "registers",
        "resample",
        "scaling",
        "small",
        "upsample",
        "pages",
    )
    parser.add_argument("name", choices=names)
    parser.add_argument("--csv", metavar="FILE", help="write the rows to this file; day: to this folder")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="smaller inputs, few repeats, of all but accuracy, reduce and registers",
    )
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="NAME", help="cpu, gpu: cases that begin like this"
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="cpu, decide, gpu, small, upsample: timed rounds")
    parser.add_argument("--all-peers", action="store_true", help="cpu: peers on the largest cases as well")
    args = parser.parse_args()
    if args.name == "pages":
        results.draw()
        tables.write()
    elif args.name == "coverage":
        coverage.print_table(args.csv, args.quick)
    elif args.name == "cpu":
        repeats = args.repeats or (3 if args.quick else 11)
        cpu.print_table(args.csv, cpu.Options(repeats, args.quick, args.only, args.all_peers))
    elif args.name == "gpu":
        repeats = args.repeats or (5 if args.quick else 21)
        gpu.print_table(args.csv, cpu.Options(repeats, args.quick, args.only, True, "cuda"))
    elif args.name == "day":
        day.print_day(args.csv)
    elif args.name == "model":
        model.print_table(cpu.selected(gpu.CASES, cpu.Options(only=args.only)), args.csv)
    elif args.name == "decide":
        decide.print_table(args.csv, args.quick, args.repeats or (2 if args.quick else 7))
    elif args.name == "evaluate":
        evaluate.print_table(args.csv, args.quick)
    elif args.name == "pairing":
        pairing.print_table(args.csv, args.quick)
    elif args.name == "reduce":
        reduce.print_table(args.csv)
    elif args.name == "registers":
        registers.print_table(args.csv)
    elif args.name == "resample":
        resample.print_table(args.csv, args.quick)
    elif args.name == "scaling":
        scaling.print_scaling(args.csv, args.quick)
    elif args.name == "small":
        scaling.print_small(args.csv, args.repeats or (20 if args.quick else 300))
    elif args.name == "upsample":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        upsample.print_table(args.csv, args.quick, args.repeats or (3 if args.quick else 7), device)
    else:
        accuracy.print_table(args.csv)


if __name__ == "__main__":
    main()
