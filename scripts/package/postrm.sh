#!/bin/sh
set -e

if [ "$1" = remove ]; then
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper mask session-manager.service >/dev/null || true
	fi
fi

if [ "$1" = purge ]; then
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge session-manager.service >/dev/null || true
		deb-systemd-helper unmask session-manager.service >/dev/null || true
	fi
	# Only a purge deletes the login. The user stays, because nobody else may get
	# its number.
	for kind in lib log cache; do
		rm -rf "/var/$kind/session-manager" "/var/$kind/session-manager@"*
	done
	rm -rf /etc/session-manager
	# The links of enabled instances lead nowhere.
	find /etc/systemd/system -xtype l -name 'session-manager*' -delete
fi

if [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload >/dev/null || true
fi
