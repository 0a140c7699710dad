#!/bin/sh
# What two scanners, testssl.sh and SSLyze, say of a listener that ends TLS on the default settings.
#
#   sh tests/scan-tls.sh [PROGRAM]     PROGRAM: target/release/evenkeel, else target/debug/evenkeel
#
# Prints a summary; ends with 1 when a finding is above low, or SSLyze misses Mozilla's
# "intermediate" profile. Takes some minutes. testssl.sh comes from apt, SSLyze from PyPI into
# target/peers/sslyze; SSLYZE names another one. The certificate is of an authority of the
# script's own, which both scanners are told to trust; the listener leads to a server that speaks no
# HTTP, so that nothing is found that a backend would have to answer for.
set -eu
cd "$(dirname "$0")/.."

program=${1:-}
for candidate in target/release/evenkeel target/debug/evenkeel; do
    [ -n "$program" ] || [ ! -x "$candidate" ] || program=$candidate
done
[ -x "$program" ] || { echo "scan-tls: no evenkeel to scan; cargo build --release first" >&2; exit 2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

testssl=$(command -v testssl || command -v testssl.sh || true)
if [ -z "$testssl" ]; then
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends testssl.sh
    testssl=$(command -v testssl)
fi

sslyze=${SSLYZE:-$PWD/target/peers/sslyze/bin/sslyze}
if [ ! -x "$sslyze" ]; then
    python3 -m venv target/peers/sslyze
    target/peers/sslyze/bin/pip install --quiet --disable-pip-version-check sslyze
fi

dir=$(mktemp -d)
evenkeel='' backend=''
finish() {
    [ -z "$evenkeel" ] || kill "$evenkeel" 2>/dev/null || true
    [ -z "$backend" ] || kill "$backend" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

# An authority, and a certificate as public ones are: ECDSA on P-256, 90 days, with a place for its
# revocation list.
name=scan.example
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 900 \
    -subj "/O=Evenkeel/CN=Scan CA" -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" \
    -keyout "$dir/key.pem" -out "$dir/request.pem" 2>/dev/null
cat >"$dir/extensions" <<EOF
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:$name
crlDistributionPoints = URI:http://crl.$name/ca.crl
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
EOF
openssl x509 -req -in "$dir/request.pem" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
    -days 90 -sha256 -extfile "$dir/extensions" -out "$dir/cert.pem" 2>/dev/null

# Says a line and echoes.
cat >"$dir/backend.py" <<'EOF'
import socketserver, sys

class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            self.request.sendall(b"ready\n")
            while data := self.request.recv(4096):
                self.request.sendall(data)
        except OSError:
            pass

socketserver.ThreadingTCPServer.daemon_threads = True
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
print(server.server_address[1], flush=True)
server.serve_forever()
EOF
python3 "$dir/backend.py" >"$dir/backend.port" &
backend=$!

waits=0
until [ -s "$dir/backend.port" ]; do
    waits=$((waits + 1))
    [ "$waits" -lt 200 ] || { echo "scan-tls: no backend" >&2; exit 2; }
    sleep 0.1
done

cat >"$dir/evenkeel.toml" <<EOF
[log]
format = "json"

[admin]
bind = "off"

[listener.scan]
bind = "127.0.0.1:0"
pool = "scan"

[listener.scan.tls]
certificates = [{ cert = "$dir/cert.pem", key = "$dir/key.pem" }]

[pool.scan]
backends = ["127.0.0.1:$(cat "$dir/backend.port")"]
EOF
"$program" run -c "$dir/evenkeel.toml" >"$dir/log" 2>&1 &
evenkeel=$!

port=''
waits=0
until [ -n "$port" ]; do
    waits=$((waits + 1))
    if [ "$waits" -gt 300 ] || ! kill -0 "$evenkeel" 2>/dev/null; then
        echo "scan-tls: evenkeel does not listen:" >&2
        cat "$dir/log" >&2
        exit 2
    fi
    port=$(sed -n 's/.*"address":"127\.0\.0\.1:\([0-9]*\)".*/\1/p' "$dir/log" | head -n 1)
    [ -n "$port" ] || sleep 0.1
done

echo "scan-tls: $("$program" --version) on port $port; testssl.sh takes some minutes" >&2
# It ends with the number of its findings, or more when it could not work.
"$testssl" --quiet --color 0 --warnings off --add-ca "$dir/ca.pem" --ip 127.0.0.1 \
    --jsonfile "$dir/testssl.json" "$name:$port" >"$dir/testssl.text" 2>&1 </dev/null || true
"$sslyze" --json_out "$dir/sslyze.json" --certinfo_ca_file "$dir/ca.pem" \
    --resum --early_data --mozilla_config intermediate "$name:$port{127.0.0.1}" >"$dir/sslyze.text" 2>&1 || true

# For whoever wants to read them whole.
mkdir -p target/tmp/scan
cp "$dir"/testssl.* "$dir"/sslyze.* target/tmp/scan/

python3 tests/scan-tls.py target/tmp/scan
