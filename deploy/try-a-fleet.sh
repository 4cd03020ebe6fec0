#!/usr/bin/env bash
# Three instances behind HAProxy on one machine, to try: batches go to http://127.0.0.1:8080; objects of all three stand
# below data/fleet/objects, spools and logs beside them. Ctrl-C stops all. Needs haproxy and curl. From the
# environment: PORT for another port than 8080 (the instances have the next three, and 1010 above those their admin
# ports), DATA for another directory, LOGWEIR for a program that is built already.
set -euo pipefail
set -m # a process group for each, so that Ctrl-C reaches this script alone
repository=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
port=${PORT:-8080} data=$(realpath -m "${DATA:-$repository/data/fleet}") instances=() haproxy=
[[ -z ${LOGWEIR-} ]] || LOGWEIR=$(realpath "$LOGWEIR") # both count from where it is started
cd "$repository"
[[ -n ${LOGWEIR-} ]] || { cargo build --locked --release && LOGWEIR=target/release/logweir; }

# HAProxy shares a port with another HAProxy, and somebody else's instance answers as well as ours: look before.
for taken in "$port" $((port + 1)) $((port + 2)) $((port + 3)) $((port + 1011)) $((port + 1012)) $((port + 1013)); do
    if (: <"/dev/tcp/127.0.0.1/$taken") 2>/dev/null; then
        echo "somebody serves on port $taken already, perhaps another of these: set PORT" >&2
        exit 1
    fi
done

stop() {
    trap 'kill "${instances[@]}"' INT TERM # Ctrl-C again: at once; what is not stored stays in the spool
    echo "stopping: each instance serves on for 5 s, so that HAProxy notices, and then stores what it has"
    kill "${instances[@]}" || true
    for id in "${instances[@]}"; do
        while kill -0 "$id"; do wait "$id" || true; done
    done
    [[ -z $haproxy ]] || { kill "$haproxy" && wait "$haproxy" || true; }
} 2>/dev/null
trap stop EXIT
trap 'exit 0' INT TERM

for i in 1 2 3; do
    mkdir -p "$data/i$i"
    export "LOGWEIR_$i=127.0.0.1:$((port + i))"
    LOGWEIR__SERVER__LISTEN=127.0.0.1:$((port + i)) LOGWEIR__ADMIN__LISTEN=127.0.0.1:$((port + 1010 + i)) \
        LOGWEIR__SERVER__BEHIND_PROXY=true LOGWEIR__DRAIN__LINGER=5s LOGWEIR__SPOOL__DIR="$data/i$i/spool" \
        LOGWEIR__SINKS__0__DIR="$data/objects" "$LOGWEIR" 2>>"$data/i$i/log" &
    instances+=($!)
    lives() { kill -0 $! 2>/dev/null || { tail -n 1 "$data/i$i/log" >&2; exit 1; }; }
    until curl --fail --silent --output /dev/null "http://127.0.0.1:$((port + i))/readyz"; do
        lives
        sleep 0.1
    done
    lives
done
LOGWEIR_FRONT=127.0.0.1:$port LOGWEIR_STATS=$data/haproxy.sock LOGWEIR_CHECK_INTERVAL=1s LOGWEIR_SLOWSTART=3s \
    LOGWEIR_UNPRIVILEGED=yes haproxy -db -f deploy/haproxy/haproxy.cfg &
haproxy=$!
echo "try: curl -i http://127.0.0.1:$port/v1/logs/heard -H 'Content-Type: application/json' -d '[{\"tone\": 18431}]'"
wait "$haproxy"
