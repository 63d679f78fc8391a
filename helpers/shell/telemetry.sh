# shellcheck shell=sh
# Prints telemetry for telemetry-sidecar: events, spans and metrics, one line of stderr each. For any POSIX
# shell:
#
#     . ./telemetry.sh
#
#     telemetry_emit cache.hit bytes:=512 key=user-7
#     telemetry_span backup tool=pg_dump pg_dump -f backup.sql shop
#
# KEY=TEXT is metadata, KEY:=NUMBER a measurement. Nothing is printed unless a sidecar wraps the script: it
# sets TELEMETRY_SIDECAR=1. A function here never fails because of its arguments or of stderr.
#
# TELEMETRY_CORRELATION_ID is the correlation id of all events, and TELEMETRY_SPAN_ID the open span. Both are
# exported within a span, so that scripts which it starts belong to it.

# PIPE_BUF: a line of up to this many bytes is written at once or not at all.
_telemetry_max_bytes=4096
_telemetry_newline='
'

# telemetry_emit EVENT [KEY=TEXT | KEY:=NUMBER]...
#
# Prints an event. Of a line that is longer than 4,096 bytes the last metadata is left out, and
# telemetry_sidecar.dropped in the metadata is the number of keys that are missing.
telemetry_emit() {
    _telemetry_is_on || return 0
    if [ -n "${TELEMETRY_SPAN_ID-}" ] && [ $# -gt 0 ]; then
        # First, so that it is the last to be dropped.
        (event=$1 && shift && _telemetry_print "$event" "span_id=$TELEMETRY_SPAN_ID" "$@") || :
    else
        (_telemetry_print "$@") || :
    fi
    return 0
}

# telemetry_gauge NAME NUMBER [KEY=TEXT]...
#
# Prints the value of a metric: queue.depth is an event "queue" with the measurement "depth". A name without a
# dot has the measurement "value".
telemetry_gauge() {
    _telemetry_is_on && [ $# -ge 2 ] || return 0
    case $1 in
        ?*.?*) (event=${1%.*} item="${1##*.}:=$2" && shift 2 && telemetry_emit "$event" "$item" "$@") || : ;;
        *) (event=$1 item="value:=$2" && shift 2 && telemetry_emit "$event" "$item" "$@") || : ;;
    esac
    return 0
}

