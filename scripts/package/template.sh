#!/bin/sh
# Writes the template unit, session-manager@.service, from session-manager.service
# on stdin: an instance is named after its port and has folders of its own.
set -eu
exec sed \
	-e 's|^Description=.*|& on port %i|' \
	-e 's|%\([SLC]\)/session-manager|%\1/session-manager@%i|g' \
	-e 's#^\(State\|Logs\|Cache\|Runtime\)Directory=session-manager#&@%i#' \
	-e 's|^UMask=|# /etc/session-manager/PORT.env may hold SESSION_MANAGER_… settings of one instance.\nEnvironment=SESSION_MANAGER_LISTEN=127.0.0.1:%i\nEnvironmentFile=-/etc/session-manager/%i.env\n&|'
