# All traces of dF/F
import vblake

lake = vblake.open("demo/lake")
answer = lake.scan("dff_traces", mouse_id=402448).collect()
