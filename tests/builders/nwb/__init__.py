"""NWB files of the released layout, hand-made and tiny, in memory.

A file is a plain dictionary, so that a test changes it by `|` and `without`: an absolute path stands for a dataset (text, numbers, a
link), `path@name` for an attribute. `behavior_file` and `experiment_file` are whole files with a clock of 4 frames a second.
"""

from builders.nwb.behavior import (
    EYE,
    IMAGES,
    OUTCOMES,
    RIG,
    TEMPLATE,
    TRIALS,
    behavior_file,
    eye_tracking,
    licks,
    metadata,
    old_behavior_file,
    rig_geometry,
    series,
    templates,
    trials,
    trials_of,
)
from builders.nwb.files import (
    BEHAVIOR_SESSION_ID,
    EXPERIMENT_ID,
    INF,
    NAME,
    NAN,
    OPHYS_SESSION_ID,
    Content,
    changed,
    column,
    columns,
    dynamic_table,
    make,
    problem,
    ragged,
    read,
    recording,
    without,
)
from builders.nwb.ophys import (
    CELLS,
    FRAMES,
    OPHYS,
    ROI_IDS,
    experiment_file,
    whole_file,
)
