#!/bin/bash
# Runs in the container of test-systemd.sh: "life", and after a reboot "reboot".
set -u
unit=session-manager.service
api=http://127.0.0.1:3001
bad=0
ok() { printf 'ok    %s\n' "$*"; }
no() { printf 'FAIL  %s\n' "$*"; bad=1; }
is() { if [ "$2" = "$3" ]; then ok "$1: $2"; else no "$1: $2, not $3"; fi; }
has() { case $2 in *"$3"*) ok "$1" ;; *) no "$1: ${2:0:300}" ;; esac; }
yes() { local what=$1; shift; if "$@" >/dev/null 2>&1; then ok "$what"; else no "$what"; fi; }
not() { local what=$1; shift; if "$@" >/dev/null 2>&1; then no "$what"; else ok "$what"; fi; }

prop() { systemctl show -P "$1" ${2:-$unit}; }
pid() { prop MainPID; }
status() { curl -s -m 40 "$api/status$1" | sed 's/.*:"\(.*\)"}/\1/'; }
# await STATE SECONDS: waits for the state, and records the states passed on the way.
await() {
	local end=$((SECONDS + $2)) now=
	seen=
	while [ $SECONDS -lt $end ]; do
		now=$(status "")
		case $seen in *" $now") ;; *) seen="$seen $now" ;; esac
		[ "$now" = "$1" ] && return 0
		sleep 0.2
	done
	return 1
}
reaches() { local s=$SECONDS; if await "$2" "$3"; then ok "$1: $2 after $((SECONDS - s)) s"; else no "$1:$seen within $3 s, not $2"; curl -s $api/session; echo; fi; }
# without_scan WHAT: the session becomes READY, and no scan was needed on the way.
without_scan() { reaches "$1" READY 180; case $seen in *QR_REQUIRED*) no "$1 needed a scan" ;; esac; }
another_pid() { local end=$((SECONDS + 40)); while [ $SECONDS -lt $end ]; do p=$(pid); [ "$p" != 0 ] && [ "$p" != "$1" ] && return 0; sleep 0.1; done; return 1; }
below() { pgrep -u session-manager -f "$1" | head -1; }

# asking COMMAND…: a client sends requests while the command runs, and none of
# them may fail.
asking() {
	rm -f /tmp/asking /tmp/asked; touch /tmp/asking
	( n=0 failed=0 slowest=0
	while [ -e /tmp/asking ]; do
		t=$(curl -s -f -m 30 -o /dev/null -w '%{time_total}' $api/status) || failed=$((failed + 1))
		n=$((n + 1)); ms=$(awk "BEGIN{print int($t*1000)}"); [ "$ms" -gt "$slowest" ] && slowest=$ms
	done
	echo "$failed of $n requests failed, the slowest took $slowest ms" >/tmp/asked ) &
	local asker=$!
	"$@" >/tmp/command.log 2>&1 || { no "$*"; cat /tmp/command.log; }
	sleep 2
	rm -f /tmp/asking; wait $asker
	case $(cat /tmp/asked) in "0 of "*) ok "meanwhile $(cat /tmp/asked)" ;; *) no "meanwhile $(cat /tmp/asked)" ;; esac
}

start_simulator() {
	cat >/etc/systemd/system/simulator.service <<-U
	[Service]
	# With no interface but loopback Chrome reports to the page that it is offline.
	ExecStartPre=-ip link add here0 type veth peer name there0
	ExecStartPre=-ip address add 192.0.2.1/24 dev here0
	ExecStartPre=ip link set here0 up
	ExecStartPre=ip link set there0 up
	ExecStart=/usr/local/bin/simulator --speed=5
	[Install]
	WantedBy=multi-user.target
	U
	systemctl daemon-reload; systemctl -q enable --now simulator.service
}

