-- Ten seconds of all cells
SELECT cell_roi_id, timestamps, dff
FROM dff_traces_long
WHERE ophys_experiment_id = 802088043 AND timestamps BETWEEN 300 AND 310
ORDER BY cell_roi_id, timestamps
