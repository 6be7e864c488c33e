# The command line pushes to a daemon. A peer script for the link emulator's runner (see BENCHMARKING.md).
. $RIG/peers/_lib.sh
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/_site.sh"
prepare() { sites; }
server() { daemon 2>"$TMP/daemon.log"; }
ready() { listening_udp; }
client() { exec "$BIN/imgxfer" push "$SRC" --to rig --json; }
finish() { fetch_all "$DST"; }
main "$@"
