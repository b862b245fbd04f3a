#!/bin/sh
# What of the official image's start the compose file uses: a cluster at the first start, with POSTGRES_USER, POSTGRES_DB and the password of a
# file. The socket lies in /tmp (PGHOST): buildah keeps nothing below /run.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --pgdata="$PGDATA" --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --encoding=UTF8 --locale=C \
    --auth-local=trust --auth-host=scram-sha-256
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  pg_ctl --pgdata="$PGDATA" --wait --options="-c listen_addresses='' -c unix_socket_directories=$PGHOST" start
  createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl --pgdata="$PGDATA" --wait stop
fi
exec "$@" -c 'listen_addresses=*' -c "unix_socket_directories=$PGHOST"
