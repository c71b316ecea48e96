#!/usr/bin/env bash
# What the tests need beyond Go: MariaDB's server to replicate into, Java and
# Maven for a Kafka broker and for readers of other projects, curl to run the
# API documents' own lines. Installed from Debian's packages where that is
# allowed; where not, says plainly what is missing.
set -euo pipefail
PATH=$PATH:/usr/sbin:/usr/local/sbin

# missing lists the packages whose programs are not there.
missing() {
  command -v mariadbd >/dev/null 2>&1 || echo mariadb-server
  command -v java >/dev/null 2>&1 && command -v javac >/dev/null 2>&1 || echo default-jdk-headless
  command -v mvn >/dev/null 2>&1 || echo maven
  command -v curl >/dev/null 2>&1 || echo curl
}

packages=$(missing | xargs)
[ -z "$packages" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing for the tests: $packages"
  export DEBIAN_FRONTEND=noninteractive
  # policy-rc.d keeps packages from starting servers of their own.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  # shellcheck disable=SC2086 # a list of words
  apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages >/dev/null || true
  packages=$(missing | xargs)
  [ -z "$packages" ] && exit 0
fi
echo "make test needs MariaDB's server, a Java development kit, Maven and curl. Missing here; on Debian or Ubuntu:" >&2
echo "    sudo apt-get install $packages" >&2
exit 1