installs() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends /root/0.1.deb >/tmp/install.log 2>&1 || { no install; cat /tmp/install.log; }
	has "the installation names the next step" "$(cat /tmp/install.log)" 'Next, link a phone: session-manager qr'
	is "after the installation" "$(prop ActiveState)" active
	is "enabled" "$(systemctl is-enabled $unit)" enabled
	is "mode and owner of the key" "$(stat -c '%a %U' /etc/session-manager/api-key)" "600 root"
	is "mode and owner of the login" "$(stat -c '%a %U' /var/lib/session-manager)" "700 session-manager"
	for file in man/man8/session-manager.8.gz doc/session-manager/changelog.gz session-manager/selectors.json session-manager/alerts.yml session-manager/dashboard.json; do
		yes "/usr/share/$file" test -s /usr/share/$file
	done
	yes "command" session-manager --version
	yes "completion" bash -c '. /usr/share/bash-completion/completions/session-manager && complete -p session-manager'
	yes "example configuration" session-manager --config=/usr/share/doc/session-manager/examples/config.json --print-config
	is "what systemd says of the units" "$(systemd-analyze verify --man=no $unit session-manager@3011.service 2>&1)" ""
	has "the API answers without any network" "$(curl -s $api/status)" '"status"'
	printf '{"listen": "127.0.0.1:3001", "url": "http://127.0.0.1:3002/"}\n' >/etc/session-manager/config.json
	systemctl restart $unit
}

links() {
	reaches "the simulated page" QR_REQUIRED 180
	has "status in words" "$(prop StatusText)" "QR_REQUIRED: "
	# What a person sees who follows the installation's output, in a terminal and without privileges.
	runuser -u nobody -- script -qefc 'stty cols 100 rows 60; session-manager qr' /tmp/qr.log </dev/null >/dev/null &
	local person=$!
	yes "a code" curl -sf --retry 20 --retry-delay 1 --retry-all-errors -o /dev/null $api/qr.png
	timeout 120 sh -c 'until grep -q "Scan it: " /tmp/qr.log; do sleep 0.2; done'
	has "the QR in the terminal" "$(cat /tmp/qr.log)" '▀▀▀▀'
	curl -s -X POST 127.0.0.1:3003/scan >/dev/null
	reaches "after the scan" READY 180
	wait $person; is "the command in the terminal ends with exit code" $? 0
	has "and names the next step" "$(tail -5 /tmp/qr.log)" 'Next, try: session-manager send'
	has "status" "$(session-manager status)" "READY
since "
	has "only root has the key" "$(runuser -u nobody -- session-manager restart 2>&1)" 'Run this as root'
	has "Chrome's sandbox is on" "$(curl -s $api/session | tr -d ' \n')" '"sandbox":true'
	is "seccomp of a renderer" "$(awk '/^Seccomp:/{print $2}' "/proc/$(below type=renderer)/status")" 2
	is "commands need the key" "$(curl -s -o /dev/null -w '%{http_code}' -X POST $api/session/restart)" 401
	is "the key is the right one" "$(curl -s -o /dev/null -w '%{http_code}' -X POST -H "Authorization: Bearer $(cat /etc/session-manager/api-key)" "$api/session/restart?now=true")" 202
	reaches "restart by command" READY 180
	yes "a message" session-manager send --wait --timeout=30s +15550101001 hello
	sends_a_file
	if sh -c 'echo -500 >/proc/self/oom_score_adj' 2>/dev/null; then
		is "OOM scores: supervisor" "$(cat "/proc/$(pid)/oom_score_adj")" -500
	else
		echo "      OOM scores: supervisor: no container here may lower them, so not tested"
	fi
	is "OOM scores: worker" "$(cat "/proc/$(below ^worker)/oom_score_adj")" 300
	echo "      systemd-analyze security: $(systemd-analyze security --no-pager $unit | tail -1)"
}

