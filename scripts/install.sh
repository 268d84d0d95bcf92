#!/bin/sh
# Builds the Debian package from this clone and installs it, with a Chrome if none
# is installed. To remove it: apt-get remove session-manager keeps the login,
# apt-get purge session-manager deletes it.
set -eu
cd "$(dirname "$0")/.."
ARCHS=$(dpkg --print-architecture) make --no-print-directory deb
package=$(ls -t "bin/session-manager_"*"_$(dpkg --print-architecture).deb" | head -1)
root=""
if [ "$(id -u)" != 0 ]; then
	root="sudo"
fi
# On a fresh machine cloud-init holds apt's locks for minutes.
apt="$root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600"
$apt update -qq
$apt install -y "./$package"
systemctl --no-pager status session-manager.service
