#!/bin/sh
set -e

# An upgrade restarts the service when the new files are in place (postinst).
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	deb-systemd-invoke stop session-manager.service >/dev/null || true
	systemctl stop 'session-manager@*.service' >/dev/null || true
fi
