# shellcheck shell=bash
# Shows an instance: a table of its parts, how far the consumers are behind, and the logs. Changes nothing.

# age_of PART -> since when its pid file stands, for a person
age_of() {
  local began s
  began=$(stat -c %Y "$(pid_file "$1")" 2>/dev/null || stat -f %m "$(pid_file "$1")")
  s=$(($(date +%s) - began))
  if [ "$s" -ge 86400 ]; then
    echo "$((s / 86400))d $((s % 86400 / 3600))h"
  elif [ "$s" -ge 3600 ]; then
    echo "$((s / 3600))h $((s % 3600 / 60))m"
  elif [ "$s" -ge 60 ]; then
    echo "$((s / 60))m $((s % 60))s"
  else
    echo "${s}s"
  fi
}

# memory_of PID -> MiB of it and its children: what each has alone, and the largest shared segment once
memory_of() {
  if [ ! -d /proc/self ]; then
    ps -o rss= -p "$1" | awk '{ printf "%d MiB", $1 / 1024 }'
    return
  fi
  local pid files=()
  for pid in "$1" $(cat "/proc/$1/task/$1/children" 2>/dev/null); do files+=("/proc/$pid/status"); done
  awk '/^RssAnon|^RssFile/ { if (/Anon/ || !file) own += $2; if (/File/) file = 1 } /^RssShmem/ && $2 > shared { shared = $2 }
    END { printf "%d MiB", (own + shared) / 1024 }' "${files[@]}" 2>/dev/null
}

status_row() { # PART PORTS
  local pid state='stopped' age=- memory=-
  if pid=$(pid_of "$1"); then
    state=running age=$(age_of "$1") memory=$(memory_of "$pid")
  else
    pid=-
    if [ -f "$(pid_file "$1")" ]; then state='died'; fi
  fi
  printf '  %-10s %-9s %-9s %-15s %-9s %s\n' "$1" "$state" "$pid" "$2" "$age" "$memory"
}

show_status() {
  heading "Instance $INSTANCE (.local/$INSTANCE)"
  if compose_runs; then
    compose ps
  else
    printf '  %-10s %-9s %-9s %-15s %-9s %s\n' part state pid port up memory
    status_row postgres "$POSTGRES_PORT"
    if [ -f "$(pid_file replica)" ]; then status_row replica "$(replica_port)"; fi
    status_row redis "$REDIS_PORT"
    status_row kafka "$KAFKA_PORT, $CONTROLLER_PORT"
  fi
  [ "$INSTANCE" = dev ] || return 0
  status_row mambogo "${GATEWAY_ADDR##*:}, ${MANAGEMENT_ADDR##*:}"
  if runs mambogo; then
    if services_ready; then printf '\n  services: ready\n'; else printf '\n  services: NOT ready: curl http://%s/health/ready says why\n' "$MANAGEMENT_ADDR"; fi
    heading 'Consumer lag'
    (export_env && bounded 15 "$MAMBOGO_BIN" lag) 2>&1 | sed 's/^/  /' || warn 'mambogo lag failed'
  else
    printf '\n  nothing to ask for lag: the services are stopped (make up)\n'
  fi
}

show_logs() { # [PART]
  local part=${1:-} files=()
  if compose_runs && [ "$part" != mambogo ]; then
    compose logs -f ${part:+"$part"}
    return
  fi
  if [ -n "$part" ]; then
    [ -f "$(log_file "$part")" ] || fail "there is no log of '$part'" "there are: $(cd "$LOG_DIR" 2>/dev/null && printf '%s ' *.log | sed 's/\.log//g')"
    files=("$(log_file "$part")")
  else
    for part in mambogo kafka redis postgres; do
      if [ -f "$(log_file "$part")" ]; then files+=("$(log_file "$part")"); fi
    done
    [ "${#files[@]}" -gt 0 ] || fail 'there are no logs yet' 'make up'
  fi
  exec tail -n 20 -F "${files[@]}"
}
