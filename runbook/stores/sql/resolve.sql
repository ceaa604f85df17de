SELECT run_id
FROM run
WHERE substr(run_id, 1, length(:prefix)) = :prefix
  AND (run_id = :prefix OR NOT EXISTS (SELECT 1 FROM run WHERE run_id = :prefix))
ORDER BY rowid DESC
