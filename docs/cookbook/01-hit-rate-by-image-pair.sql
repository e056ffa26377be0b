-- Hit rate by pair of images
SELECT initial_image_name, change_image_name, count(*) AS go_trials, avg(hit::INT) AS hit_rate
FROM trials
WHERE go
GROUP BY ALL ORDER BY ALL
