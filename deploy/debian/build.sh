#!/usr/bin/env bash
# Builds the Debian package of tickd: deploy/debian/build.sh WHEEL OUT_DIR. Needs dpkg-deb, and Debian's own python3
# with its venv module, since the package's environment runs on that. Nothing is installed on this machine.
#
# What lies where, and why, is in docs/adr/0048-packaging.md; control files and texts are in deploy/debian/.
set -euo pipefail
cd "$(dirname "$0")/../.."
wheel=$(readlink -f "$1")
mkdir -p "$2"
out=$(readlink -f "$2")
# Whoever publishes a package names himself.
maintainer=${DEB_MAINTAINER:-tickd developers <tickd@localhost>}
python=${DEB_PYTHON:-/usr/bin/python3}
pip=${DEB_PIP:-.venv/bin/python -m pip}
here=deploy/debian
for program in dpkg-deb gzip "$python"; do
    command -v "$program" >/dev/null || { echo "deb: $program is missing" >&2; exit 1; }
done

version=$(basename "$wheel" | cut -d- -f2)
architecture=$(dpkg --print-architecture)
minor=$("$python" -c 'import sys; print(sys.version_info.minor)')
# The same commit gives the same bytes: dates come from it.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
venv=$root/opt/tickd/venv

# The environment. It is made here and runs elsewhere: only names of the final place stay in it.
"$python" -m venv --without-pip "$venv"
"$python" $here/requirements.py requirements/runtime.txt >"$work/requirements.txt"
install_quietly() {
    $pip --python "$venv/bin/python" install --quiet --disable-pip-version-check --no-compile --no-deps --only-binary :all: "$@"
}
install_quietly --require-hashes -r "$work/requirements.txt"
install_quietly "$wheel"
find "$venv/bin" -type f ! -name 'python*' -exec sed -i "1s|^#!.*|#!/opt/tickd/venv/bin/python|" {} +
# Activation scripts and other projects' commands are for people who work in it.
find "$venv/bin" -mindepth 1 ! -name 'python*' ! -name tickd -delete
sed -i -e "s|$root||g" -e '/^command = /d' "$venv/pyvenv.cfg"
rm -rf "$venv/include" "$venv/lib64"
site=$venv/lib/python3.$minor/site-packages
rm -f "$site"/*.dist-info/direct_url.json "$site"/*.dist-info/REQUESTED
# Tests and headers of libraries: a third of the size, never imported.
find "$site" -type d \( -name tests -o -name include \) -prune -exec rm -rf {} +
find "$site" -type f -exec chmod 644 {} +
# Byte code that needs no look at dates: the directory is read-only for the daemon.
"$venv/bin/python" -m compileall -q -j 2 --invalidation-mode unchecked-hash -s "$root" "$site" >/dev/null

install -d "$root/usr/bin" "$root/lib/systemd/system" "$root/usr/share/man/man1" "$root/usr/share/doc/tickd" \
    "$root/usr/share/lintian/overrides" "$root/usr/share/tickd" "$root/etc/tickd"
install -d -m 700 "$root/etc/tickd/credentials"
ln -s /opt/tickd/venv/bin/tickd "$root/usr/bin/tickd"
for unit in deploy/systemd/*.service deploy/systemd/*.timer deploy/systemd/*.socket; do
    [ ! -e "$unit" ] || install -m 644 "$unit" "$root/lib/systemd/system/"
done
for dropins in deploy/systemd/*.d; do
    [ ! -d "$dropins" ] || cp -r "$dropins" "$root/usr/share/tickd/"
done
# Not that of deploy/systemd, whose ClickHouse is the embedded one.
install -m 644 $here/tickd.toml "$root/etc/tickd/tickd.toml"
cp -r deploy/prometheus "$root/usr/share/tickd/prometheus"
rm -rf "$root/usr/share/tickd/prometheus/"{tests,build_slo.py,__pycache__}
# Where the runbooks are for who has the package and no checkout.
sed -i 's|runbook_url: docs/runbooks/|runbook_url: file:///usr/share/doc/tickd/runbooks/|' "$root/usr/share/tickd/prometheus/"*.rules.yml
if [ -d dashboards/generated ]; then
    install -d "$root/usr/share/tickd/dashboards"
    cp -r dashboards/generated dashboards/provisioning "$root/usr/share/tickd/dashboards/"
fi
cp -r examples "$root/usr/share/doc/tickd/examples"
find "$root/usr/share" -name __pycache__ -prune -exec rm -rf {} +
cp -r docs/runbooks "$root/usr/share/doc/tickd/runbooks"
(cd "$root" && "$venv/bin/python" "$OLDPWD/$here/man_page.py") | gzip -9n >"$root/usr/share/man/man1/tickd.1.gz"
gzip -9nc CHANGELOG.md >"$root/usr/share/doc/tickd/NEWS.gz"
printf 'tickd (%s) stable; urgency=medium\n\n  * NEWS.gz says what is new.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$(date -uRd "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$root/usr/share/doc/tickd/changelog.gz"
install -m 644 $here/copyright "$root/usr/share/doc/tickd/copyright"
install -m 644 $here/lintian-overrides "$root/usr/share/lintian/overrides/tickd"
find "$root/usr/share" "$root/lib" -type f -exec chmod 644 {} +
find "$root/usr/share" "$root/lib" "$root/opt" -type d -exec chmod 755 {} +

install -d "$root/DEBIAN"
for script in postinst prerm postrm; do
    install -m 755 "$here/$script" "$root/DEBIAN/$script"
done
echo /etc/tickd/tickd.toml >"$root/DEBIAN/conffiles"
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@MINOR@/$minor/" -e "s/@NEXT@/$((minor + 1))/" \
    -e "s/@MAINTAINER@/$maintainer/"     -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$root" | cut -f1)/" $here/control >"$root/DEBIAN/control"
(cd "$root" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$root" -depth -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
package=$out/tickd_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz -z"${DEB_XZ_LEVEL:-6}" --build "$root" "$package" >/dev/null
echo "$package"
