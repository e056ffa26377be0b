-- Cells and noise of their traces, by area, depth and line
SELECT targeted_structure, imaging_depth, cre_line, count(*) AS cells, avg(noise_std) AS noise_std
FROM cells LEFT JOIN events
    USING (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id, cell_roi_id)
GROUP BY ALL ORDER BY ALL
