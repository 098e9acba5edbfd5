# shellcheck shell=bash
# Runs an instance's Postgres: its data folder, its settings, its start and stop.
# Roles and tables of the services are not made here but by `mambogo migrate`.

POSTGRES_USER_NAME=postgres # whom root hands Postgres to, which refuses to run as root
AS_POSTGRES=()

# In the background and in wait loops a lost password prompt would hang: the password goes by environment.
postgres_sql() { # DATABASE SQL
  PGPASSWORD=mambogo PGCONNECT_TIMEOUT=3 "$(postgres_bin '*')/psql" -X -q -A -t -v ON_ERROR_STOP=1 \
    -h 127.0.0.1 -p "$POSTGRES_PORT" -U mambogo_admin -d "$1" -c "$2"
}

postgres_answers() { postgres_sql postgres 'select 1' >/dev/null; }

# Sets PGDATA_DIR to a folder that Postgres' user can reach, and AS_POSTGRES to the words that become that user.
find_postgres_home() {
  PGDATA_DIR=$HOME_DIR/postgres AS_POSTGRES=()
  if ! is_root; then return 0; fi
  id "$POSTGRES_USER_NAME" >/dev/null 2>&1 || fail "there is no system user '$POSTGRES_USER_NAME' to run Postgres as" 'reinstall the package postgresql, or run as an ordinary user'
  AS_POSTGRES=(setpriv "--reuid=$POSTGRES_USER_NAME" "--regid=$POSTGRES_USER_NAME" --init-groups --)
  # shellcheck disable=SC2016
  if [ -L "$PGDATA_DIR" ]; then
    PGDATA_DIR=$(readlink "$PGDATA_DIR")
  elif ! "${AS_POSTGRES[@]}" sh -c 'cd -- "$1"' sh "$HOME_DIR" 2>/dev/null; then
    PGDATA_DIR=$(postgres_refuge)/postgres
    # Data without a link to it is of an instance that was deleted by hand.
    rm -rf -- "$PGDATA_DIR"
    ln -sn "$PGDATA_DIR" "$HOME_DIR/postgres"
    note "the user '$POSTGRES_USER_NAME' cannot enter this checkout: Postgres keeps its data in $PGDATA_DIR"
  fi
}

# postgres_refuge -> a folder outside the checkout, of this checkout and instance alone, made if need be
postgres_refuge() {
  local top
  top=/var/tmp/mambogo-$(printf %s "$ROOT" | sha256 12)
  mkdir -p "$top/$INSTANCE"
  if [ -L "$top" ] || [ ! -O "$top" ]; then
    fail "$top belongs to somebody else" 'remove it, or move the checkout to a folder that every user can enter'
  fi
  echo "$top/$INSTANCE"
}

init_postgres() {
  local bin=$1 fresh=$PGDATA_DIR.new log
  log=$(log_file postgres)
  if [ -e "$fresh" ]; then
    note 'an earlier start was cut short while it made the database: beginning anew'
    rm -rf -- "$fresh"
  fi
  step Postgres 'making its data folder'
  mkdir -m 700 "$fresh"
  if is_root; then chown "$POSTGRES_USER_NAME:" "$fresh"; fi
  # The shell between makes the password's pipe as the user who reads it: initdb opens it anew, by its name.
  # shellcheck disable=SC2016
  (cd / && ${AS_POSTGRES[@]+"${AS_POSTGRES[@]}"} sh -c 'echo mambogo | "$@"' sh "$bin/initdb" -D "$fresh" -U mambogo_admin \
    --auth=scram-sha-256 --pwfile=/dev/stdin --encoding=UTF8 --no-locale --no-sync --no-instructions) >>"$log" 2>&1 ||
    fail_with_log 'Postgres could not make its data folder' "$log"
  echo "include_if_exists = 'mambogo.conf'" >>"$fresh/postgresql.conf"
  mv "$fresh" "$PGDATA_DIR"
  ok "data folder made (version $(cat "$PGDATA_DIR/PG_VERSION"))"
}

