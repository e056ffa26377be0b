"""A synthetic bucket in the layout of the Allen Institute Visual Behavior 2P release.

**Everything written here is simulated.** No file holds a recording and no row describes an animal
that lived. Never mistake the data for the released data, publish them as such or pool them with it.
Every NWB file says so in `/general/experiment_description`, every manifest in its `data_pipeline`.
The files exist so that the pipeline can be tried, tested and measured without the network.

The form is faithful: object keys, manifest, CSV columns, HDF5 paths, types, storage and the algebra
between the tables (trials follow from flashes and licks, dF/F from events, the CSV's trial counts
from the trials). Every number is invented, drawn from one small model of mouse, task and cortex
(`design`, `behavior`, `physiology`).

`bucket.write_sample` is where to start.
"""
