# shellcheck shell=bash
# Starts, recognises and stops background programs by pid file. A pid file holds the pid and when that process was
# born, so a pid that the system gave to another program meanwhile is never taken for ours, and never killed.
# What the programs are is the business of postgres.sh, redis.sh, kafka.sh and mambogo.sh.

PARTS='mambogo kafka redis replica postgres' # in the order they are stopped

pid_file() { echo "$RUN_DIR/$1.pid"; }
log_file() { echo "$LOG_DIR/$1.log"; }

# birth_of PID -> boot and start time of that process; fails when there is none, or only a zombie
birth_of() {
  if [ -d /proc/self ]; then
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -r -a fields <<<"${stat##*) }"
    [ "${fields[0]}" != Z ] || return 1
    echo "$(cat /proc/sys/kernel/random/boot_id)/${fields[19]}"
  else
    local state
    state=$(ps -o stat= -p "$1" 2>/dev/null) || return 1
    case $state in *Z*) return 1 ;; esac
    ps -o lstart= -p "$1"
  fi
}

# pid_of PART -> its pid, if the process that we started still runs
pid_of() {
  local pid birth
  [ -f "$(pid_file "$1")" ] || return 1
  { read -r pid && read -r birth; } <"$(pid_file "$1")" 2>/dev/null || return 1
  [[ $pid =~ ^[0-9]+$ ]] && [ "$(birth_of "$pid")" = "$birth" ] || return 1
  echo "$pid"
}

runs() { pid_of "$1" >/dev/null; }

instance_runs() {
  local part
  for part in $PARTS; do
    if runs "$part"; then return 0; fi
  done
  compose_runs
}

# Removes the pid file of a part that runs no more, and says so.
clear_stale() {
  local file pid=''
  file=$(pid_file "$1")
  if [ -f "$file" ] && ! runs "$1"; then
    read -r pid <"$file" || true
    note "$1 was not stopped properly (its pid ${pid:-?} is gone): stale pid file removed"
    rm -f "$file"
  fi
}

# bounded SECONDS COMMAND...: ends it after that time, where the system has the tool for it
bounded() { if command -v timeout >/dev/null; then timeout "$@"; else shift && "$@"; fi; }

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# holder_of PORT -> who listens there, as far as this user may see
holder_of() {
  local holder=''
  if command -v ss >/dev/null; then
    holder=$(ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:((\("[^"]*"\),pid=\([0-9]*\).*/\1, pid \2/p' | head -n 1) || true
  elif command -v lsof >/dev/null; then
    holder=$(lsof -nP -iTCP:"$1" -sTCP:LISTEN 2>/dev/null | awk 'NR == 2 { print $1 ", pid " $2 }') || true
  fi
  echo "${holder:-another program (not visible to this user)}"
}

# claim_port WHAT PORT: refuses to start where somebody else listens
claim_port() {
  if port_answers "$2"; then
    fail "port $2, which ${1} needs, is in use by $(holder_of "$2")" \
      "stop that program, or choose another port: $(port_variable "$1")=… in the environment or in .env"
  fi
}

LAUNCHED='' # pid of what this command launched last; it needs no pid file to be watched

# launch PART PROGRAM [ARG]...: in the background, in a session of its own, output to its log
launch() {
  local part=$1 log detach=()
  shift
  log=$(log_file "$part")
  if [ -f "$log" ] && [ "$(wc -c <"$log")" -gt 67108864 ]; then mv -f "$log" "$log.1"; fi
  if command -v setsid >/dev/null; then detach=(setsid); else detach=(nohup); fi
  # The pid file is written by the child itself before it becomes the program: killing us leaves no orphan behind.
  (
    cd / && exec 9>&-
    exec "${detach[@]}" bash "$LOCAL/lib/become.sh" "$(pid_file "$part")" "$@"
  ) </dev/null >>"$log" 2>&1 &
  LAUNCHED=$!
}

# wait_ready PART SECONDS CHECK...: until CHECK succeeds; fails when the part dies or the deadline passes
wait_ready() {
  local part=$1 limit=$2 began
  shift 2
  began=$(now_ms)
  while ! "$@" 2>/dev/null; do
    if ! runs "$part" && ! birth_of "${LAUNCHED:-none}" >/dev/null; then
      rm -f "$(pid_file "$part")"
      fail_with_log "$part ended while it was starting" "$(log_file "$part")"
    fi
    if [ $(($(now_ms) - began)) -gt $((limit * 1000)) ]; then
      fail_with_log "$part did not answer within $limit s" "$(log_file "$part")" 'the machine may be busy: make up again goes on from here'
    fi
    sleep 0.1
  done
}

# stop_part PART SIGNAL SECONDS LAST_SIGNAL: asks, waits for a graceful end, then insists
stop_part() {
  local part=$1 signal=$2 limit=$3 last=$4 pid began
  if ! pid=$(pid_of "$part"); then
    clear_stale "$part"
    return 0
  fi
  step "$part" "stopping (pid $pid)"
  if ! kill -s "$signal" "$pid" 2>/dev/null && runs "$part"; then
    fail "$part (pid $pid) belongs to another user" 'run make down as that user'
  fi
  began=$(now_ms)
  while runs "$part"; do
    if [ $(($(now_ms) - began)) -gt $((limit * 1000)) ]; then
      warn "$part did not stop within $limit s: SIG$last"
      kill -s "$last" "$pid" 2>/dev/null || true
      began=$(now_ms) last=KILL limit=10
    fi
    sleep 0.05
  done
  rm -f "$(pid_file "$part")"
  ok stopped
}

# One command at a time works on an instance. The lock is the kernel's where flock exists, else a folder with a pid.
take_lock() {
  local held="another 'stack' command works on the $INSTANCE instance"
  if command -v flock >/dev/null; then
    exec 9>>"$RUN_DIR/lock"
    # A few seconds' grace: of a command that was killed, a child may still finish.
    flock -w 3 9 || fail "$held ($(cat "$RUN_DIR/lock.owner" 2>/dev/null))" 'wait until it has finished, or end it and try again'
  elif ! mkdir "$RUN_DIR/lock.d" 2>/dev/null; then
    if kill -0 "$(cat "$RUN_DIR/lock.d/pid" 2>/dev/null)" 2>/dev/null; then
      fail "$held ($(cat "$RUN_DIR/lock.owner" 2>/dev/null))" 'wait until it has finished, or end it and try again'
    fi
    note 'an earlier command was cut short: its lock removed'
  fi
  if [ -d "$RUN_DIR/lock.d" ]; then
    echo $$ >"$RUN_DIR/lock.d/pid"
    trap 'rm -rf "$RUN_DIR/lock.d"' EXIT
  fi
  echo "'$COMMAND', pid $$, since $(date +%H:%M:%S)" >"$RUN_DIR/lock.owner"
}

# kill_part PART: ends it at once, frozen or not, and its children with it
kill_part() {
  local pid children
  if pid=$(pid_of "$1"); then
    children=$(cat "/proc/$pid"/task/*/children 2>/dev/null || true)
    # shellcheck disable=SC2086 # a list of numbers
    kill -s KILL "$pid" $children 2>/dev/null || true
    while runs "$1"; do sleep 0.02; done
  fi
  rm -f "$(pid_file "$1")"
}
