"""Checked access to HDF5 files: `values.HdfFile` is one open file."""
