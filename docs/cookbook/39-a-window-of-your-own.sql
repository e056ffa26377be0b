-- dF/F around omissions in a longer window, for all planes of a mouse
-- The macros take their arguments from a table that stands before them, one recording a row.
SELECT e.ophys_experiment_id, experience_level, lag, avg(seconds) AS seconds, avg(dff) AS dff
FROM ophys_experiments e, dff_around(
    e.ophys_experiment_id,
    (SELECT list(start_time) FROM stimulus_presentations p
     WHERE p.behavior_session_id = e.behavior_session_id AND omitted),
    before := 3, after := 4)
WHERE e.mouse_id = 402448
GROUP BY ALL ORDER BY ALL
