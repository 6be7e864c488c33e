# Two sites for the link emulator's runner: the daemon on one side, the command line on the other.
# Sourced by push.sh and pull.sh behind the runner's peers/_lib.sh. IMGXFER_BIN names the folder of the
# programs; by default the release build of this checkout.
BIN=${IMGXFER_BIN:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../../target/release" && pwd)}
export IMGXFER_CONFIG_DIR=$TMP/cli IMGXFER_STATE_DIR=$TMP/cli-state

fingerprint() { "$BIN/imgxfer" --config-dir "$1" id --json | sed -n 's/.*"fingerprint":"\([^"]*\)".*/\1/p'; }

sites() {
    mkdir -p "$TMP/site"
    "$BIN/imgxfer" init --name rig-cli >/dev/null
    "$BIN/imgxfer" --config-dir "$TMP/site" init --name rig-site >/dev/null
    cat > "$TMP/imgxferd.toml" <<X
state_dir = "$TMP/site"
[site]
name = "rig"
[listen]
quic = "$SERVER_IP:$PORT"
[admin]
listen = "127.0.0.1:0"
[store]
reserve_bytes = 0
[identity]
dir = "$TMP/site"
[[peers]]
name = "rig-cli"
key = "$(fingerprint "$TMP/cli")"
rights = ["send", "query", "pull"]
sees = "all"
X
    "$BIN/imgxfer" peers add rig --address "$SERVER_IP:$PORT" --key "$(fingerprint "$TMP/site")" >/dev/null
}

daemon() { exec "$BIN/imgxferd" --config "$TMP/imgxferd.toml"; }

# Fetches all studies over loopback: for the runner's comparison of what arrived, untimed.
fetch_all() {
    daemon 2>>"$TMP/fetch.log" &
    local pid=$! key
    key=$(fingerprint "$TMP/site")
    ip addr add "$SERVER_IP/32" dev lo 2>/dev/null || true
    ip link set lo up
    until ss -Hlun "sport = :$PORT" | grep -q .; do :; done
    "$BIN/imgxfer" ls --from "$SERVER_IP:$PORT" --peer-key "$key" --json |
        sed -n 's/.*"study":"\([^"]*\)".*/\1/p' | sort -u |
        while read -r study; do
            "$BIN/imgxfer" pull "$study" --from "$SERVER_IP:$PORT" --peer-key "$key" --out "$1" </dev/null >/dev/null
        done
    kill "$pid"
    wait "$pid" || true
}
