#!/usr/bin/env bash
# build.sh COMMAND LDFLAGS builds bin/COMMAND. The first build compiles TiDB,
# which takes minutes: print what is being compiled, so that nobody thinks it hangs.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p bin
log=bin/.build-$1.log
echo "building bin/$1"
set +e
go build -v -ldflags "$2" -o "bin/$1" "./cmd/$1" 2>&1 | tee "$log" |
  awk '{ n++; if (n % 50 == 0) { printf "  %d packages compiled, now %s\n", n, $0; fflush() } }'
status=${PIPESTATUS[0]}
if [ "$status" -ne 0 ]; then tail -n 40 "$log"; fi
exit "$status"
