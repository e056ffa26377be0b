"""The alternatives to vblake. Each script runs in its own environment (`peers.environments`).

The scripts import nothing of this repository, and their last line is JSON, like that of every
measured process.
"""