postgres_conf() {
  local shared=512MB connections=200
  case $INSTANCE in
    # pages that do not fit are written and read again, a copy each way: with 256 MB a tenth of Postgres' work
    bench) shared=2GB ;;
    test | chaos) shared=256MB connections=400 ;;
  esac
  cat <<CONF
# Written by infra/local at every start.
listen_addresses = '127.0.0.1'
port = $POSTGRES_PORT
unix_socket_directories = ''
max_connections = $connections
password_encryption = 'scram-sha-256'

fsync = on
synchronous_commit = on
shared_buffers = $shared
max_wal_size = 4GB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
autovacuum_naptime = 10s

timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
log_min_duration_statement = 1s
CONF
  # The plan of every slow statement beside its text, and what each kind of statement costs in all, where the
  # distribution ships the modules.
  local modules=()
  if [ -e "$(dirname "$1")/lib/auto_explain.so" ]; then
    modules+=(auto_explain)
    printf '%s\n' 'auto_explain.log_min_duration = 1s' 'auto_explain.log_settings = on'
  fi
  if [ -e "$(dirname "$1")/lib/pg_stat_statements.so" ]; then modules+=(pg_stat_statements); fi
  if [ ${#modules[@]} != 0 ]; then printf "shared_preload_libraries = '%s'\n" "$(IFS=,; echo "${modules[*]}")"; fi
  # lz4 is a build option of Postgres: asked of the program itself.
  if (cd / && ${AS_POSTGRES[@]+"${AS_POSTGRES[@]}"} "$1/postgres" -D "$PGDATA_DIR" -c wal_compression=lz4 -C wal_compression) >/dev/null 2>&1; then
    echo 'wal_compression = lz4'
  else
    echo 'wal_compression = on'
  fi
}

start_postgres() {
  local bin
  clear_stale postgres
  if ! runs postgres; then
    find_postgres_home
    bin=$(postgres_bin '*') || fail 'the Postgres server programs are missing' 'make install'
    claim_port postgres "$POSTGRES_PORT"
    if [ ! -e "$PGDATA_DIR" ]; then
      init_postgres "$bin"
    elif [ ! -s "$PGDATA_DIR/PG_VERSION" ]; then
      fail "${PGDATA_DIR#"$ROOT"/} is there but holds no Postgres data, or this user may not read it" "make reset NAME=$INSTANCE makes it anew (the data is lost)"
    fi
    bin=$(postgres_bin "$(cat "$PGDATA_DIR/PG_VERSION")") ||
      fail "the data was made by Postgres $(cat "$PGDATA_DIR/PG_VERSION"), which is not installed" "install it, or make reset NAME=$INSTANCE (the data is lost)"
    if ! is_root && [ ! -O "$PGDATA_DIR" ]; then
      fail "the data folder ${PGDATA_DIR#"$ROOT"/} belongs to another user" 'run this as the user who made it'
    fi
    step Postgres "starting on 127.0.0.1:$POSTGRES_PORT"
    postgres_conf "$bin" >"$RUN_DIR/postgres.conf"
    cat "$RUN_DIR/postgres.conf" >"$PGDATA_DIR/mambogo.conf"
    launch postgres ${AS_POSTGRES[@]+"${AS_POSTGRES[@]}"} "$bin/postgres" -D "$PGDATA_DIR"
  else
    step Postgres "checking 127.0.0.1:$POSTGRES_PORT"
  fi
  wait_ready postgres 60 postgres_answers
  if [ -z "$(postgres_sql postgres "select 1 from pg_database where datname = 'mambogo'")" ]; then
    postgres_sql postgres 'create database mambogo'
  fi
  ok "ready on 127.0.0.1:$POSTGRES_PORT"
}

# SIGINT is Postgres' fast stop: sessions are ended, what was committed is safe. SIGQUIT recovers at the next start.
stop_postgres() { stop_part postgres INT 30 QUIT; }
