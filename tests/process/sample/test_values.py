"""The values in the synthetic files agree with each other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from builders.bucket import PROJECT
from builders.sampled import OUTCOMES, A, B, all_files, reading, values


def test_trials_follow_from_licks_rewards_and_clock(bucket: Path) -> None:
    for path in all_files(bucket):
        with reading(path) as file:
            trials = values(file["intervals/trials"])
            clock = file["processing/stimulus/timestamps/timestamps"][()]
            ends = file["intervals/trials/lick_times_index"][()].astype(np.int64)
            passive = "licking" not in file["processing"]
            frames = np.zeros(0, np.int64) if passive else file["processing/licking/licks/data"][()]
            rewards = np.zeros(0) if passive else file["processing/rewards/volume/timestamps"][()]
        # Exactly one of the six outcomes.
        assert (np.sum([trials[name] for name in OUTCOMES], axis=0) == 1).all()
        assert (trials["is_change"] == (trials["go"] | trials["auto_rewarded"])).all()
        starts = np.concatenate([[0], ends[:-1]])
        start_frames = np.searchsorted(clock, trials["start_time"])
        bounds = np.append(start_frames, len(clock))
        delayed = trials["change_frame"] >= 0
        delay = trials["change_time"][delayed] - clock[trials["change_frame"][delayed]]
        assert np.ptp(delay) < 1e-9
        assert 0.02 < delay[0] < 0.04
        for i in range(len(ends)):
            own = clock[frames[(frames > bounds[i]) & (frames <= bounds[i + 1])]]
            if not passive:
                np.testing.assert_array_equal(trials["lick_times"][starts[i] : ends[i]], own)
            latency = trials["response_latency"][i]
            if trials["aborted"][i]:
                assert len(own) > 0
                assert np.isnan(latency)
                assert np.isnan(trials["change_time"][i])
            else:
                assert latency == (own[0] - trials["change_time"][i] if len(own) else np.inf)
                responded = trials["hit"][i] or trials["false_alarm"][i]
                assert trials["auto_rewarded"][i] or (0.15 <= latency <= 0.75) == responded
            got = rewards[
                (rewards >= trials["start_time"][i]) & (rewards <= trials["stop_time"][i])
            ]
            rewarded = trials["hit"][i] or trials["auto_rewarded"][i]
            assert len(got) == rewarded
            assert (trials["reward_volume"][i] > 0) == rewarded
            assert (
                trials["reward_time"][i] == got[0]
                if rewarded
                else np.isnan(trials["reward_time"][i])
            )
        assert len(rewards) == trials["hit"].sum() + trials["auto_rewarded"].sum()


def test_stored_presentation_columns_equal_the_recomputed(bucket: Path) -> None:
    for path in all_files(bucket):
        with reading(path) as file:
            names = [name for name in file["intervals"] if name.endswith("_presentations")]
            task = next(
                name for name in names if not name.startswith(("spontaneous", "natural_movie"))
            )
            shown, trials = values(file[f"intervals/{task}"]), values(file["intervals/trials"])
            assert ("spontaneous_presentations" in names) == (
                "TRAINING_0" not in str(file["session_description"][()])
            )
        omitted = shown["omitted"].astype(bool)
        previous, count = "", -1
        last_stop = trials["stop_time"].max()
        sham_frames = set(trials["change_frame"][trials["catch"]].tolist())
        for i, name in enumerate(shown["image_name"]):
            assert (name == "omitted") == omitted[i]
            change = bool(previous) and not omitted[i] and name != previous
            assert bool(shown["is_change"][i]) == change
            previous = previous if omitted[i] else name
            count = count if omitted[i] else 0 if change or i == 0 else count + 1
            assert shown["flashes_since_change"][i] == count
            before = np.flatnonzero(trials["start_time"] < shown["start_time"][i])
            trial = (
                trials["id"][before[-1]]
                if before.size and shown["start_time"][i] < last_stop
                else -99
            )
            assert shown["trials_id"][i] == trial
            assert shown["is_sham_change"][i] == (
                trial != -99 and shown["start_frame"][i] in sham_frames
            )
        assert shown["active"].all()
        changes = shown["start_frame"][shown["is_change"].astype(bool)]
        real = trials["change_frame"][trials["is_change"]]
        np.testing.assert_array_equal(changes, real)


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


def test_templates_are_one_for_all_files(bucket: Path) -> None:
    digests: dict[str, set[str]] = {}
    for path in all_files(bucket):
        with reading(path) as file:
            for name, template in file["stimulus/templates"].items():
                data = template["data"][()].tobytes() + template["unwarped"][()].tobytes()
                digests.setdefault(name, set()).add(hashlib.blake2b(data).hexdigest())
    assert set(digests) == {f"{A}.07.14", f"{B}.07.14", "grating"}
    assert all(len(found) == 1 for found in digests.values())
