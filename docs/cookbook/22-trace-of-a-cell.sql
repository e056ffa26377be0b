-- The trace of one cell
SELECT timestamps, dff
FROM dff_traces_long
WHERE ophys_experiment_id = 802088043 AND cell_roi_id = 1082080038
ORDER BY timestamps
