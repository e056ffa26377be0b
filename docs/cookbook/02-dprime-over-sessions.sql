-- d' over the sessions of each mouse
SELECT mouse_id, date_of_acquisition, session_type,
    dprime(avg(hit::INT) FILTER (go), avg(false_alarm::INT) FILTER (catch)) AS dprime
FROM trials JOIN behavior_sessions USING (mouse_id, behavior_session_id)
WHERE behavior_type = 'active_behavior'
GROUP BY ALL ORDER BY ALL
