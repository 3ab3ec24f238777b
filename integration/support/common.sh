# Sourced by the scripts of integration/: where things are, and how progress is told.

set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
ROOT="$(cd "$HERE/.." && pwd)"
WORK="${HELIX_WORK:-$ROOT/target/integration}"
mkdir -p "$WORK"
WORK="$(cd "$WORK" && pwd)"
export HELIX_WORK="$WORK"

CASSANDRA_LIB="$WORK/cassandra/lib"
VENV="$WORK/venv"
PYTHON="$VENV/bin/python"
PROXY_BINARY="${HELIX_BINARY:-$ROOT/target/release/helix-proxy}"
# Bytecode beside the sources would make the work tree look changed.
export PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH="$HERE/support${PYTHONPATH:+:$PYTHONPATH}"
# Where Node is too old or missing, ours is here.
[ ! -d "$WORK/node/bin" ] || PATH="$WORK/node/bin:$PATH"
# rustup and Go install here, and a shell without a login profile does not look there.
for directory in "$HOME/.cargo/bin" /usr/local/go/bin; do
  case ":$PATH:" in *":$directory:"*) ;; *) [ ! -d "$directory" ] || PATH="$PATH:$directory" ;; esac
done

STARTED=$SECONDS
say() { printf '[%4ds] %s\n' "$((SECONDS - STARTED))" "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Rust for the user who runs this, by its official installer; the version is that of rust-toolchain.toml.
need_rust() {
  have cargo && return 0
  local version installer="$WORK/rustup-init.sh"
  version="$(sed -n 's/^channel = "\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml")"
  have curl || "$HERE/install"
  say "cargo is missing: installing Rust $version to ${CARGO_HOME:-$HOME/.cargo} with https://sh.rustup.rs"
  curl --proto '=https' --tlsv1.2 -sSf --retry 3 -o "$installer" https://sh.rustup.rs 2>"$WORK/rustup.log" ||
    { tail -1 "$WORK/rustup.log" >&2; fail "https://sh.rustup.rs cannot be reached"; }
  sh "$installer" -y --no-modify-path --profile minimal --default-toolchain "$version" >"$WORK/rustup.log" 2>&1 ||
    { tail -5 "$WORK/rustup.log" >&2; fail "rustup could not install Rust $version, see $WORK/rustup.log"; }
  PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
  have cargo || fail "rustup is done and cargo is still missing, see $WORK/rustup.log"
}

# The Java that runs Cassandra, and what else is in Java.
java_binary() {
  local major
  major="$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1 || true)"
  case "$major" in 11|17) command -v java; return ;; esac
  ls -d /usr/lib/jvm/*17*/bin/java 2>/dev/null | head -1 | grep . || fail "Java 17 is missing: run integration/install"
}
