-- dF/F after hits and misses, for each cell
SELECT ophys_experiment_id, cell_roi_id, avg(dff_response) FILTER (hit) AS hits,
    avg(dff_response) FILTER (miss) AS misses
FROM stimulus_responses JOIN presentation_annotations
    USING (behavior_session_id, stimulus_presentations_id)
WHERE go
GROUP BY ALL ORDER BY ALL
