-- dF/F around omissions, by line and experience
-- mean_responses has the mean trace of each cell from -1 to 2 s. Recipe 39 has a longer window.
SELECT cre_line, experience_level, time, count(*) AS rois, avg(dff_trace) AS dff
FROM mean_responses_long JOIN ophys_experiments USING (ophys_experiment_id)
WHERE condition = 'omission'
GROUP BY ALL ORDER BY ALL
