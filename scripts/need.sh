#!/usr/bin/env bash
# The tests replicate into a real MariaDB server. Install it from Debian's
# packages where that is allowed, say plainly what is missing where not.
set -euo pipefail
PATH=$PATH:/usr/sbin:/usr/local/sbin
command -v mariadbd >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing mariadb-server for the tests"
  export DEBIAN_FRONTEND=noninteractive
  # policy-rc.d keeps the package from starting a server of its own.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get update -qq && apt-get install -y -qq --no-install-recommends mariadb-server >/dev/null
  command -v mariadbd >/dev/null 2>&1 && exit 0
fi
echo "make test needs MariaDB's server (mariadbd). Install it first: on Debian or Ubuntu" >&2
echo "    sudo apt-get install mariadb-server" >&2
exit 1
