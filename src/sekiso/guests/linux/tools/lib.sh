# Sekiso guest tools: what every script of them needs. Plain POSIX sh; only essential packages are assumed.
# shellcheck shell=sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

# shellcheck disable=SC2034
SEKISO_VERSION=1
SEKISO_PORT=/dev/ttyS1
SEKISO_RUN=/run/sekiso
SEKISO_STATE=/var/lib/sekiso
SEKISO_OUTPUT_LIMIT=8192
# A site may change the port: SEKISO_PORT=/dev/ttyS3
# shellcheck disable=SC1091
if [ -r /etc/sekiso/guest.conf ]; then . /etc/sekiso/guest.conf; fi
mkdir -p "$SEKISO_RUN" "$SEKISO_STATE" 2>/dev/null

# open_port: make the serial port pass bytes unchanged, without waiting for a carrier.
open_port() {
    [ -c "$SEKISO_PORT" ] || return 0
    stty -F "$SEKISO_PORT" 115200 raw -echo clocal -crtscts -hupcl 2>/dev/null || true
}

# emit JSON: send one report. The line starts on a fresh line so that a cut-off one cannot spoil it.
emit() {
    if [ -c "$SEKISO_PORT" ]; then
        { flock 9; printf '\nSEKISO %s\n' "$1" > "$SEKISO_PORT"; } 9> "$SEKISO_RUN/port.lock" 2>/dev/null || true
    fi
    printf '%s\n' "$1" >> "$SEKISO_RUN/reports" 2>/dev/null || true
}

# json_text: standard input as a JSON string; control characters that JSON forbids are dropped.
json_text() {
    printf '"'
    tr -d '\000-\010\013\014\016-\037\177' |
        sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e "s/$(printf '\t')/\\\\t/g" -e "s/$(printf '\r')/\\\\r/g" |
        awk '{ printf "%s%s", gap, $0; gap = "\\n" }'
    printf '"'
}

# json_string TEXT: TEXT as a JSON string.
json_string() {
    case $1 in
    *[!A-Za-z0-9\ ._:/=+@,%~\(\)-]*) printf '%s\n' "$1" | json_text ;;
    *) printf '"%s"' "$1" ;;
    esac
}

# json_list: lines of standard input as a JSON list of strings; empty lines are left out.
json_list() {
    gap=
    printf '['
    while IFS= read -r item; do
        [ -n "$item" ] || continue
        printf '%s' "$gap"
        json_string "$item"
        gap=,
    done
    printf ']'
}

# json_tail FILE: the end of a file as a JSON string.
json_tail() {
    tail -c "$SEKISO_OUTPUT_LIMIT" "$1" 2>/dev/null | json_text
}

# uptime_s: seconds since the kernel started.
uptime_s() {
    read -r up _ < /proc/uptime
    printf '%s' "$up"
}

# has_systemd: whether systemd runs this machine.
has_systemd() {
    [ -d /run/systemd/system ]
}
