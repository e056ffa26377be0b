"""The command line, `vblake`: one module per command.

Commands import what they need when they run: `vblake --help` must not wait for DuckDB, PyArrow or
h5py.
"""
