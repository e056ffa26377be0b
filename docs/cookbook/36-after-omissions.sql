-- Response to the flash after an omission, against other repeats
-- The lake needs `vblake ingest --tables stimulus_responses`.
SELECT ophys_experiment_id, avg(dff_response) FILTER (post_omitted) AS after_omission,
    avg(dff_response) FILTER (NOT post_omitted) AS other_repeats
FROM stimulus_responses
    JOIN annotated_presentations USING (mouse_id, behavior_session_id, stimulus_presentations_id)
WHERE NOT is_change AND NOT omitted
GROUP BY ALL ORDER BY ALL
