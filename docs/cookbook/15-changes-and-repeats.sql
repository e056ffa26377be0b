-- Changed against repeated images, for each plane
SELECT ophys_experiment_id, avg(dff_mean) FILTER (condition = 'change') AS changed,
    avg(dff_mean) FILTER (condition = 'repeat') AS repeated
FROM mean_responses
WHERE condition_set = 'kinds'
GROUP BY ophys_experiment_id ORDER BY ophys_experiment_id
