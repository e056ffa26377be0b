# Can a plane tell changes from repeats?
# Nearest of two mean population responses, each flash left out in turn. Half of each kind, so that
# chance is 0.5. The lake needs `vblake ingest --tables stimulus_responses`.
import numpy as np

import vblake

lake = vblake.open("demo/lake")
flashes = lake.sql("""
    SELECT is_change, list(dff_response ORDER BY cell_roi_id) AS cells
    FROM stimulus_responses
        JOIN stimulus_presentations USING (mouse_id, behavior_session_id, stimulus_presentations_id)
    WHERE ophys_experiment_id = 802088043 AND NOT omitted AND dff_response IS NOT NULL
    GROUP BY stimulus_presentations_id, is_change ORDER BY stimulus_presentations_id
""").pl()
responses = np.array(flashes["cells"].to_list(), dtype=float)
change = flashes["is_change"].to_numpy()
repeats = np.flatnonzero(~change)
chosen = np.concatenate([np.flatnonzero(change), repeats[:: max(1, len(repeats) // change.sum())]])
correct = []
for flash in chosen:
    others = chosen[chosen != flash]
    means = [responses[others[change[others] == kind]].mean(axis=0) for kind in (False, True)]
    distances = [np.linalg.norm(responses[flash] - mean) for mean in means]
    correct.append(bool(np.argmin(distances)) == change[flash])
answer = {
    "flashes": len(correct),
    "changes": int(change.sum()),
    "correct": np.mean(correct).round(3),
}
