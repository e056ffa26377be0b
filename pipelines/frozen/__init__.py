"""Frozen lakes: what `vblake publish` puts on a web server or into a bucket."""
