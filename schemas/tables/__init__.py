"""The declarations, a module per subject."""
