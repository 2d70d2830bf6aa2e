"""Benchmarks: `python -m benchmarks NAME` prints one table and can write it as CSV."""
