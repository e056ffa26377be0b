-- dF/F around omissions, by line and experience
SELECT cre_line, experience_level, time, count(*) AS cells, avg(dff_trace) AS dff
FROM mean_responses_long JOIN ophys_experiments
    USING (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id)
WHERE condition = 'omission'
GROUP BY ALL ORDER BY ALL
