# shellcheck shell=bash
# Runs an instance's Kafka, Postgres and Redis in containers, where native packages can't be had (macOS).
# Same ports, same passwords, so that nothing else needs to know.

COMPOSE_FILE_PATH=$ROOT/infra/compose/compose.yaml

docker_answers() { has docker && docker info >/dev/null 2>&1; }

native_possible() { has apt-get || { postgres_bin '*' && has redis-server && java_program && has mvn; } >/dev/null; }

# choose_way -> native or docker. MAMBOGO_STACK settles it by hand.
choose_way() {
  case ${MAMBOGO_STACK:-} in
    native | docker)
      echo "$MAMBOGO_STACK"
      return
      ;;
    '') ;;
    *) fail "MAMBOGO_STACK=$MAMBOGO_STACK is neither native nor docker" 'leave it away, and what can be had is used' ;;
  esac
  if native_possible; then
    echo native
  elif docker_answers; then
    echo docker
  else
    fail 'there is no apt here to install Kafka, Postgres and Redis, and no Docker engine answers' \
      'start Docker (Docker Desktop, colima, …), then try again'
  fi
}

compose() {
  STACK_POSTGRES_PORT=$POSTGRES_PORT STACK_REDIS_PORT=$REDIS_PORT STACK_KAFKA_PORT=$KAFKA_PORT STACK_REGISTRY_PORT=$REGISTRY_PORT \
    docker compose -p "mambogo-$INSTANCE-$(printf %s "$ROOT" | sha256 8)" -f "$COMPOSE_FILE_PATH" "$@"
}

compose_runs() { [ -f "$RUN_DIR/compose" ]; }

start_compose() {
  local port part
  docker_answers || fail 'the Docker engine does not answer' 'start it, then try again'
  if ! compose_runs; then
    for part in postgres redis kafka registry; do
      case $part in
        postgres) port=$POSTGRES_PORT ;; redis) port=$REDIS_PORT ;; kafka) port=$KAFKA_PORT ;; *) port=$REGISTRY_PORT ;;
      esac
      claim_port "$part" "$port"
    done
  fi
  step containers 'Kafka, Postgres, Redis and the schema registry, by Docker'
  end_line
  touch "$RUN_DIR/compose" "$HOME_DIR/docker"
  compose up -d --wait || fail 'the containers did not come up' "make logs NAME=$INSTANCE shows why"
  ok 'ready'
}

stop_compose() {
  compose_runs || return 0
  step containers stopping
  end_line
  compose down || fail 'Docker could not stop the containers' 'is the engine still there? Start it, then make down'
  rm -f "$RUN_DIR/compose"
  ok stopped
}

# The volumes of an instance that was ever run by Docker.
delete_compose_data() {
  [ -f "$HOME_DIR/docker" ] || return 0
  compose down --volumes || fail 'Docker could not delete the data' 'is the engine still there? Start it, then make reset'
}
