-- dF/F after hits and misses, for each cell
SELECT ophys_experiment_id, cell_roi_id, avg(dff_mean) FILTER (condition = 'hit') AS hits,
    avg(dff_mean) FILTER (condition = 'miss') AS misses
FROM mean_responses
WHERE condition_set = 'outcomes'
GROUP BY ALL ORDER BY ALL
