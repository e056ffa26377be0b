-- All cells of a plane around changes of the image, as a heat map
-- Cells with the largest response come first.
SELECT rank() OVER (ORDER BY dff_mean DESC, cell_roi_id) AS cell, cell_roi_id, dff_mean, dff_trace
FROM mean_responses
WHERE ophys_experiment_id = 802088043 AND condition_set = 'kinds' AND condition = 'change'
ORDER BY cell
