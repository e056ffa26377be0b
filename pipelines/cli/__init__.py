"""The command line: what people type and see. The work is done elsewhere in `pipelines`.

Commands import what they need when they run: `vblake --help` must not wait for DuckDB, Arrow or HDF5.
"""
