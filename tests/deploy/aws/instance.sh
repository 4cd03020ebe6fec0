#!/usr/bin/env bash
# Stands for systemctl (and for mount and the like, by the names of links to it) where an instance of AWS is played: what it
# does to units, it does to processes. $PLAY is the directory of the play, $LOGWEIR the binary.
set -u
name=${0##*/}
echo "$name $*" >>"$PLAY/calls"

# Ends the process in file $1, and waits until it has ended. A zombie has.
end() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    kill -TERM "$pid" 2>/dev/null || return 0
    while [[ -d /proc/$pid ]] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; do sleep 0.05; done
}

case "$name $*" in
    "systemctl stop logweir.socket logweir.service") end "$PLAY/logweir.pid" ;;
    "systemctl start logweir-replay@"*)
        unit=${2#logweir-replay@}
        spool=/$(printf '%b' "$(sed 's|-|/|g; s|\\x2d|-|g' <<<"${unit%.service}")")
        "$LOGWEIR" replay --spool "$spool" --config "$PLAY/logweir.toml" 2>>"$PLAY/log" &
        echo $! >"$PLAY/replay.pid"
        wait $!
        ;;
    "systemctl --no-block stop logweir-replay@"*) end "$PLAY/replay.pid" ;;
    "systemctl --quiet is-active logweir.service") [[ -e $PLAY/logweir.pid ]] ;;
    "systemd-escape --path "*) sed 's|^/||; s|-|\\x2d|g; s|/|-|g' <<<"$2" ;;
    # What is mounted is a link: a volume's directory lies beside its disk.
    "mount -o noatime "*)
        [[ -d $3.files ]] || { echo "mount: wrong fs type" >&2; exit 32; }
        rmdir "$4" && ln -s "$3.files" "$4"
        ;;
    "mountpoint --quiet "*) [[ -L $2 ]] ;;
    "umount "*) rm "$1" ;;
    "blkid "*) exit "$(cat "$2.known" 2>/dev/null || echo 0)" ;;
    *) ;;
esac
