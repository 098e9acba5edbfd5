# shellcheck shell=bash
# Runs the project itself on the dev instance: build, migrations, topics, catalogue, services, one sample order,
# and the closing card.

MAMBOGO_BIN_GIVEN=${MAMBOGO_BIN:-}
MAMBOGO_BIN=${MAMBOGO_BIN:-${CARGO_TARGET_DIR:-$ROOT/target}/release/mambogo}

build_mambogo() {
  if [ -n "$MAMBOGO_BIN_GIVEN" ]; then
    [ -x "$MAMBOGO_BIN" ] || fail "MAMBOGO_BIN=$MAMBOGO_BIN is not a program" 'leave it away, and it is built'
    return 0
  fi
  require_cargo
  step build 'cargo build --release (the first time takes minutes)'
  end_line
  (cd "$ROOT" && cargo build --release --locked -p mambogo 9>&-) || fail 'the build failed' 'the compiler says why above'
  ok "${MAMBOGO_BIN#"$ROOT"/} is up to date"
}

# run_mambogo NAME DOING [ARG]...: a step of the binary that runs to its end, in the instance's environment
run_mambogo() {
  local name=$1 doing=$2
  shift 2
  step "$name" "$doing"
  (export_env && exec 9>&- && "$MAMBOGO_BIN" "$@") </dev/null >"$(log_file "$name")" 2>&1 ||
    fail_with_log "mambogo $* failed" "$(log_file "$name")"
  ok "$doing: done"
}

# What the running services were started from: program and settings.
fingerprint() { cat "$MAMBOGO_BIN" "$ENV_FILE" | sha256; }

services_ready() {
  [ "$(curl -s -o /dev/null -m 3 -w '%{http_code}' "http://$MANAGEMENT_ADDR/health/ready")" = 200 ]
}

services_current() { runs mambogo && [ "$(cat "$RUN_DIR/mambogo.from" 2>/dev/null)" = "$(fingerprint)" ]; }

SERVICES_NEW='' # set when this command started them

start_services() {
  clear_stale mambogo
  if services_current; then
    step services "checking http://$MANAGEMENT_ADDR/health/ready"
    wait_ready mambogo 60 services_ready
    ok "ready on $GATEWAY_ADDR"
    return 0
  fi
  if runs mambogo; then
    note 'the program or its settings have changed: restarting the services'
    stop_services
  fi
  claim_port gateway "${GATEWAY_ADDR##*:}"
  claim_port management "${MANAGEMENT_ADDR##*:}"
  run_mambogo migrate 'roles and tables' migrate
  run_mambogo topics 'topics' topics
  run_mambogo seed 'a catalogue of products' seed
  step services "starting mambogo all on $GATEWAY_ADDR"
  # shellcheck disable=SC2034 # read by `up`
  SERVICES_NEW=1
  export_env
  ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
  launch mambogo "$MAMBOGO_BIN" all
  fingerprint >"$RUN_DIR/mambogo.from"
  wait_ready mambogo 60 services_ready
  ok "ready on $GATEWAY_ADDR"
}

stop_services() { stop_part mambogo TERM 20 KILL; }

token() { (export_env && exec 9>&- && "$MAMBOGO_BIN" token --user demo --ttl 24h); }

place_order() {
  heading 'One order, from HTTP to CONFIRMED'
  TOKEN=$(token) python3 "$LOCAL/sample_order.py" "http://$GATEWAY_ADDR" ||
    fail 'the sample order was not confirmed' "what the services say: ${LOG_DIR#"$ROOT"/}/mambogo.log" 'make status shows whether a consumer group is behind'
}

card() {
  local token
  token=$(token) || fail 'mambogo token failed' 'is the build complete?'
  heading 'Mambogo runs.'
  cat <<CARD
  API          http://$GATEWAY_ADDR
  management   http://$MANAGEMENT_ADDR/metrics  /health/live  /health/ready
  Kafka        127.0.0.1:$KAFKA_PORT
  Postgres     $(database_url admin)
  Redis        127.0.0.1:$REDIS_PORT
  logs         ${LOG_DIR#"$ROOT"/}/   (make logs, make logs PART=kafka)
  settings     ${ENV_FILE#"$ROOT"/}   (change them in .env; .env.example lists them)

  Place an order (this token is good for 24 hours):

    TOKEN='$token'
    PRODUCT=\$(curl -s -H "Authorization: Bearer \$TOKEN" 'http://$GATEWAY_ADDR/api/products' | grep -o '"id":"[^"]*"' | head -n 1 | cut -d'"' -f4)
    curl -i 'http://$GATEWAY_ADDR/api/orders' -H "Authorization: Bearer \$TOKEN" -H "Idempotency-Key: try-\$RANDOM" -H 'Content-Type: application/json' \\
      -d '{"items":[{"productId":"'\$PRODUCT'","quantity":1}],"shippingAddress":"1 Harbour Road, Mombasa","paymentMethod":"CREDIT_CARD"}'

  What to try next:
    make status                     what runs, with ports, memory and consumer lag
    make logs                       what the services say
    set -a; . ${ENV_FILE#"$ROOT"/}; set +a        and then, with these settings:
    ${MAMBOGO_BIN#"$ROOT"/} lag
    ${MAMBOGO_BIN#"$ROOT"/} replay --topic order.events --since 10m
    make down                       stop it all; the data stays (make reset deletes it)
CARD
}
