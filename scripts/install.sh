#!/bin/sh
# Builds the Debian package from this clone and installs it, with a Chrome if none
# is installed. To remove it: apt-get remove session-manager keeps the login,
# apt-get purge session-manager deletes it.
set -eu
cd "$(dirname "$0")/.."
make --no-print-directory deb
package=$(ls -t bin/session-manager_*.deb | head -1)
root=""
if [ "$(id -u)" != 0 ]; then
	root="sudo"
fi
$root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $root apt-get install -y "./$package"
systemctl --no-pager status session-manager.service
