# shellcheck shell=bash
# Knows an instance: its folder, its ports, and the settings that the binary reads, written to .local/NAME/env.
# Order of precedence: the environment, then .env in the repository root, then the defaults here.
# The addresses of Postgres, Redis and Kafka are always the instance's own, so that a variable left over in a
# shell can never point the local stack at somebody's real cluster.

DOTENV_KEYS=()
BROKERS=1 # numbers of the instance's brokers

# Reads KEY=VALUE lines as data: nothing in the file is executed. What the environment has already, wins.
read_dotenv() {
  local file=$ROOT/.env line key value number=0
  [ -f "$file" ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    line=${line%$'\r'}
    line=${line#"${line%%[![:space:]]*}"}
    case $line in '' | '#'*) continue ;; esac
    line=${line#export }
    key=${line%%=*} value=${line#*=}
    if [[ $line != *=* || ! $key =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]; then
      fail ".env line $number is not KEY=VALUE" 'mend that line; .env.example shows the form'
    fi
    case $value in
      \"*\") value=${value#\"} value=${value%\"} ;;
      \'*\') value=${value#\'} value=${value%\'} ;;
      *)
        value=${value%%[[:space:]]#*}
        value=${value%"${value##*[![:space:]]}"}
        ;;
    esac
    DOTENV_KEYS+=("$key")
    if [ -z "${!key+set}" ]; then export "$key=$value"; fi
  done <"$file"
}

use_instance() {
  INSTANCE=$1
  case $INSTANCE in
    dev) PORT_PREFIX=DEV BASE=20000 ;;
    test) PORT_PREFIX=TEST BASE=30000 ;;
    chaos) PORT_PREFIX=CHAOS BASE=10000 ;;
    bench) PORT_PREFIX=BENCH BASE=40000 ;;
    *) fail "there is no instance '$INSTANCE'" 'the instances are: dev, test, chaos, bench' ;;
  esac
  HOME_DIR=$ROOT/.local/$INSTANCE
  LOG_DIR=$HOME_DIR/log
  RUN_DIR=$HOME_DIR/run
  ENV_FILE=$HOME_DIR/env
  if [ "$INSTANCE" = chaos ]; then use_cluster; fi
}

