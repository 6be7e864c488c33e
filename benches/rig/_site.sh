# Two sites for the link emulator's runner: the daemon on one side, the command line on the other.
# Sourced by push.sh and pull.sh behind the runner's peers/_lib.sh. IMGXFER_BIN names the folder of the
# programs; by default the release build of this checkout.
BIN=${IMGXFER_BIN:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../../target/release" && pwd)}
export IMGXFER_CONFIG_DIR=$TMP/cli IMGXFER_STATE_DIR=$TMP/cli-state

fingerprint() { "$BIN/imgxfer" --config-dir "$1" id --json | sed -n 's/.*"fingerprint":"\([^"]*\)".*/\1/p'; }

sites() {
    mkdir -p "$TMP/site" "$TMP/state"
    "$BIN/imgxfer" init --name rig-cli >/dev/null
    "$BIN/imgxfer" --config-dir "$TMP/site" init --name rig-site >/dev/null
    cat > "$TMP/imgxferd.toml" <<X
state_dir = "$TMP/state"
[site]
name = "rig"
[listen]
quic = "$SERVER_IP:$PORT"
[admin]
listen = "127.0.0.1:0"
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

# Stops the daemon, starts it again on loopback, and fetches all studies: for the runner's comparison of
# what arrived, untimed.
fetch_all() {
    local key study
    key=$(fingerprint "$TMP/site")
    pkill -f "$TMP/imgxferd.toml" || true
    while pgrep -f "$TMP/imgxferd.toml" >/dev/null; do :; done
    sed -i "s/^quic = .*/quic = \"127.0.0.1:$PORT\"/" "$TMP/imgxferd.toml"
    "$BIN/imgxferd" --config "$TMP/imgxferd.toml" 2>>"$TMP/fetch.log" &
    until listening_udp; do :; done
    "$BIN/imgxfer" ls --from "127.0.0.1:$PORT" --peer-key "$key" --json |
        sed -n 's/.*"study":"\([^"]*\)".*/\1/p' | sort -u |
        while read -r study; do
            "$BIN/imgxfer" pull "$study" --from "127.0.0.1:$PORT" --peer-key "$key" --out "$1" </dev/null >/dev/null
        done
    kill %1
    wait || true
}
