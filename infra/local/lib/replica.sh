# shellcheck shell=bash
# Runs a streaming replica of the dev instance's Postgres, for the catalogue's reads (make up REPLICA=1).
# Its copy is taken anew at each start: that takes seconds, and needs no slot that could fill the primary's disk.

replica_port() { asked_port replica $((POSTGRES_PORT + 1)); }

replica_url() { echo "postgres://mambogo_edge:mambogo@127.0.0.1:$(replica_port)/mambogo"; }

replica_sql() { # SQL
  PGPASSWORD=mambogo PGCONNECT_TIMEOUT=3 "$(postgres_bin '*')/psql" -X -q -A -t -v ON_ERROR_STOP=1 \
    -h 127.0.0.1 -p "$(replica_port)" -U mambogo_admin -d mambogo -c "$1"
}

replica_answers() { [ "$(replica_sql 'select pg_is_in_recovery()')" = t ]; }

start_replica() {
  local bin port data log
  port=$(replica_port)
  clear_stale replica
  if ! runs replica; then
    find_postgres_home
    bin=$(postgres_bin "$(cat "$PGDATA_DIR/PG_VERSION")") || fail 'the Postgres server programs are missing' 'make install'
    data=$PGDATA_DIR-replica log=$(log_file replica)
    claim_port replica "$port"
    step Replica 'copying the primary'
    rm -rf -- "$data"
    mkdir -m 700 "$data"
    if is_root; then chown "$POSTGRES_USER_NAME:" "$data"; fi
    # shellcheck disable=SC2016
    (cd / && PGPASSWORD=mambogo ${AS_POSTGRES[@]+"${AS_POSTGRES[@]}"} "$bin/pg_basebackup" -D "$data" -R -X stream \
      --checkpoint=fast --no-sync -h 127.0.0.1 -p "$POSTGRES_PORT" -U mambogo_admin) >>"$log" 2>&1 ||
      fail_with_log 'the primary could not be copied' "$log"
    step Replica "starting on 127.0.0.1:$port"
    launch replica ${AS_POSTGRES[@]+"${AS_POSTGRES[@]}"} "$bin/postgres" -D "$data" -c "port=$port" -c shared_buffers=128MB
  else
    step Replica "checking 127.0.0.1:$port"
  fi
  wait_ready replica 60 replica_answers
  ok "ready on 127.0.0.1:$port"
}

stop_replica() { stop_part replica INT 30 QUIT; }
