-- Licks around changes, trial by trial
-- A row per lick; `trial` counts the go trials of the session.
SELECT dense_rank() OVER (ORDER BY trials_id) AS trial, hit, lick - change_time AS seconds
FROM (
    SELECT trials_id, hit, change_time, unnest(lick_times) AS lick
    FROM trials
    WHERE behavior_session_id = 802082008 AND go
)
WHERE lick - change_time BETWEEN -1 AND 3
ORDER BY trial, seconds