# sends_a_file: Chrome, confined as the service is, reads it from the service's own folder.
sends_a_file() {
	local id auth
	auth="Authorization: Bearer $(cat /etc/session-manager/api-key)"
	head -c 100000 /dev/urandom >/root/file.bin
	id=$(curl -s -m 30 -H "$auth" -F 'message={"to":"+15550101001","type":"document","caption":"a file"}' -F media=@/root/file.bin $api/messages | jq -r .id)
	is "a message with a file" "$(curl -s -m 70 -H "$auth" "$api/messages/$id?wait=25s&not=queued&not=sending" | jq -r .status)" sent
	is "what arrived" "$(curl -s 127.0.0.1:3003/sent | jq -r '.[] | select(.text == "a file").media.size')" 100000
	is "modes of the files" "$(stat -c '%a %U' /var/lib/session-manager/tokens/admin.media "/var/lib/session-manager/tokens/admin.media/$id" | sort -u | xargs)" "600 session-manager 700 session-manager"
}

# packaged: the commands mean the service, and act as its user.
packaged() {
	has "doctor acts as the service's user" "$(session-manager doctor 2>&1)" "as user session-manager"
	yes "doctor finds nothing bad" session-manager doctor
	has "an instance has settings of its own" "$(session-manager --instance 3011 --print-config 2>&1)" '"/var/lib/session-manager@3011/tokens"'
	systemctl stop $unit
	yes "export" bash -c 'session-manager session export - --passphrase-file <(echo secret) >/root/login.age'
	yes "import" bash -c 'session-manager session import - --passphrase-file <(echo secret) </root/login.age'
	is "files that are not the service's" "$(find /var/lib/session-manager /var/log/session-manager ! -user session-manager | wc -l)" 0
	systemctl start $unit; without_scan "after the import"
}

confined() {
	local p; p=$(pid)
	mkdir -p /home/somebody; echo secret >/home/somebody/file
	not "/home can't be read" nsenter -t "$p" -m cat /home/somebody/file
	not "/root can't be read" nsenter -t "$p" -m ls /root/0.1.deb
	for folder in /etc /usr /var /opt /boot; do
		not "$folder can't be written" nsenter -t "$p" -m touch $folder/x
	done
	not "its configuration can't be written" nsenter -t "$p" -m --setuid "$(id -u session-manager)" touch /etc/session-manager/x
	yes "its own folder can be written" nsenter -t "$p" -m touch /var/lib/session-manager/x
	rm -f /var/lib/session-manager/x
}

stops() {
	local s=$SECONDS
	systemctl stop $unit; ok "stop took $((SECONDS - s)) s"
	is "result" "$(prop Result)" success
	is "processes left" "$(pgrep -u session-manager | wc -l)" 0
	not "the socket is closed" curl -s -m 5 $api/status
	not "no runtime folder is left" test -e /run/session-manager
	not "no lock of Chrome's is left" test -L /var/lib/session-manager/tokens/admin/SingletonLock
	systemctl start $unit; without_scan "start"
}

crashes() {
	local p; p=$(pid)
	kill -9 "$(below 'chromium.*--user-data-dir' || echo 0)"; sleep 1; without_scan "Chrome killed"
	kill -9 "$(below ^worker)"; sleep 1; without_scan "worker killed"
	is "the supervisor keeps running" "$(pid)" "$p"
	kill -9 "$p"; yes "supervisor killed: another one" another_pid "$p"; without_scan "supervisor killed"
}

# logged: journald knows the level of each line, and what docs/log.md has for jq works.
logged() {
	local all some
	all=$(journalctl -q -u $unit _COMM=supervisor -o cat | grep -cE '"level":"(WARN|ERROR)"')
	some=$(journalctl -q -u $unit _COMM=supervisor -o cat -p warning | grep -cE '"level":"(WARN|ERROR)"')
	is "warnings in the journal" "$some of $all" "$all of $all"
	not "no warning was logged" test "$all" = 0
	is "other lines among them" "$(journalctl -q -u $unit _COMM=supervisor -o cat -p warning | grep -cvE '"level":"(WARN|ERROR)"')" 0
	local line; line=$(sed -n 's/^\$ \(journalctl.*jq.*\)/\1/p' /usr/share/doc/session-manager/docs/log.md)
	yes "docs/log.md has a line for jq" test -n "$line"
	has "it shows what happened" "$(sh -c "$line" 2>&1)" '{"msg":"worker_exited","gen":'
	yes "without an error" sh -c "$line"
}

