-- The sessions of each mouse, in order
SELECT mouse_id, cre_line, count(*) AS sessions,
    list(session_type ORDER BY date_of_acquisition) AS session_types
FROM behavior_sessions
GROUP BY ALL ORDER BY ALL
