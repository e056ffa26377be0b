-- Response of each cell to each image
SELECT ophys_experiment_id, cell_roi_id, image_name, n, dff_mean, dff_sem
FROM mean_responses
WHERE condition_set = 'images' AND NOT is_change
ORDER BY ALL