# manual: the commands of the man page, one a line.
manual() {
	zcat /usr/share/man/man8/session-manager.8.gz | awk '/^\.fi/{on=0} on; /^\.nf/{on=1}' |
		sed -e "s/\\\\(aq/'/g" -e 's/\\\\/\\/g' -e 's/\\-/-/g' -e 's/\\e/\\/g' | sed -e ':more' -e '/\\$/{N; s/\\\n *//; b more}' | grep -E '^(curl|printf|KEY=)'
}

# documented PAGE…: each command of these pages works as it is written, here as root.
documented() {
	local page line code
	cd /root || return
	cp 0.2.deb session-manager.deb
	for page; do
		while read -r line; do
			line=${line//sudo /} line=${line//3002/3011}
			DEBIAN_FRONTEND=noninteractive SESSION_MANAGER_PASSPHRASE=secret timeout $(case $line in *events*) echo 5 ;; *) echo 120 ;; esac) bash -c "$line" </dev/null >/tmp/documented.log 2>&1; code=$?
			case $line in
			*events*) is "docs/$page.md: $line: endless" $code 124; yes "it writes something" test -s /tmp/documented.log ;;
			*status*--instance*) is "docs/$page.md: $line: not linked" $code 1 ;;
			*) is "docs/$page.md: $line" $code 0; [ $code = 0 ] || cat /tmp/documented.log ;;
			esac
		done < <(awk '/^```console/{on=1; next} /^```/{on=0} on && sub(/^\$ /, "")' /usr/share/doc/session-manager/docs/$page.md)
	done
	cd /
}

# webhook: the drop-in of docs/webhook.md hands the files over that its commands write.
webhook() {
	mkdir -p /run/systemd/system/$unit.d
	awk '/^```ini/{on=1; next} /^```/{on=0} on' /usr/share/doc/session-manager/docs/webhook.md >/run/systemd/system/$unit.d/webhook.conf
	systemctl daemon-reload
	documented webhook; without_scan "with a webhook"
	is "credentials that are used" "$(session-manager --print-config 2>/dev/null | grep -c '^webhook-.*credential')" 2
	rm -r /run/systemd/system/$unit.d; systemctl daemon-reload; systemctl restart $unit; without_scan "without it"
}

# gives_up CODE ARGUMENT…: the service exits with CODE, and systemd does not start it again.
gives_up() {
	local code=$1; shift
	mkdir -p /run/systemd/system/$unit.d
	printf '[Service]\nLoadCredential=\nExecStart=\nExecStart=/usr/lib/session-manager/supervisor %s\n' "$*" >/run/systemd/system/$unit.d/test.conf
	systemctl daemon-reload
	not "start with $*" systemctl restart $unit
	sleep 4
	is "is-failed" "$(systemctl is-failed $unit)" failed
	is "exit code" "$(prop ExecMainStatus)" "$code"
	is "restarts" "$(prop NRestarts)" 0
}

settings() {
	gives_up 64 --lisen=127.0.0.1:3001
	gives_up 77 --listen=0.0.0.0:3001
	gives_up 78 --listen=nowhere
	has "the reason is an error in the journal" "$(journalctl -q -u $unit -o cat -p err)" 'supervisor: --listen: "nowhere" is not allowed'
	rm -r /run/systemd/system/$unit.d; systemctl daemon-reload
	systemd-socket-activate -l 127.0.0.1:3001 cat >/dev/null 2>&1 & local other=$!
	sleep 1
	systemctl restart --no-block $unit
	yes "while another program has the port it is tried again" timeout 120 sh -c "until [ \$(systemctl show -P NRestarts $unit) -gt 1 ]; do sleep 0.2; done"
	is "and is not given up" "$(prop ActiveState)" activating
	kill $other; without_scan "when that has gone"
}

