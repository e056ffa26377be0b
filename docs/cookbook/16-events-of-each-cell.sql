-- Events per second, for each cell
SELECT ophys_experiment_id, cell_roi_id,
    len(list_filter(events, lambda size: size > 0)) / (timestamps[-1] - timestamps[1]) AS event_rate
FROM events JOIN ophys_timestamps
    USING (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id)
ORDER BY ALL
