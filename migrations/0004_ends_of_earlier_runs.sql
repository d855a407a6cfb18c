-- Runs that had ended before their end had a column of its own.
UPDATE `runs` SET `finished_at` = CAST(round(unixepoch(json_extract(`document`, '$.finished_at'), 'subsec') * 1000) AS INTEGER)
WHERE `finished_at` IS NULL AND json_extract(`document`, '$.finished_at') IS NOT NULL;
