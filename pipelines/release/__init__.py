"""What a release holds, and what a selection means for it."""