# telemetry_count NAME [NUMBER [KEY=TEXT]...]
#
# Prints that something happened, NUMBER times (1): an event with the measurement "count".
telemetry_count() {
    _telemetry_is_on && [ $# -gt 0 ] || return 0
    (
        event=$1 number=${2-1}
        shift $(($# > 1 ? 2 : 1))
        telemetry_emit "$event" "count:=$number" "$@"
    ) || :
    return 0
}

# telemetry_span OPERATION [KEY=TEXT]... [--] COMMAND [ARGUMENT]...
#
# Runs a command or a function of this shell, and returns its exit status. Prints OPERATION.start, and at the
# end OPERATION.stop, or OPERATION.exception if the status is not 0, with the duration in nanoseconds.
#
# Within a function that it runs, `set -e` has no effect, as everywhere where the shell looks at a status.
telemetry_span() {
    _telemetry_measure start "$@"
}

# telemetry_timed OPERATION [KEY=TEXT]... [--] COMMAND [ARGUMENT]...
#
# The same without the event OPERATION.start.
telemetry_timed() {
    _telemetry_measure '' "$@"
}

# ----------------------------------------------------------------------------------------------------------

# Whether there is a sidecar at the other end of stderr.
_telemetry_is_on() {
    [ "${TELEMETRY_SIDECAR-}" = 1 ] && { [ -p /dev/stderr ] || [ -c /dev/stderr ]; }
}

# The word "start" or nothing, and the arguments of telemetry_span.
_telemetry_measure() {
    # How many arguments come before the command: these two, and metadata.
    _telemetry_count=0
    for _telemetry_word in "$@"; do
        case $_telemetry_count,$_telemetry_word in
            0,* | 1,* | *,*=*) _telemetry_count=$((_telemetry_count + 1)) ;;
            *) break ;;
        esac
    done
    # Without an operation nothing can be printed.
    if [ -z "${2-}" ] || ! _telemetry_is_on; then
        _telemetry_run "$_telemetry_count" "$@"
        return
    fi
    _telemetry_uuid=
    read -r _telemetry_uuid 2>/dev/null </proc/sys/kernel/random/uuid || :
    _telemetry_last=${_telemetry_uuid##*-}
    # Arguments are a function's own, unlike variables: spans within the command have others.
    _telemetry_within "$_telemetry_count" "${_telemetry_uuid%%-*}${_telemetry_last#????}" \
        "${TELEMETRY_SPAN_ID-}" "${TELEMETRY_CORRELATION_ID-}" "$(_telemetry_now)" "$_telemetry_uuid" "$@"
}

# Number of arguments before the command, span, parent, correlation id, time of the start, a random id, and
# the arguments of _telemetry_measure.
_telemetry_within() {
    TELEMETRY_SPAN_ID=$2
    if [ -z "$4" ]; then
        TELEMETRY_CORRELATION_ID=
        # A UUID without its hyphens.
        _telemetry_rest=$6-
        while [ -n "$_telemetry_rest" ]; do
            TELEMETRY_CORRELATION_ID=$TELEMETRY_CORRELATION_ID${_telemetry_rest%%-*}
            _telemetry_rest=${_telemetry_rest#*-}
        done
    fi
    export TELEMETRY_SPAN_ID TELEMETRY_CORRELATION_ID
    [ -z "$7" ] || (_telemetry_phase start "$@") || :
    _telemetry_skip_and_run "$@" && _telemetry_status=0 || _telemetry_status=$?
    (_telemetry_phase "$_telemetry_status" "$@") || :
    TELEMETRY_SPAN_ID=$3 TELEMETRY_CORRELATION_ID=$4
    [ -n "$3" ] || unset TELEMETRY_SPAN_ID
    [ -n "$4" ] || unset TELEMETRY_CORRELATION_ID
    return "$_telemetry_status"
}

_telemetry_skip_and_run() {
    _telemetry_count=$1
    shift 6
    _telemetry_run "$_telemetry_count" "$@"
}

# Number of arguments before the command, and the arguments of _telemetry_measure.
_telemetry_run() {
    shift "$1"
    shift
    [ "${1-}" != -- ] || shift
    [ $# -eq 0 ] || "$@"
}

# "start" or the exit status, and the arguments of _telemetry_within. In a subshell.
_telemetry_phase() {
    phase=$1 count=$2 span=$3 parent=$4 began=$6
    shift 8
    operation=${1-}
    case $phase in
        start) set -- "$operation.start" "system_time:=$began" "$@" ;;
        0) set -- "$operation.stop" "duration:=$(($(_telemetry_now) - began))" "$@" ;;
        *) set -- "$operation.exception" "duration:=$(($(_telemetry_now) - began))" "$@" ;;
    esac
    # Event, measurement, operation, metadata, command: the metadata is moved to the end, the rest removed.
    all=$#
    event=$1 measurement=$2
    shift $((all > 2 ? 3 : 2))
    items=$((count - 2)) rest=$(($# - count + 2))
    while [ "$items" -gt 0 ]; do
        set -- "$@" "$1"
        shift
        items=$((items - 1))
    done
    command=${1-}
    [ "$command" != -- ] || command=${2-}
    shift "$rest"
    case $phase in
        start | 0) ;;
        *)
            message="$command: exit status $phase"
            set -- "$@" error_type=ExitStatus "error_message=$message" "exit_status=$phase"
            ;;
    esac
    [ -z "$parent" ] || set -- "parent_span_id=$parent" "$@"
    # The ids first, so that they are the last to be dropped.
    _telemetry_print "$event" "span_id=$span" "$measurement" "$@"
}

# EVENT [KEY=TEXT | KEY:=NUMBER]... In a subshell, because it changes variables.
_telemetry_print() {
    # Lengths in bytes, and classes of ASCII.
    LC_ALL=C
    [ -n "${1-}" ] || return 0
    name=$1
    shift
    _telemetry_string "$name"
    event=$string
    _telemetry_string "${TELEMETRY_CORRELATION_ID-}"
    id=$string
    # {"event":,"measurements":{},"metadata":{},"correlation_id":}, the prefix, the newline, and the mark.
    room=$((_telemetry_max_bytes - ${#event} - ${#id} - 71 - 43)) missing=0
    if [ "$room" -lt 0 ]; then
        # Escaped, these fit together.
        _telemetry_string "$(printf %.128s "$name")"
        event=$string
        _telemetry_string "$(printf %.128s "${TELEMETRY_CORRELATION_ID-}")"
        id=$string room=$((_telemetry_max_bytes - ${#event} - ${#string} - 71 - 43))
    fi
    _telemetry_items measurements "$@"
    measurements=$items
    _telemetry_items metadata "$@"
    [ "$missing" -eq 0 ] || items="${items:+$items,}\"telemetry_sidecar.dropped\":\"$missing\""
    line="\"event\":$event,\"measurements\":{$measurements},\"metadata\":{$items},\"correlation_id\":$id"
    # One write.
    printf 'TELEMETRY:{%s}\n' "$line" >&2
}

# Sets "items" to the measurements or the metadata of these arguments as JSON, as far as there is room.
_telemetry_items() {
    kind=$1 items='' is_full=
    shift
    for item in "$@"; do
        key=${item%%=*} value=${item#*=}
        case $item in
            '' | :=* | =*) continue ;;
            *=*) ;;
            # Without an equals sign it is a key without a value.
            *) value='' ;;
        esac
        case $key in
            *:) [ "$kind" = measurements ] || continue && key=${key%:} ;;
            *) [ "$kind" = metadata ] || continue ;;
        esac
        _telemetry_string "$key"
        item=$string
        if [ "$kind" = metadata ] || ! _telemetry_is_number "$value"; then
            _telemetry_string "$value"
            value=$string
        fi
        item=$item:$value
        if [ -n "$is_full" ] || [ $((${#item} + 1)) -gt "$room" ]; then
            is_full=1 missing=$((missing + 1))
            continue
        fi
        room=$((room - ${#item} - 1))
        items=${items:+$items,}$item
    done
}

# Whether the sidecar reads this as a number or a Boolean value.
_telemetry_is_number() {
    case $1 in
        NaN | Infinity | -Infinity | true | false) return 0 ;;
    esac
    number=${1#-} exponent=0 fraction=0
    case $number in
        *[eE]*) exponent=${number#*[eE]} number=${number%%[eE]*} ;;
    esac
    case $number in
        *.*) fraction=${number#*.} number=${number%%.*} ;;
    esac
    for digits in "${exponent#[+-]}" "$fraction" "$number"; do
        case $digits in
            '' | *[!0-9]*) return 1 ;;
        esac
    done
    case $number in
        0?*) return 1 ;;
    esac
}

# Sets "string" to a text as JSON. What could not be in a line is not looked at.
_telemetry_string() {
    rest=$1
    if [ ${#rest} -gt "$_telemetry_max_bytes" ]; then
        rest=$(printf "%.${_telemetry_max_bytes}s" "$rest")
    fi
    case $rest in
        *[\"\\[:cntrl:]]*) ;;
        *)
            string=\"$rest\"
            return 0
            ;;
    esac
    string=
    while [ -n "$rest" ] && [ ${#string} -lt "$_telemetry_max_bytes" ]; do
        plain=${rest%%[\"\\[:cntrl:]]*}
        string=$string$plain
        rest=${rest#"$plain"}
        [ -n "$rest" ] || break
        character=${rest%"${rest#?}"}
        rest=${rest#?}
        case $character in
            [\"\\]) string=$string\\$character ;;
            "$_telemetry_newline") string=$string\\n ;;
            *) string=$string$(printf '\\u%04x' "'$character") ;;
        esac
    done
    string=\"$string\"
}

# Nanoseconds since the epoch, as exact as the system can say it.
_telemetry_now() {
    if [ -n "${EPOCHREALTIME-}" ]; then
        # Bash: microseconds, behind a point or a comma.
        printf '%s000' "${EPOCHREALTIME%[.,]*}${EPOCHREALTIME#*[.,]}"
        return 0
    fi
    now=$(date +%s%N)
    case $now in
        *[!0-9]*) now=$(date +%s)000000000 ;;
    esac
    printf '%s' "$now"
}