hangs() {
	date '+%Y-%m-%d %H:%M:%S' >/root/before-the-hang; sleep 1
	mkdir -p /run/systemd/system/$unit.d
	printf '[Service]\nWatchdogSec=6s\n' >/run/systemd/system/$unit.d/test.conf
	systemctl daemon-reload; systemctl restart $unit; without_scan "restart"
	local p s=$SECONDS; p=$(pid)
	kill -STOP "$p"; yes "supervisor stopped: the watchdog starts another" another_pid "$p"; ok "after $((SECONDS - s)) s"
	yes "for this reason" sh -c "journalctl -u $unit --no-pager | grep -q \"result 'watchdog'\""
	without_scan "watchdog"
	is "never given up" "$(prop StartLimitIntervalUSec)" 0
	rm -r /run/systemd/system/$unit.d; systemctl daemon-reload
}

# noexec: nothing in the folders that the service writes to can be executed by it.
noexec() {
	local p; p=$(pid)
	for folder in /var/lib/session-manager /var/log/session-manager /var/cache/session-manager /run/session-manager /tmp /dev/shm; do
		nsenter -t "$p" -m sh -c "printf '#!/bin/sh\n' >$folder/x && chmod 755 $folder/x" || no "$folder can't be written"
		not "$folder: nothing in it can be executed" nsenter -t "$p" -m $folder/x
		nsenter -t "$p" -m rm -f $folder/x
	done
	is "devices" "$(prop DevicePolicy)" closed
	is "the worker's core dumps" "$(awk '/core file/{print $5, $6}' "/proc/$(below ^worker)/limits")" "0 0"
	is "ports that are denied" "$(prop SocketBindDeny)" any
	is "and allowed" "$(systemctl cat $unit | grep ^SocketBindAllow= | xargs)" "SocketBindAllow=tcp:3001 SocketBindAllow=udp"
	systemctl --version | grep -q +BPF_FRAMEWORK ||
		echo "      this systemd was built without BPF, so SocketBindDeny= has no effect"
}

template() {
	printf 'SESSION_MANAGER_URL=http://127.0.0.1:3002/\n' >/etc/session-manager/3011.env
	systemctl -q enable --now session-manager@3011
	has "an instance on its own port" "$(curl -s 127.0.0.1:3011/status)" '"status"'
	yes "with its own folder" test -d /var/lib/session-manager@3011/tokens
	is "the first one next to it" "$(status "")" READY
}

life() {
	start_simulator
	installs; links; packaged
	[ "$(status "")" = READY ] || return
	confined; noexec; stops; crashes
	asking systemctl restart $unit; without_scan "restart during requests"
	asking env DEBIAN_FRONTEND=noninteractive dpkg -i /root/0.2.deb; without_scan "upgrade during requests"
	has "configuration survives the upgrade" "$(cat /etc/session-manager/config.json)" 3002
	template; logged
	printf '%%PDF-1.4\n' >/root/offer.pdf
	local out; out=$(cd /root && manual | sed 's/sudo //' | bash -e 2>&1; cat /root/webhook-key)
	has "the man page: messages" "$out" '"queued"'; has "the man page: a key" "$out" whsec_
	documented move alerts backup log settings upgrade troubleshooting; without_scan "after what the documents have"
	rm -f /etc/session-manager/selectors.json
	webhook
	hangs; settings
}

after_reboot() {
	is "after the reboot" "$(prop ActiveState)" active
	without_scan "reboot"
	dpkg -r session-manager >/tmp/remove.log 2>&1 || { no remove; cat /tmp/remove.log; }
	yes "the login survives the removal" test -d /var/lib/session-manager/tokens/admin
	is "processes left" "$(pgrep -u session-manager | wc -l)" 0
	dpkg -P session-manager >/tmp/purge.log 2>&1 || { no purge; cat /tmp/purge.log; }
	for folder in /var/lib/session-manager /var/log/session-manager /var/cache/session-manager /etc/session-manager; do
		not "$folder is gone after the purge" test -e $folder
	done
	is "dangling links" "$(find /etc/systemd /usr/lib/systemd /usr/bin -xtype l -name '*session-manager*')" ""
	yes "other packages are untouched" dpkg --audit
}

case $1 in
life) life ;;
reboot) after_reboot ;;
esac
exit $bad
