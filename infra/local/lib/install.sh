# shellcheck shell=bash
# Sees to it that the tools are there: asks for each one, installs what is missing with apt, gets Kafka with Maven and,
# for the tests, Python packages with pip and stripe-mock with Go.
# Nothing that it installs is left running: Debian's own Postgres cluster and Redis service are neither made nor started.

KAFKA_POM=$LOCAL/kafka/pom.xml
TRACE_PACKAGES=$LOCAL/trace/requirements.txt
FUZZ_PACKAGES=$LOCAL/api-fuzz/requirements.txt
STRIPE_MOCK_VERSION=v0.203.0

is_root() { [ "$EUID" -eq 0 ]; }

as_root() { if is_root; then "$@"; else sudo "$@"; fi; }

# postgres_bin MAJOR -> the folder with initdb and postgres of that version; of the newest there is for '*'
postgres_bin() {
  local folder
  for folder in $(compgen -G "/usr/lib/postgresql/$1/bin" | sort -Vr); do
    if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then
      echo "$folder"
      return 0
    fi
  done
  if command -v initdb >/dev/null && command -v postgres >/dev/null; then
    dirname -- "$(command -v postgres)"
  else
    return 1
  fi
}

# java_program -> a Java of version 17 or newer
java_program() {
  local java major
  for java in "${JAVA_HOME:-/none}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    [ -x "$java" ] || continue
    major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    if [ "${major:-0}" -ge 17 ]; then
      echo "$java"
      return 0
    fi
  done
  return 1
}

# python_program -> a Python 3 that can make environments of its own (Debian leaves that to python3-venv)
python_program() {
  local python
  for python in "$(command -v python3 || true)" /usr/bin/python3; do
    if [ -x "$python" ] && "$python" -c 'import ensurepip, venv' 2>/dev/null; then
      echo "$python"
      return 0
    fi
  done
  return 1
}

has() { command -v "$1" >/dev/null 2>&1; }

has_library() { has pkg-config && pkg-config --exists "$1"; }

