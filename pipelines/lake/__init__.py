"""The lake's files: where they are, how they are written, merged and replaced."""
