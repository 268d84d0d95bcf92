#!/bin/sh
# Builds the Debian package from this clone and installs it, with a Chrome if none
# is installed. To remove it: apt-get remove session-manager keeps the login,
# apt-get purge session-manager deletes it.
set -eu
cd "$(dirname "$0")/.."
ARCHS=$(dpkg --print-architecture) make --no-print-directory deb
package=$(ls -t "bin/session-manager_"*"_$(dpkg --print-architecture).deb" | head -1)
scripts/install/apt.sh update -qq
scripts/install/apt.sh install -y "./$package"
systemctl --no-pager status session-manager.service
