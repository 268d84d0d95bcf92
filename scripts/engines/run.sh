#!/bin/sh
# Runs the end-to-end tests, those of the worker (of its page alone with a shell), every fault of chaos, and kills at random moments with each engine:
# Debian's chromium, its chromium-headless-shell, and the older chromium and shell of Debian main,
# which are extracted into .cache and not installed. With the older ones it runs the end-to-end
# tests that depend on the browser most. Prints one line for each engine.
# Arguments: the names of engines (chromium shell old old-shell); none for all.
set -eu
cd "$(dirname "$0")/../.."
cache=$PWD/scripts/engines/.cache
mkdir -p "$cache"

# extract unpacks Debian main's version of the packages, the oldest that apt knows.
extract() {
	[ ! -x "$cache/old/usr/lib/chromium/chromium" ] || return 0
	version=$(apt-cache madison chromium | awk '{print $3}' | sort -V | head -1)
	(cd "$cache" && apt-get download -qq "chromium=$version" "chromium-common=$version" "chromium-headless-shell=$version" &&
		for deb in ./*.deb; do dpkg-deb -x "$deb" new; done && rm -f ./*.deb && mv new old)
}

# binary prints the program of an engine.
binary() {
	case $1 in
	chromium) echo /usr/lib/chromium/chromium ;;
	shell) echo /usr/lib/chromium/chromium-headless-shell ;;
	old) echo "$cache/old/usr/lib/chromium/chromium" ;;
	old-shell) echo "$cache/old/usr/lib/chromium/chromium-headless-shell" ;;
	*) echo "engines: there is no $1" >&2; exit 64 ;;
	esac
}

# step runs a command with its output in the engine's log, and prints its name and outcome.
step() {
	name=$1
	shift
	if "$@" >>"$log" 2>&1; then
		printf ' %s ok' "$name"
	else
		printf ' %s FAILED' "$name"
		failed=1
	fi
}

outcome=0
for engine in ${*:-chromium shell old old-shell}; do
	program=$(binary "$engine")
	tests=. kills=20 worker=./worker/...
	case $engine in old*)
		extract
		tests='Login|Logout|Reader|Pairing|Page|Crashes|QR|Payload|Conflict|Proxy' kills=10
		;;
	esac
	case $engine in *shell) worker=./worker/internal/page ;; esac # the rest of the worker's tests looks at Chrome's locks
	log=$cache/$engine.log failed=0
	: >"$log"
	# The tests and chaos take the first browser of the PATH.
	mkdir -p "$cache/path-$engine"
	ln -sfn "$program" "$cache/path-$engine/google-chrome-stable"
	PATH=$cache/path-$engine:$PATH
	export PATH
	printf '%s (%s):' "$engine" "$("$program" --version 2>/dev/null || echo '?')"
	step e2e go test -count=1 -timeout 60m -run "$tests" -skip TestKillsAtRandom ./supervisor/e2e
	step worker go test -p 1 -count=1 -timeout 60m "$worker"
	step chaos bin/chaos --for 0
	step kills go test -count=1 -timeout 60m -run TestKillsAtRandom -v ./supervisor/e2e -kills "$kills"
	if [ "$failed" = 0 ]; then echo; else outcome=1; echo " (see $log)"; fi
done
exit "$outcome"