# Of chaos: three brokers, and as many processes of ours as its runner has started.
use_cluster() {
  local file
  BROKERS='1 2 3' PARTS=''
  for file in "$RUN_DIR"/*.pid; do
    if [ -f "$file" ]; then PARTS+=" $(basename "$file" .pid)"; fi
  done
}

make_folders() {
  umask 022
  mkdir -p "$HOME_DIR" "$LOG_DIR" "$RUN_DIR" 2>/dev/null ||
    fail "the folder ${HOME_DIR#"$ROOT"/} cannot be written" "who owns it: ls -ld '$ROOT/.local'; run this as that user"
  [ -w "$RUN_DIR" ] || fail "the folder ${HOME_DIR#"$ROOT"/} belongs to another user" 'run this as that user, or work in a checkout of your own'
  local free_kb
  free_kb=$(df -Pk "$HOME_DIR" | awk 'NR == 2 { print $4 }')
  if [ "$free_kb" -lt 204800 ]; then
    fail "only $((free_kb / 1024)) MiB are free on the disk of ${HOME_DIR#"$ROOT"/}; starting would fill it" \
      'free some space (cargo clean, make reset), then try again'
  elif [ "$free_kb" -lt 2097152 ]; then
    warn "only $((free_kb / 1024)) MiB are free on this disk; a long run may fill it"
  fi
}

# port_of PART -> POSTGRES_PORT, REDIS_PORT, KAFKA_PORT, CONTROLLER_PORT were set by choose_ports.
port_variable() {
  case $1 in
    postgres) echo "${PORT_PREFIX}_POSTGRES_PORT" ;;
    replica) echo "${PORT_PREFIX}_REPLICA_PORT" ;;
    redis) echo "${PORT_PREFIX}_REDIS_PORT" ;;
    kafka) echo "${PORT_PREFIX}_KAFKA_PORT" ;;
    controller) echo "${PORT_PREFIX}_KAFKA_CONTROLLER_PORT" ;;
    registry) echo "${PORT_PREFIX}_REGISTRY_PORT" ;;
    gateway) echo GATEWAY_ADDR ;;
    management) echo MANAGEMENT_ADDR ;;
  esac
}

# asked_port PART DEFAULT -> the port that environment, .env or default ask for
asked_port() {
  local variable value
  variable=$(port_variable "$1")
  value=${!variable:-$2}
  if [[ ! $value =~ ^[0-9]{1,5}$ || $((10#$value)) -lt 1 || $((10#$value)) -gt 65535 ]]; then
    fail "$variable=$value is not a port" "set it to a number from 1 to 65535"
  fi
  echo "$value"
}

ports_at() {
  POSTGRES_PORT=$(asked_port postgres $(($1 + 5432)))
  REDIS_PORT=$(asked_port redis $(($1 + 6379)))
  KAFKA_PORT=$(asked_port kafka $(($1 + 9092)))
  CONTROLLER_PORT=$(asked_port controller $(($1 + 9093)))
  REGISTRY_PORT=$(asked_port registry $(($1 + 8081)))
}

load_addresses() {
  GATEWAY_ADDR=${GATEWAY_ADDR:-127.0.0.1:8080}
  MANAGEMENT_ADDR=${MANAGEMENT_ADDR:-127.0.0.1:9090}
}

# The ports of a running instance are those it was started with; those of a stopped one are free to choose.
choose_ports() {
  load_addresses
  ports_at "$BASE"
  local asked="$POSTGRES_PORT $REDIS_PORT $KAFKA_PORT $CONTROLLER_PORT $REGISTRY_PORT"
  if instance_runs; then
    load_ports
    if [ "$INSTANCE" = dev ] && [ "$asked" != "$POSTGRES_PORT $REDIS_PORT $KAFKA_PORT $CONTROLLER_PORT $REGISTRY_PORT" ]; then
      fail "the stack runs on other ports than those now asked for" 'make down first, then make up'
    fi
  elif [ "$INSTANCE" != dev ]; then
    dodge_taken_ports
  fi
  printf '%s\n' "$POSTGRES_PORT" "$REDIS_PORT" "$KAFKA_PORT" "$CONTROLLER_PORT" "$REGISTRY_PORT" >"$RUN_DIR/ports"
}

# Tests, chaos and bench don't care which ports they get: where another checkout holds the usual ones, the next block is taken.
dodge_taken_ports() {
  local shift port taken
  for shift in 0 100 200 300 400 500 600 700 800 900; do
    ports_at $((BASE + shift))
    taken=''
    for port in "$POSTGRES_PORT" "$REDIS_PORT" $(broker_ports) $(controller_ports); do
      if port_answers "$port"; then taken=$port; fi
    done
    if [ -z "$taken" ]; then
      if [ "$shift" -ne 0 ]; then note "the usual $INSTANCE ports are in use: taking Postgres $POSTGRES_PORT, Redis $REDIS_PORT, Kafka $KAFKA_PORT"; fi
      return 0
    fi
  done
}

load_ports() {
  load_addresses
  ports_at "$BASE"
  [ -f "$RUN_DIR/ports" ] || return 0
  { read -r POSTGRES_PORT && read -r REDIS_PORT && read -r KAFKA_PORT && read -r CONTROLLER_PORT && read -r REGISTRY_PORT; } <"$RUN_DIR/ports" || true
}

# Ids of orders derive from this, so it lives as long as the data.
deployment_namespace() {
  if [ ! -s "$HOME_DIR/namespace" ]; then
    if [ -r /proc/sys/kernel/random/uuid ]; then cat /proc/sys/kernel/random/uuid; else uuidgen | tr '[:upper:]' '[:lower:]'; fi >"$HOME_DIR/namespace"
  fi
  cat "$HOME_DIR/namespace"
}

# setting KEY VALUE: one line of the env file, quoted only where a shell needs it
setting() {
  if [[ $2 =~ ^[A-Za-z0-9_./:@%+,=-]*$ ]]; then
    printf '%s=%s\n' "$1" "$2"
  else
    printf "%s='%s'\n" "$1" "${2//\'/\'\\\'\'}"
  fi
}

database_url() { echo "postgres://mambogo_$1:mambogo@127.0.0.1:$POSTGRES_PORT/mambogo"; }

env_lines() {
  local role
  setting KAFKA_BROKERS "$(kafka_brokers)"
  setting REDIS_URL "redis://127.0.0.1:$REDIS_PORT/0"
  setting ADMIN_DATABASE_URL "$(database_url admin)"
  for role in orders inventory payments sandbox catalog webhooks edge relay audit; do
    setting "$(tr '[:lower:]' '[:upper:]' <<<"$role")_DATABASE_URL" "$(database_url "$role")"
  done
  if [ "$INSTANCE" = test ]; then
    setting TEST_KAFKA_BROKERS "127.0.0.1:$KAFKA_PORT"
    setting TEST_ADMIN_DATABASE_URL "$(database_url admin)"
    setting TEST_REDIS_URL "redis://127.0.0.1:$REDIS_PORT/0"
    setting TEST_REDIS_SERVER "$(command -v redis-server || true)"
    setting TEST_PYTHON "$(trace_python)"
    setting TEST_SCHEMATHESIS "$(schemathesis_program)"
    setting STRIPE_MOCK_BIN "$(stripe_mock)"
    return
  fi
  setting KAFKA_PARTITIONS "${KAFKA_PARTITIONS:-4}"
  setting KAFKA_REPLICATION "${KAFKA_REPLICATION:-$(wc -w <<<"$BROKERS" | tr -d ' ')}"
  setting TOPIC_PREFIX "${TOPIC_PREFIX:-}"
  setting GATEWAY_ADDR "$GATEWAY_ADDR"
  setting MANAGEMENT_ADDR "$MANAGEMENT_ADDR"
  setting JWT_SECRET "${JWT_SECRET:-local-development-only-this-is-no-secret}"
  setting JWT_ISSUER "${JWT_ISSUER:-mambogo-local}"
  setting JWT_AUDIENCE "${JWT_AUDIENCE:-mambogo}"
  setting ORDER_DEADLINE "${ORDER_DEADLINE:-15m}"
  setting LOG_FORMAT "${LOG_FORMAT:-text}"
  setting RUST_LOG "${RUST_LOG:-info}"
  setting DEPLOYMENT_NAMESPACE "${DEPLOYMENT_NAMESPACE:-$(deployment_namespace)}"
  setting PAYMENT_PROVIDER "${PAYMENT_PROVIDER:-sandbox}"
  if runs replica; then setting CATALOG_REPLICA_URL "$(replica_url)"; fi
}

# Whatever else .env sets goes to the binary too, so a new setting needs no change here.
dotenv_extras() {
  local key written=$1
  for key in ${DOTENV_KEYS[@]+"${DOTENV_KEYS[@]}"}; do
    case $key in DEV_*_PORT | TEST_* | MAMBOGO_*) continue ;; esac
    if ! grep -q "^$key=" <<<"$written"; then setting "$key" "${!key}"; fi
  done
}

write_env() {
  local lines extras=''
  lines=$(env_lines)
  if [ "$INSTANCE" = dev ]; then extras=$(dotenv_extras "$lines"); fi
  local whole="# Written by infra/local/stack; change .env instead. Use: set -a; . .local/$INSTANCE/env; set +a
$lines${extras:+
$extras}"
  if [ -f "$ENV_FILE" ] && [ "$(cat "$ENV_FILE")" = "$whole" ]; then return 0; fi
  (umask 077 && printf '%s\n' "$whole" >"$ENV_FILE.new")
  mv "$ENV_FILE.new" "$ENV_FILE"
}

export_env() {
  set -a
  # shellcheck disable=SC1090
  . "$ENV_FILE"
  set +a
}
