# Correlation of all cells of a plane
import numpy as np

import vblake

lake = vblake.open("demo/lake")
answer = np.corrcoef(lake.experiment(802088043).dff)