# One package a line for every tool that is missing.
missing_packages() {
  postgres_bin '*' >/dev/null || echo postgresql
  has redis-server || echo redis-server
  java_program >/dev/null || echo java
  [ -d "$(kafka_libs)" ] || has mvn || echo maven
  { has cc && has make; } || echo build-essential
  has pkg-config || echo pkg-config
  has_library openssl || echo libssl-dev
  has_library zlib || echo zlib1g-dev
  has_library libzstd || echo libzstd-dev
  has curl || echo curl
  has python3 || echo python3
  python_program >/dev/null || echo python3-venv
  [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
  if [ "$INSTANCE" = test ]; then
    has pgbouncer || [ -x /usr/sbin/pgbouncer ] || echo pgbouncer
  fi
}

newest_java_package() {
  local name
  for name in openjdk-21-jre-headless openjdk-17-jre-headless openjdk-25-jre-headless; do
    if [[ $(apt-cache policy "$name" 2>/dev/null) =~ Candidate:\ [0-9] ]]; then
      echo "$name"
      return 0
    fi
  done
  echo default-jre-headless
}

# Runs apt with two guards that are taken away again: no service starts, no Postgres cluster is made.
apt_install() (
  local policy=/usr/sbin/policy-rc.d cluster=/etc/postgresql-common/createcluster.d/mambogo.conf made_policy='' had_redis='' had_pgbouncer=''
  # shellcheck disable=SC2317 # called by the trap
  lift_guards() {
    as_root rm -f "$cluster"
    if [ -n "$made_policy" ]; then as_root rm -f "$policy"; fi
  }
  trap lift_guards EXIT
  if has redis-server; then had_redis=1; fi
  if [ -e /etc/init.d/pgbouncer ]; then had_pgbouncer=1; fi
  as_root mkdir -p "$(dirname "$cluster")"
  echo 'create_main_cluster = false' | as_root tee "$cluster" >/dev/null
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    made_policy=1
    as_root chmod 755 "$policy"
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@" || exit
  # Not started now, but the package has enabled it for the next boot.
  if [ -z "$had_redis" ]; then as_root update-rc.d redis-server disable || true; fi
  if [ -z "$had_pgbouncer" ]; then as_root update-rc.d pgbouncer disable 2>/dev/null || true; fi
)

install_packages() {
  local missing package packages=() log=$ROOT/.local/install.log
  missing=$(missing_packages)
  if [ -z "$missing" ]; then return 0; fi
  mkdir -p "$ROOT/.local"
  if ! has apt-get; then
    fail "these tools are missing and there is no apt here to install them: $(tr '\n' ' ' <<<"$missing")" \
      'install them with your package manager (java means 17 or newer), or start Docker and run make up again'
  fi
  if ! is_root && ! has sudo; then
    fail "these packages are missing, and there is no sudo to install them: $(tr '\n' ' ' <<<"$missing")" \
      'ask an administrator to install them (java means a headless Java 17 or newer)'
  fi
  step packages "installing $(tr '\n' ' ' <<<"$missing")(log: .local/install.log)"
  if ! is_root; then
    end_line
    sudo -v || fail 'sudo was refused' "ask an administrator to install: $(tr '\n' ' ' <<<"$missing")"
  fi
  as_root apt-get -o DPkg::Lock::Timeout=120 update >"$log" 2>&1 || fail_with_log 'apt-get update failed' "$log" 'is the network there?'
  for package in $missing; do
    if [ "$package" = java ]; then package=$(newest_java_package); fi
    packages+=("$package")
  done
  apt_install "${packages[@]}" >>"$log" 2>&1 || fail_with_log "apt-get install ${packages[*]} failed" "$log"
  missing=$(missing_packages)
  if [ -n "$missing" ]; then fail_with_log "still missing after the installation: $(tr '\n' ' ' <<<"$missing")" "$log"; fi
  ok "installed ${packages[*]}"
}

require_cargo() {
  if ! has cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then PATH=$HOME/.cargo/bin:$PATH; fi
  if ! has cargo; then
    fail 'cargo is missing: Rust is not installed for this user' \
      'install it with rustup (see rustup.rs), open a new shell, then try again' \
      'rustup then fetches the version that rust-toolchain.toml names by itself'
  fi
}

sha256() { if has sha256sum; then sha256sum; else shasum -a 256; fi | cut -c "1-${1:-64}"; }

# The jars belong to the pom they were made by; instances share them.
kafka_libs() { echo "$ROOT/.local/kafka-libs/$(sha256 12 <"$KAFKA_POM")"; }

install_kafka() {
  local libs log=$ROOT/.local/install.log
  libs=$(kafka_libs)
  if [ -d "$libs" ]; then return 0; fi
  mkdir -p "$ROOT/.local/kafka-libs"
  step Kafka 'getting its jars from Maven Central (45 MB, once)'
  rm -rf "$libs.new"
  if ! JAVA_HOME=$(dirname "$(dirname "$(readlink -f "$(java_program)")")") \
    mvn -q -B -f "$KAFKA_POM" org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$libs.new" </dev/null >>"$log" 2>&1; then
    rm -rf "$libs.new"
    fail_with_log 'Maven could not get the Kafka jars' "$log" 'is the network there? Behind a proxy, Maven needs it in ~/.m2/settings.xml'
  fi
  mv "$libs.new" "$libs"
  ok "$(find "$libs" -name '*.jar' | wc -l | tr -d ' ') jars"
}

# python_folder PACKAGES -> the environment of a list of packages: it belongs to the list, and to the Python it was made by.
python_folder() {
  local made_by
  made_by=$({ cat "$1" && "$(python_program)" --version; } 2>&1 | sha256 12)
  echo "$ROOT/.local/python/$made_by"
}

# For the tests alone: the reader that decodes the topics without any code of ours, and the fuzzer of the API.
trace_python() { echo "$(python_folder "$TRACE_PACKAGES")/bin/python3"; }
schemathesis_program() { echo "$(python_folder "$FUZZ_PACKAGES")/bin/schemathesis"; }

# install_python_packages PACKAGES MODULES WHAT-FOR
install_python_packages() {
  local packages=$1 modules=$2 purpose=$3 python folder log=$ROOT/.local/install.log
  python_program >/dev/null || fail 'there is no Python 3 that can make an environment of its own (modules venv and ensurepip)' \
    'install Python 3.9 or newer with both: on Debian and Ubuntu the packages python3 and python3-venv'
  folder=$(python_folder "$packages")
  python=$folder/bin/python3
  if [ -x "$python" ] && "$python" -c "import $modules" 2>/dev/null; then return 0; fi
  step Python "getting the packages that $purpose (pip, once)"
  rm -rf "$folder"
  mkdir -p "$folder"
  if ! { "$(python_program)" -m venv "$folder" && "$python" -m pip install --disable-pip-version-check --require-hashes --only-binary :all: -r "$packages"; } </dev/null >>"$log" 2>&1; then
    rm -rf "$folder"
    fail_with_log "pip could not get the Python packages of ${packages#"$ROOT/"}" "$log" \
      'is the network there? Behind a proxy or mirror, pip needs it in its own settings (pip config)'
  fi
  ok "$(grep -c '==' "$packages") packages"
}

# go_program -> a Go that stripe-mock can be built with: 1.22, or 1.21 which fetches a newer one by itself
go_program() {
  local go minor
  for go in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
    [ -x "$go" ] || continue
    minor=$("$go" version 2>/dev/null | sed -n 's/.* go1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-0}" -ge 21 ]; then
      echo "$go"
      return 0
    fi
  done
  return 1
}

# A stripe-mock that is named is taken as it is; ours belongs to its version.
stripe_mock() { echo "${STRIPE_MOCK_BIN:-$ROOT/.local/stripe-mock/$STRIPE_MOCK_VERSION/stripe-mock}"; }

# For the tests alone: Stripe's own server that checks requests by Stripe's own description of its API.
install_stripe_mock() {
  local program go log=$ROOT/.local/install.log
  program=$(stripe_mock)
  if [ -x "$program" ]; then return 0; fi
  if [ -n "${STRIPE_MOCK_BIN:-}" ]; then fail "STRIPE_MOCK_BIN is not a program: $program"; fi
  go=$(go_program) || fail "there is no Go of version 1.22 or newer to build stripe-mock $STRIPE_MOCK_VERSION with" \
    'install Go (see go.dev/dl), or install stripe-mock another way and set STRIPE_MOCK_BIN to its path'
  step stripe-mock "building version $STRIPE_MOCK_VERSION (Go, once)"
  if ! (cd "$ROOT/.local" && GOBIN=$(dirname "$program") GOFLAGS='' CGO_ENABLED=0 \
    "$go" install "github.com/stripe/stripe-mock@$STRIPE_MOCK_VERSION") </dev/null >>"$log" 2>&1; then
    fail_with_log 'Go could not build stripe-mock' "$log" 'is the network there? Behind a proxy, Go needs GOPROXY'
  fi
  ok built
}

# One installation at a time, whatever instance it is for.
install_all() {
  local log_folder=$ROOT/.local
  mkdir -p "$log_folder" 2>/dev/null || fail 'the folder .local cannot be written' 'run this as the owner of the checkout'
  if has flock; then
    exec 8>>"$log_folder/install.lock"
    flock -n 8 || {
      note 'another command is installing; waiting for it'
      flock 8
    }
  fi
  install_packages
  install_kafka
  if [ "$INSTANCE" = test ]; then
    install_python_packages "$TRACE_PACKAGES" 'fastavro, kafka, lz4.frame' 'the trace test reads with'
    install_python_packages "$FUZZ_PACKAGES" 'schemathesis' 'the API is fuzzed with'
    install_stripe_mock
  fi
  if has flock; then exec 8>&-; fi
}
