"""Dagster wiring only; the work is in `pipelines`."""
