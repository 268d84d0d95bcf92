#!/bin/sh
# Writes the template unit, session-manager@.service, from session-manager.service
# on stdin: an instance is named after its port and has folders of its own.
# SocketBindAllow= knows no specifiers (systemd 252), so it has every port for which
# no privilege is needed.
set -eu
exec sed \
	-e 's|^Description=.*|& on port %i|' \
	-e 's|%\([SLCt]\)/session-manager|%\1/session-manager@%i|g' \
	-e 's#^\(State\|Logs\|Cache\|Runtime\)Directory=session-manager#&@%i#' \
	-e 's|^SocketBindAllow=tcp:3001|SocketBindAllow=tcp:1024-65535|' \
	-e 's|^UMask=|# /etc/session-manager/PORT.env may hold SESSION_MANAGER_… settings of one instance.\nEnvironment=SESSION_MANAGER_LISTEN=127.0.0.1:%i\nEnvironmentFile=-/etc/session-manager/%i.env\n&|'
