#!/bin/bash
# The best that a skilled operator could type by hand, as root on the engine's machine: what each phase can take.
# usage: raw.sh backup|rollback PROJECT BACKUPS PHASES; in the repository. PHASES gets a line a phase: name, seconds.
set -euo pipefail
WHAT=$1 PROJECT=$2 BACKUPS=$3 PHASES=${4:-/dev/null}
BUILT=(backend pdf-worker frontend)
POSTGRES=$PROJECT-postgres-1
IMAGE=$(docker inspect --format '{{.Image}}' "$POSTGRES")
FILES=$(docker volume inspect --format '{{.Mountpoint}}' "${PROJECT}_minio_data")
compose() { docker compose --ansi never --progress quiet --project-name "$PROJECT" "$@"; }
psql() { docker exec -i "$POSTGRES" psql -qAt -U shop -v ON_ERROR_STOP=1 -d postgres "$@"; }
beside() { # PROGRAM …: a program of PostgreSQL's own image, beside the server
  docker run --rm --network "container:$POSTGRES" --env PGPASSWORD="$POSTGRES_PASSWORD" --volume "$BACKUPS:/backup" \
    --entrypoint "$1" "$IMAGE" -h 127.0.0.1 -U shop "${@:2}"
}
until_good() { # COMMAND …: four times a second
  for _ in {1..480}; do "$@" >/dev/null 2>&1 && return; sleep 0.25; done
  echo "never good: $*" >&2
  return 1
}

backup() {
  mkdir "$BACKUPS"
  beside pg_dump --format=directory --jobs=2 --compress=lz4 --file=/backup/db shop
  docker pause "$PROJECT-minio-1"
  cp -a --reflink=auto "$FILES" "$BACKUPS/files"
  docker unpause "$PROJECT-minio-1"
  for service in "${BUILT[@]}"; do docker tag "$PROJECT-$service" "$PROJECT-$service:before"; done
  git rev-parse HEAD > "$BACKUPS/commit"
  (cd "$BACKUPS" && find db files -type f -print0 | xargs -0 sha256sum > SUMS)
}

point() { (cd "$BACKUPS" && sha256sum --check --quiet SUMS); }
stage() {
  psql -c 'CREATE DATABASE shop_new'
  beside pg_restore --exit-on-error --jobs=2 --dbname=shop_new /backup/db
  beside pg_restore --create --schema-only --file=- /backup/db |
    sed -nE 's/^(ALTER (DATABASE|ROLE .* IN DATABASE)) shop /\1 shop_new /p' | psql
}
stop() { docker stop --time 10 $(printf "$PROJECT-%s-1 " redis minio "${BUILT[@]}") >/dev/null; } # all at once
files() {
  find "$FILES" -mindepth 1 -delete
  cp -a --reflink=auto "$BACKUPS/files/." "$FILES/"
}
database() {
  psql -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'" \
    -c 'BEGIN' -c 'ALTER DATABASE shop RENAME TO shop_old' -c 'ALTER DATABASE shop_new RENAME TO shop' -c 'COMMIT' \
    -c 'ALTER DATABASE shop_old ALLOW_CONNECTIONS false'
}
images() { for service in "${BUILT[@]}"; do docker tag "$PROJECT-$service:before" "$PROJECT-$service:latest"; done; }
code() { git switch --quiet --detach "$(cat "$BACKUPS/commit")"; }
start() { # by the engine: `up` would wait for its rounds of health checks
  compose create --no-build
  docker start $(printf "$PROJECT-%s-1 " redis minio "${BUILT[@]}") >/dev/null
  until_good curl -sf "http://127.0.0.1:$BACKEND_PORT/health"
  until_good curl -sf "http://127.0.0.1:$FRONTEND_PORT/"
}
verify() {
  curl -sf "http://127.0.0.1:$BACKEND_PORT/health/db"
  curl -sf "http://127.0.0.1:$FRONTEND_PORT/"
}

if [ "$WHAT" = backup ]; then backup; exit; fi
for phase in point stage stop files database images code start verify; do
  began=$EPOCHREALTIME
  "$phase"
  echo "$phase $(bc <<< "$EPOCHREALTIME - $began")" >> "$PHASES"
done
