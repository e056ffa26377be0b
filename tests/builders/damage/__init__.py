"""Kinds of damaged NWB file: what is done to a good one, and what the error must say.

A kind is its name, the kind of file it is done to, what is done, and the parts of the error: table, column and problem in full, what was
expected and found as patterns. `KINDS` has them all.
"""

from builders.damage import keys, missing, raw, storage, values
from builders.damage.model import BEHAVIOR, EXPERIMENT, KINDS, Kind

__all__ = ["BEHAVIOR", "EXPERIMENT", "KINDS", "Kind", "keys", "missing", "raw", "storage", "values"]
