# The cells drawn on the maximum projection
# `answer.plot()` shows it.
import vblake

lake = vblake.open("demo/lake")
plane = lake.experiment(802088043)
answer = plane.max_projection.where(~plane.roi_masks.any("cell"))
