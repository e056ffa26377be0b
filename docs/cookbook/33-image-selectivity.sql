-- Which image each cell prefers, and how selective it is
-- Lifetime sparseness of the mean responses: 0 for a cell that responds to all images alike, 1 for
-- one that responds to a single image. Negative means count as 0.
SELECT ophys_experiment_id, cell_roi_id, arg_max(image_name, dff_mean) AS preferred_image,
    (1 - pow(avg(r), 2) / nullif(avg(r * r), 0)) / (1 - 1 / count(*)) AS lifetime_sparseness
FROM (
    SELECT *, greatest(dff_mean, 0)::DOUBLE AS r
    FROM mean_responses
    WHERE condition_set = 'images' AND NOT is_change
)
GROUP BY ALL ORDER BY ALL
