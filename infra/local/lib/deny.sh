# shellcheck shell=bash
# Asks cargo-deny about licences, banned crates and sources (deny.toml), and about advisories where their database
# can be had. Installs cargo-deny into .local/tools.

DENY_VERSION=0.20.2
TOOLS=$ROOT/.local/tools

# Sets CARGO_DENY to a program of that version.
find_deny() {
  for CARGO_DENY in "$TOOLS/bin/cargo-deny" "$(command -v cargo-deny || true)"; do
    if [ -x "$CARGO_DENY" ] && [ "$("$CARGO_DENY" --version 2>/dev/null)" = "cargo-deny $DENY_VERSION" ]; then return 0; fi
  done
  return 1
}

install_deny() {
  step cargo-deny "compiling version $DENY_VERSION (once; 50 s on two cores)"
  # Unoptimised, without its own HTTP stack: what it does here takes a second all the same.
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
  if bounded 60 "$CARGO_DENY" --locked fetch db >"$log" 2>&1; then
    "$CARGO_DENY" --locked check advisories
  elif "$CARGO_DENY" --offline --locked check advisories >"$log" 2>&1; then
    note 'advisories: none, by the copy of the database that is here; it could not be renewed'
  elif grep -q '^error\[' "$log"; then
    cat "$log"
    return 1
  else
    warn 'advisories were NOT checked: their database cannot be fetched from here, and there is no copy of it'
  fi
}
