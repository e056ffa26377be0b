-- Response latency by novelty of the image
SELECT is_image_novel, count(*) AS hits, median(response_latency) AS response_latency
FROM stimulus_presentations p JOIN trials USING (mouse_id, behavior_session_id, trials_id)
WHERE p.is_change AND hit
GROUP BY ALL ORDER BY ALL
