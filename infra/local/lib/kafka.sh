# shellcheck shell=bash
# Runs an instance's Kafka: one KRaft node that is broker and controller. Topics are made by `mambogo topics`.

kafka_properties() {
  cat <<CONF
# Written by infra/local at every start. What is not named here has Kafka's own default.
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$CONTROLLER_PORT
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$HOME_DIR/kafka/data

auto.create.topics.enable=false
num.partitions=4
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0

log.retention.hours=168
log.segment.bytes=268435456
log.cleaner.dedupe.buffer.size=16777216
CONF
}

kafka_java() { # CLASS [ARG]...
  printf '%s\0' "$(java_program)" -Xms256m -Xmx768m -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExitOnOutOfMemoryError \
    -Djava.awt.headless=true -cp "$LOCAL/kafka:$(kafka_libs)/*" "$@"
}

kafka_command() { # sets KAFKA_COMMAND, words kept whole whatever the path holds
  local word
  KAFKA_COMMAND=()
  while IFS= read -r -d '' word; do KAFKA_COMMAND+=("$word"); done < <(kafka_java "$@")
}

# Metadata without topics, version 1: it counts the brokers that are registered and not fenced. An open port is not
# enough, for Kafka opens it a moment before the controller will place a partition on it.
kafka_answers() {
  local answer
  exec 4<>"/dev/tcp/127.0.0.1/$KAFKA_PORT" || return 1
  printf '\x00\x00\x00\x10\x00\x03\x00\x01\x00\x00\x00\x07\x00\x02up\x00\x00\x00\x00' >&4
  answer=$(bounded 3 head -c 12 <&4 | od -An -tu1 | tr -s ' \n' ' ')
  exec 4>&-
  [[ $answer =~ \ 0\ 0\ 0\ 7\ 0\ 0\ 0\ [1-9][0-9]*\ ?$ ]]
}

format_kafka() {
  local id log
  log=$(log_file kafka)
  if [ -e "$HOME_DIR/kafka/data" ]; then
    note 'an earlier start was cut short before Kafka had run: formatting anew'
    rm -rf -- "$HOME_DIR/kafka/data"
  fi
  step Kafka 'formatting its storage'
  id=A$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | cut -c 1-20)A
  kafka_command kafka.tools.StorageTool format --standalone -t "$id" -c "$HOME_DIR/kafka/server.properties"
  "${KAFKA_COMMAND[@]}" >>"$log" 2>&1 || fail_with_log 'Kafka could not format its storage' "$log"
  echo "$id" >"$HOME_DIR/kafka/formatted"
  ok 'storage formatted'
}

start_kafka() {
  clear_stale kafka
  if ! runs kafka; then
    claim_port kafka "$KAFKA_PORT"
    claim_port controller "$CONTROLLER_PORT"
    mkdir -p "$HOME_DIR/kafka"
    kafka_properties >"$HOME_DIR/kafka/server.properties"
    if [ ! -s "$HOME_DIR/kafka/formatted" ]; then format_kafka; fi
    step Kafka "starting on 127.0.0.1:$KAFKA_PORT"
    kafka_command kafka.Kafka "$HOME_DIR/kafka/server.properties"
    ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
    launch kafka "${KAFKA_COMMAND[@]}"
  else
    step Kafka "checking 127.0.0.1:$KAFKA_PORT"
  fi
  wait_ready kafka 90 kafka_answers
  ok "ready on 127.0.0.1:$KAFKA_PORT"
}

stop_kafka() { stop_part kafka TERM 30 KILL; }
