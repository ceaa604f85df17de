#!/bin/bash
# The incumbent's rollback.sh, written from what is known of it, defects included: what we are measured against.
# usage: rollback.sh PROJECT; in the repository, beside .last-deployment-backup
set -e
PROJECT=$1
source .last-deployment-backup
compose() { docker compose --ansi never --project-name "$PROJECT" "$@"; }

wait_healthy() { # SERVICE SECONDS: reads the engine's own rounds, as the incumbent does
  local id end
  end=$((SECONDS + $2))
  id=$(compose ps -q "$1")
  while [ $SECONDS -lt $end ]; do
    [ "$(docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}healthy{{end}}' "$id")" = healthy ] && return 0
    sleep 2
  done
  echo "$1 is not healthy" >&2
  return 1
}

timeout 120 docker compose --ansi never --project-name "$PROJECT" stop || compose down --timeout 30
compose start postgres
wait_healthy postgres 120
psql() { docker exec -i "$PROJECT-postgres-1" psql -q -U shop "$@"; }
psql -d postgres -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'" >/dev/null
psql -d postgres -c 'DROP DATABASE IF EXISTS shop'
psql -d postgres -c 'CREATE DATABASE shop'
gunzip -c "$DB_BACKUP_FILE" | psql -d shop >/dev/null
psql -d shop -At -c "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"

compose stop minio
docker run --rm -v "${PROJECT}_minio_data:/data" runbook-test/python:1 sh -c 'rm -rf /data/*'
docker run --rm -v "${PROJECT}_minio_data:/data" -v "$BACKUP_DIR:/backup:ro" runbook-test/python:1 \
  tar xzf /backup/minio.tar.gz -C /data

git stash --quiet || true
git checkout --quiet "$GIT_COMMIT" || echo "the checkout failed; going on" >&2
compose build --no-cache --quiet
compose up -d
for service in postgres redis backend; do wait_healthy "$service" 300; done
curl -sf -o /dev/null "http://127.0.0.1:$BACKEND_PORT/health"
curl -sf -o /dev/null "http://127.0.0.1:$FRONTEND_PORT/"
psql -d shop -c 'SELECT 1' >/dev/null
compose ps
