"""Reads NWB files of the dataset: HDF5 in, columns of the lake's tables out.

`recording.Recording` is one open file. Each module reads the tables of one subject from it, and
`readers.READERS` says which function reads which table.
"""
