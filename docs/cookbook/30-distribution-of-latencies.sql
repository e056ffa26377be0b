-- Distribution of response latencies, by line
-- Bins of 50 ms; `share` is of all hits of the line.
SELECT cre_line, floor(response_latency / 0.05) * 0.05 AS latency,
    count(*) / sum(count(*)) OVER (PARTITION BY cre_line) AS share
FROM trials JOIN behavior_sessions USING (mouse_id, behavior_session_id)
WHERE hit
GROUP BY cre_line, latency ORDER BY cre_line, latency
