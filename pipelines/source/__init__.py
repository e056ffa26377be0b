"""Where the released files are, and how their bytes are read."""
