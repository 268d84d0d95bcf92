#!/bin/sh
# Takes one program out of a Debian package, into scripts/tools/bin. The package is not
# installed: those of nginx and Prometheus would start a service on this machine.
set -eu
package=$1 file=$2
install=$(cd "$(dirname "$0")" && pwd)
bin=$install/../tools/bin
tool=$bin/$(basename "$file")
[ ! -x "$tool" ] || exit 0
echo "downloading: $package" >&2
mkdir -p "$bin"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
if ! apt-get download -qq "$package" 2>/dev/null; then
	"$install/apt.sh" -qq update
	apt-get download -qq "$package"
fi
dpkg-deb --fsys-tarfile ./*.deb | tar -x -C "$dir" ".$file"
mv ".$file" "$tool.new" # complete, or not there
mv "$tool.new" "$tool"
