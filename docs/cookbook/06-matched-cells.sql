-- Cells that were matched across sessions, and the experience of each
SELECT cell_specimen_id, cre_line, experience_levels, ophys_experiment_ids, cell_roi_ids
FROM matched_cells
ORDER BY experiment_count DESC, cell_specimen_id
