"""Servers for tests and benchmarks."""
