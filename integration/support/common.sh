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
# rustup and Go install here, and a shell without a login profile does not look there.
for directory in "$HOME/.cargo/bin" /usr/local/go/bin; do
  case ":$PATH:" in *":$directory:"*) ;; *) [ ! -d "$directory" ] || PATH="$PATH:$directory" ;; esac
done

STARTED=$SECONDS
say() { printf '[%4ds] %s\n' "$((SECONDS - STARTED))" "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

need_rust() {
  have cargo && return 0
  fail "cargo is missing. Install Rust 1.89 or later with rustup (https://rustup.rs), then run this again."
}
