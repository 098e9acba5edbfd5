# shellcheck shell=bash
# Runs an instance's Kafka: KRaft nodes, each broker and controller; one, or three on chaos. Topics are made by
# `mambogo topics`.

# kafka_part NODE -> the name it goes by: kafka where it is alone, else kafka1, kafka2, kafka3
kafka_part() { if [ "$BROKERS" = 1 ]; then echo kafka; else echo "kafka$1"; fi; }

broker_port() { echo $((KAFKA_PORT + 2 * ($1 - 1))); }
controller_port() { echo $((CONTROLLER_PORT + 2 * ($1 - 1))); }

of_each_broker() { # COMMAND [WORD]...: what it says of each number, on one line
  local node
  for node in $BROKERS; do "$@" "$node"; done | paste -sd ' ' -
}

broker_ports() { of_each_broker broker_port; }
controller_ports() { of_each_broker controller_port; }
broker_address() { echo "127.0.0.1:$(broker_port "$1")"; }
controller_voter() { echo "$1@127.0.0.1:$(controller_port "$1")"; }
kafka_brokers() { of_each_broker broker_address | tr ' ' ,; }

# Alone, a node is formatted as the first of its quorum; three name each other.
kafka_quorum() {
  if [ "$BROKERS" = 1 ]; then
    echo "controller.quorum.bootstrap.servers=127.0.0.1:$CONTROLLER_PORT"
  else
    echo "controller.quorum.voters=$(of_each_broker controller_voter | tr ' ' ,)"
  fi
}

kafka_properties() { # NODE
  local broker controller copies=1 in_sync=1
  broker=$(broker_port "$1") controller=$(controller_port "$1")
  if [ "$BROKERS" != 1 ]; then copies=3 in_sync=2; fi
  cat <<CONF
# Written by infra/local at every start. What is not named here has Kafka's own default.
process.roles=broker,controller
node.id=$1
$(kafka_quorum)
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$broker,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$broker
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$HOME_DIR/$(kafka_part "$1")/data

auto.create.topics.enable=false
num.partitions=4
default.replication.factor=$copies
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$copies
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=$copies
share.coordinator.state.topic.min.isr=$in_sync
group.initial.rebalance.delay.ms=0

log.retention.hours=168
log.segment.bytes=268435456
log.cleaner.dedupe.buffer.size=16777216
CONF
}

kafka_java() { # CLASS [ARG]...
  local memory=(-Xms256m -Xmx768m)
  if [ "$BROKERS" != 1 ]; then memory=(-Xms192m -Xmx512m); fi
  printf '%s\0' "$(java_program)" "${memory[@]}" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExitOnOutOfMemoryError \
    -Djava.awt.headless=true -cp "$LOCAL/kafka:$(kafka_libs)/*" "$@"
}

kafka_command() { # sets KAFKA_COMMAND, words kept whole whatever the path holds
  local word
  KAFKA_COMMAND=()
  while IFS= read -r -d '' word; do KAFKA_COMMAND+=("$word"); done < <(kafka_java "$@")
}

# kafka_answers NODE. Metadata without topics, version 1: it counts the brokers that are registered and not fenced. An
# open port is not enough, for Kafka opens it a moment before the controller will place a partition on it.
kafka_answers() {
  local answer port
  port=$(broker_port "$1")
  exec 4<>"/dev/tcp/127.0.0.1/$port" || return 1
  printf '\x00\x00\x00\x10\x00\x03\x00\x01\x00\x00\x00\x07\x00\x02up\x00\x00\x00\x00' >&4
  answer=$(bounded 3 head -c 12 <&4 | od -An -tu1 | tr -s ' \n' ' ')
  exec 4>&-
  [[ $answer =~ \ 0\ 0\ 0\ 7\ 0\ 0\ 0\ ${BROKERS##* }\ ?$ ]]
}

# One cluster id for all nodes, drawn by the first that is formatted.
cluster_id() {
  if [ ! -s "$HOME_DIR/cluster-id" ]; then
    echo "A$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | cut -c 1-20)A" >"$HOME_DIR/cluster-id"
  fi
  cat "$HOME_DIR/cluster-id"
}

format_kafka() { # NODE
  local id log home way=()
  home=$HOME_DIR/$(kafka_part "$1") log=$(log_file "$(kafka_part "$1")")
  if [ -e "$home/data" ]; then
    note 'an earlier start was cut short before Kafka had run: formatting anew'
    rm -rf -- "$home/data"
  fi
  step Kafka 'formatting its storage'
  id=$(cluster_id)
  if [ "$BROKERS" = 1 ]; then way=(--standalone); fi
  kafka_command kafka.tools.StorageTool format ${way[@]+"${way[@]}"} -t "$id" -c "$home/server.properties"
  "${KAFKA_COMMAND[@]}" >>"$log" 2>&1 || fail_with_log 'Kafka could not format its storage' "$log"
  echo "$id" >"$home/formatted"
  ok 'storage formatted'
}

launch_kafka() { # NODE
  local part home
  part=$(kafka_part "$1")
  home=$HOME_DIR/$part
  clear_stale "$part"
  if runs "$part"; then
    step Kafka "checking $(broker_address "$1")"
    return 0
  fi
  claim_port kafka "$(broker_port "$1")"
  claim_port controller "$(controller_port "$1")"
  mkdir -p "$home"
  kafka_properties "$1" >"$home/server.properties"
  if [ ! -s "$home/formatted" ]; then format_kafka "$1"; fi
  step Kafka "starting on $(broker_address "$1")"
  kafka_command kafka.Kafka "$home/server.properties"
  ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
  launch "$part" "${KAFKA_COMMAND[@]}"
}

# All are launched before any is waited for: a quorum needs two.
start_kafka() {
  local node
  for node in $BROKERS; do launch_kafka "$node"; done
  for node in $BROKERS; do wait_ready "$(kafka_part "$node")" 90 kafka_answers "$node"; done
  ok "ready on $(kafka_brokers)"
}

stop_kafka() { stop_part kafka TERM 30 KILL; }
