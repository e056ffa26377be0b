"""Benchmarks. Each module is a command with `--help` that prints a table and writes JSON."""
