# shellcheck shell=bash
# Says what happens, to a person: steps with their times, warnings, and failures that name the way out.
# It decides nothing and starts nothing.

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
  SAY_LIVE=1 BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' YELLOW=$'\e[33m' PLAIN=$'\e[0m'
else
  SAY_LIVE='' BOLD='' DIM='' RED='' GREEN='' YELLOW='' PLAIN=''
fi

# Milliseconds since the epoch; whole seconds only where bash is older than 5 (macOS).
now_ms() {
  if [ -n "${EPOCHREALTIME:-}" ]; then
    local micros=${EPOCHREALTIME/[.,]/}
    echo $((micros / 1000))
  else
    echo $(($(date +%s) * 1000))
  fi
}

# seconds MS -> "3.2 s"
seconds() { printf '%d.%d s' $(($1 / 1000)) $(($1 % 1000 / 100)); }

STEP_NAME='' STEP_BEGAN=0 STEP_OPEN=''

heading() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }

# step NAME WHAT: one line that says what is being done. On a terminal its result is written over it.
step() {
  STEP_NAME=$1 STEP_BEGAN=$(now_ms)
  printf '  %s→%s %-10s %s' "$DIM" "$PLAIN" "$1" "$2"
  if [ -n "$SAY_LIVE" ]; then STEP_OPEN=1; else printf '\n'; fi
}

# Leaves the open line standing, before something else prints.
end_line() {
  if [ -n "$STEP_OPEN" ]; then printf '\n'; fi
  STEP_OPEN=''
}

# ok RESULT: closes the step with its time.
ok() {
  if [ -n "$STEP_OPEN" ]; then printf '\r\e[K'; fi
  STEP_OPEN=''
  printf '  %s✓%s %-10s %s  %s(%s)%s\n' \
    "$GREEN" "$PLAIN" "$STEP_NAME" "$1" "$DIM" "$(seconds $(($(now_ms) - STEP_BEGAN)))" "$PLAIN"
}

note() {
  end_line
  printf '    %s\n' "$*"
}

warn() {
  end_line
  printf '  %s!%s %s\n' "$YELLOW" "$PLAIN" "$*" >&2
}

# fail MESSAGE [WAY_OUT]...: one message, the way out below it, the end.
fail() {
  end_line
  printf '\n  %s✗ %s%s\n' "$RED" "$1" "$PLAIN" >&2
  shift
  local line
  for line in "$@"; do printf '    → %s\n' "$line" >&2; done
  exit 1
}

# fail_with_log MESSAGE LOG [WAY_OUT]...: the same, with the log's last 20 lines.
fail_with_log() {
  local message=$1 log=$2
  shift 2
  end_line
  if [ -s "$log" ]; then
    printf '\n    last lines of %s:\n' "${log#"$ROOT"/}" >&2
    tail -n 20 -- "$log" | sed 's/^/    | /' >&2
  fi
  fail "$message" "$@" "the whole log: ${log#"$ROOT"/}"
}
