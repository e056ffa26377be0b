"""Staged files to their place in the lake."""
