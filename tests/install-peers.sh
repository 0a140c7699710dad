#!/bin/sh
# Installs what the integration tests run against: real servers and a few tools, from Debian's (or
# Ubuntu's) packages, and only those that are missing. No service is started: the tests start their
# own, on free ports, in temporary folders.
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
openssl openssl
gnutls-cli gnutls-bin
ss iproute2
nft nftables
unbound unbound
dnsperf dnsperf
dig bind9-dnsutils
rsyslogd rsyslog
logger bsdutils
ps procps
setpriv util-linux
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

if [ -z "$missing" ]; then
    echo "install-peers: everything is there"
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
