-- Response latency by novelty of the image
SELECT is_image_novel, count(*) AS hits, median(response_time - change_time) AS response_latency
FROM annotated_presentations
WHERE hit
GROUP BY ALL ORDER BY ALL
