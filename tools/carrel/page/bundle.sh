#!/usr/bin/env bash
# bundle.sh OUT.html: installs the page's packages when package-lock.json asks for others than those
# installed, then bundles. Two builds at once wait for each other. Fetches nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

out=$1
exec 9<package-lock.json
flock 9
if ! cmp -s package-lock.json node_modules/.installed-lock; then
  npm ci --ignore-scripts --no-audit --no-fund --no-progress >&2 || {
    echo "bundle.sh: npm ci failed; it needs its registry once, the build goes on from there" >&2
    exit 1
  }
  cp package-lock.json node_modules/.installed-lock
fi
node build.mjs "$out"
