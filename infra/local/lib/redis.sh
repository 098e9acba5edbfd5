# shellcheck shell=bash
# Runs an instance's Redis: its settings, start and stop.

redis_conf() {
  cat <<CONF
# Written by infra/local at every start.
bind 127.0.0.1
port $REDIS_PORT
protected-mode yes
daemonize no
dir "$HOME_DIR/redis"
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 512mb
save ""
maxmemory 1gb
maxmemory-policy noeviction
CONF
}

# PONG, not only an open port: while it loads its data it answers -LOADING.
redis_answers() {
  local line=''
  exec 4<>"/dev/tcp/127.0.0.1/$REDIS_PORT" || return 1
  printf 'PING\r\n' >&4
  IFS= read -r -t 2 line <&4 || true
  exec 4>&-
  [ "${line%$'\r'}" = +PONG ]
}

start_redis() {
  clear_stale redis
  if ! runs redis; then
    claim_port redis "$REDIS_PORT"
    step Redis "starting on 127.0.0.1:$REDIS_PORT"
    mkdir -p "$HOME_DIR/redis"
    redis_conf >"$HOME_DIR/redis/redis.conf"
    launch redis redis-server "$HOME_DIR/redis/redis.conf"
  else
    step Redis "checking 127.0.0.1:$REDIS_PORT"
  fi
  wait_ready redis 30 redis_answers
  ok "ready on 127.0.0.1:$REDIS_PORT"
}

stop_redis() { stop_part redis TERM 15 KILL; }
