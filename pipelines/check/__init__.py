"""Whether rows, a file and a lake keep the declarations."""
