"""The released SDK's objects, read from a lake instead of from NWB files.

A notebook that uses AllenSDK 2.16 goes on with one line changed:

    from vblake.sdk import VisualBehaviorOphysProjectCache

    cache = VisualBehaviorOphysProjectCache.from_lake("lake")
    experiment = cache.get_behavior_ophys_experiment(801108141)

Index, columns, dtypes, shapes and values are the SDK's, and so are the values that it has where the
lake has NULL. It needs `pip install "vblake[sdk]"`.
"""

from importlib import import_module

from vblake.extras import import_extra, pyarrow_problem

_pandas = import_extra("pandas")
if problem := pyarrow_problem():
    raise ImportError(problem)
# pandas 3 would import this, and what it needs for text, while the first frame is made.
import_module("pyarrow.pandas_compat")
_pandas.Index(["text"])

from vblake.sdk.cache import VisualBehaviorOphysProjectCache  # noqa: E402 - after the message
from vblake.sdk.session import (  # noqa: E402
    BehaviorOphysExperiment,
    BehaviorSession,
    Coordinates,
    Image,
)

__all__ = [
    "BehaviorOphysExperiment",
    "BehaviorSession",
    "Coordinates",
    "Image",
    "VisualBehaviorOphysProjectCache",
]
