-- The same cells in familiar and novel sessions
-- Cells that were matched across both; the response to changes in each.
SELECT cell_specimen_id, cre_line,
    avg(dff_mean) FILTER (experience_level = 'Familiar') AS familiar,
    avg(dff_mean) FILTER (experience_level = 'Novel 1') AS novel
FROM mean_responses JOIN ophys_experiments
    USING (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id)
WHERE condition_set = 'kinds' AND condition = 'change' AND cell_specimen_id IS NOT NULL
GROUP BY ALL
HAVING familiar IS NOT NULL AND novel IS NOT NULL
ORDER BY ALL
