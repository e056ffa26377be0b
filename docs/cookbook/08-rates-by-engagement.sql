-- Hit and false-alarm rates by engagement
SELECT engaged, avg(hit::INT) FILTER (go) AS hit_rate,
    avg(false_alarm::INT) FILTER (catch) AS false_alarm_rate
FROM trials JOIN rolling_performance USING (mouse_id, behavior_session_id, trials_id)
    JOIN behavior_sessions USING (mouse_id, behavior_session_id)
WHERE (go OR catch) AND behavior_type = 'active_behavior'
GROUP BY engaged ORDER BY engaged
