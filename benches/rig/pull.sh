# MODE=pull  The command line pulls from a daemon that has the study. A peer script for the link emulator's
# runner (see BENCHMARKING.md).
. $RIG/peers/_lib.sh
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/_site.sh"
prepare() {
    sites
    local ip=$SERVER_IP
    sed -i "s/^quic = .*/quic = \"127.0.0.1:$PORT\"/" "$TMP/imgxferd.toml"
    daemon 2>"$TMP/daemon.log" &
    until listening_udp; do :; done
    "$BIN/imgxfer" push "$SRC" --to "127.0.0.1:$PORT" --peer-key "$(fingerprint "$TMP/site")" >/dev/null
    "$BIN/imgxfer" ls --from "127.0.0.1:$PORT" --peer-key "$(fingerprint "$TMP/site")" --json |
        sed -n 's/.*"study":"\([^"]*\)".*/\1/p' | sort -u > "$TMP/studies"
    kill %1
    wait || true
    sed -i "s/^quic = .*/quic = \"$ip:$PORT\"/" "$TMP/imgxferd.toml"
}
server() { daemon 2>"$TMP/daemon.log"; }
ready() { listening_udp; }
client() { while read -r study; do "$BIN/imgxfer" pull "$study" --from rig --out "$DST" --json </dev/null || exit; done < "$TMP/studies"; }
main "$@"
