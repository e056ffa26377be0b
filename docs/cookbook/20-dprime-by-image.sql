-- d' by image
SELECT change_image_name AS image_name,
    dprime(avg(hit::INT) FILTER (go), avg(false_alarm::INT) FILTER (catch)) AS dprime
FROM trials
WHERE go OR catch
GROUP BY ALL ORDER BY ALL
