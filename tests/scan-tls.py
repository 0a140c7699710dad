"""The summary of `scan-tls.sh`: what the scanners found, in the form that docs/tls.md has it.

Reads testssl.json and sslyze.json in the folder it is given. Ends with 1 when testssl.sh has a
finding above low, when either of them did not get through, or when SSLyze misses the profile.
"""

import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
testssl = json.loads((folder / "testssl.json").read_text())
sslyze = json.loads((folder / "sslyze.json").read_text())
verdict = (folder / "sslyze.text").read_text()
wrong = []

# What testssl.sh says of itself, not of the server.
ABOUT_ITSELF = {"engine_problem", "service", "scanTime"}

findings = [entry for entry in testssl if entry["id"] not in ABOUT_ITSELF]
ids = {entry["id"]: entry for entry in findings}
graded = [entry for entry in findings if entry["severity"] not in ("OK", "INFO")]
for needed in ("TLS1_2", "TLS1_3", "cipher_order", "LUCKY13", "RC4"):
    if needed not in ids:
        wrong.append(f"testssl.sh did not get as far as {needed}")
wrong += [
    f"testssl.sh: {entry['severity']} {entry['id']}: {entry['finding']}"
    for entry in graded
    if entry["severity"] != "LOW"
]

version = next(iter(sslyze["server_scan_results"]), {})
if version.get("scan_status") != "COMPLETED":
    wrong.append("SSLyze did not complete")
results = version.get("scan_result") or {}


def result(name):
    return (results.get(name) or {}).get("result") or {}


print("| | testssl.sh | SSLyze |")
print("| --- | --- | --- |")
for key, name, other in [
    ("SSLv2", "SSL 2.0", "ssl_2_0"),
    ("SSLv3", "SSL 3.0", "ssl_3_0"),
    ("TLS1", "TLS 1.0", "tls_1_0"),
    ("TLS1_1", "TLS 1.1", "tls_1_1"),
    ("TLS1_2", "TLS 1.2", "tls_1_2"),
    ("TLS1_3", "TLS 1.3", "tls_1_3"),
]:
    suites = result(f"{other}_cipher_suites").get("accepted_cipher_suites", [])
    said = f"{len(suites)} suites" if suites else "refused"
    print(f"| {name} | {ids.get(key, {}).get('finding', '-')} | {said} |")

print("\nSuites:")
for other in ("tls_1_3", "tls_1_2"):
    for suite in result(f"{other}_cipher_suites").get("accepted_cipher_suites", []):
        print("-", suite["cipher_suite"]["name"])

curves = [curve["name"] for curve in result("elliptic_curves").get("supported_curves") or []]
print("\nGroups (SSLyze):", ", ".join(curves))
resumption = result("session_resumption")
print(
    "Resumption (SSLyze), TLS 1.2: session id:",
    resumption.get("session_id_resumption_result"),
    "ticket:",
    resumption.get("tls_ticket_resumption_result"),
)
print("Early data (SSLyze):", result("tls_1_3_early_data").get("supports_early_data"))
for key in ("cipher_order", "TLS_session_ticket", "sessionresumption_ticket", "sessionresumption_ID",
            "secure_client_renego", "fallback_SCSV", "ALPN"):
    print(f"{key} (testssl.sh):", ids.get(key, {}).get("finding", "-"))

print("\nFindings of testssl.sh that are not OK or information:")
for entry in graded:
    print(f"- {entry['severity']} {entry['id']}: {entry['finding']}")
if not graded:
    print("- none")

compliance = verdict.partition("COMPLIANCE AGAINST")[2]
if "OK - Compliant" not in compliance:
    wrong.append("SSLyze: " + " ".join(compliance.split()))
else:
    print('\nSSLyze: complies with Mozilla\'s "intermediate" profile')

for problem in wrong:
    print(f"\nscan-tls: {problem}", file=sys.stderr)
sys.exit(1 if wrong else 0)
