"""What a user could take instead of vblake. Each script runs in an environment of its own, made by
`benchmarks.peers.environments`.

The scripts import nothing of this repository and end with a line of JSON, as every measured process
does.
"""
