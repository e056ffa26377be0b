"""The values in the synthetic files agree with each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from builders.bucket import PROJECT
from builders.sampled import all_files, reading, values


def test_trials_have_the_licks_and_rewards_of_their_time(bucket: Path) -> None:
    for path in all_files(bucket):
        with reading(path) as file:
            if "licking" not in file["processing"]:
                continue
            trials = values(file["intervals/trials"])
            clock = file["processing/stimulus/timestamps/timestamps"][()]
            licks = clock[file["processing/licking/licks/data"][()]]
            rewards = file["processing/rewards/volume/timestamps"][()]
        np.testing.assert_array_equal(trials["lick_times"], licks[licks > trials["start_time"][0]])
        rewarded = trials["hit"] | trials["auto_rewarded"]
        np.testing.assert_array_equal(trials["reward_time"][rewarded], rewards)
        np.testing.assert_array_equal(trials["reward_volume"] > 0, rewarded)


def test_traces_and_masks_agree(bucket: Path) -> None:
    partial = 0
    for path in (bucket / PROJECT / "behavior_ophys_experiments").iterdir():
        with reading(path) as file:
            ophys = file["processing/ophys"]
            dff, corrected, demixed, neuropil = (
                ophys[f"{name}/traces/data"][()]
                for name in ("dff", "corrected_fluorescence", "demixed_trace", "neuropil_trace")
            )
            r = ophys["corrected_fluorescence/r/data"][()]
            events = ophys["event_detection/data"][()]
            region = ophys["event_detection/rois"][()]
            cells = ophys["image_segmentation/cell_specimen_table"]
            n = len(cells["id"])
            partial += len(region) < n
            assert dff.shape == (len(ophys["dff/traces/timestamps"]), n) == corrected.shape
            assert events.shape == (len(dff), len(region))
            assert (events >= 0).all()
            assert (events > 0).mean() < 0.1
            assert len(ophys["event_detection/lambdas"]) == len(region)
            np.testing.assert_allclose(demixed - r * neuropil, corrected, rtol=1e-9)
            # F0 = corrected / (1 + dff) has one shape over time for all cells, and dF/F follows from it.
            baseline = corrected / (1 + dff)
            np.testing.assert_allclose(
                baseline / baseline[0], (baseline[:, :1] / baseline[0, :1]).repeat(n, 1), rtol=1e-9
            )
            masks = cells["image_mask"][()]
            for i, mask in enumerate(masks):
                y, x = np.nonzero(mask)
                box = x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1
                assert box == tuple(cells[name][i] for name in ("x", "y", "width", "height"))
            np.testing.assert_array_equal(
                ophys["images/segmentation_mask_image"][()], masks.any(axis=0)
            )
    assert partial == 1
