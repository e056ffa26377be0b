-- Event rate by line and experience
-- Events per second of the recording.
SELECT cre_line, experience_level, count(*) AS rois,
    avg(len(list_filter(events, lambda size: size > 0)) / (timestamps[-1] - timestamps[1])) AS event_rate
FROM events
    JOIN ophys_timestamps
        USING (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id)
    JOIN ophys_experiments
        USING (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id)
GROUP BY ALL ORDER BY ALL
