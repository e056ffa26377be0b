"""HDF5 values, and the checks of how a file stores them."""
