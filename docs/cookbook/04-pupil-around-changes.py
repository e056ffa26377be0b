# Pupil area around changes of the image
import vblake

lake = vblake.open("demo/lake")
session = lake.session(802082008)
changes = session.stimulus_presentations.filter("is_change")["start_time"]
answer = lake.around("pupil_area", session, changes, before=1, after=3, outside="drop").mean()
