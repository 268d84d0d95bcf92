#!/bin/sh
set -e

unit=session-manager.service
key=/etc/session-manager/api-key

if [ "$1" = configure ]; then
	systemd-sysusers session-manager.conf
	systemd-tmpfiles --create session-manager.conf || true

	# Callers of commands must send the key; the service gets it as a credential.
	if [ ! -e "$key" ]; then
		(umask 077 && head -c 32 /dev/urandom | base64 | tr -d '\n=' | tr '+/' '-_' >"$key.new" && echo >>"$key.new")
		mv "$key.new" "$key"
	fi

	deb-systemd-helper unmask $unit >/dev/null || true
	if deb-systemd-helper --quiet was-enabled $unit; then
		deb-systemd-helper enable $unit >/dev/null || true
	else
		deb-systemd-helper update-state $unit >/dev/null || true
	fi
	if [ -d /run/systemd/system ]; then
		systemctl --system daemon-reload >/dev/null || true
		if [ -n "$2" ]; then
			# One process follows the other; the socket stays open in between.
			deb-systemd-invoke restart $unit >/dev/null || true
			systemctl try-restart 'session-manager@*.service' >/dev/null || true
		else
			deb-systemd-invoke start $unit >/dev/null || true
		fi
	fi
	if [ -z "$2" ]; then
		if [ ! -d /run/systemd/system ]; then
			echo "session-manager is installed, and starts with systemd. Next, then: session-manager qr"
		elif systemctl --quiet is-active $unit; then
			echo "session-manager runs, and starts at every boot. Next, link a phone: session-manager qr"
		else
			echo "session-manager does not run. Next, find out why: session-manager doctor; systemctl status session-manager"
		fi
	fi
fi
