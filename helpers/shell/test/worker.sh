# Prints events of every kind: test/run compares them with worker.jsonl.
set -eu
. "${0%/*}/../telemetry.sh"

# Values, and words that are no items.
telemetry_emit cache.hit bytes:=512 key=user-7
telemetry_emit numbers a:=-1.5e3 b:=0 c:=NaN d:=true e:=9223372036854775807
telemetry_emit texts a:=007 b:=.5 c:=1e d:= e:=-- f:=0x10 'g:=1 2'
telemetry_emit escapes 'q=a"b\c
d	e' "controls=$(printf '\001\007\033[1m\177\r')" 'é=ü→😀' 'glob=*[a-z]?$HOME`id`' '%s=%d\n'
telemetry_emit words flag empty= =novalue a=b=c '' :=5
telemetry_emit 'a name "quoted"' k=v
telemetry_emit ''
telemetry_emit

telemetry_gauge queue.depth 5 queue=a
telemetry_gauge loss 0.5
telemetry_gauge .x 1
telemetry_gauge missing
telemetry_count hit
telemetry_count rows.read 500 table=t

# Spans keep variables, arguments and statuses.
step() {
    telemetry_emit step.event "argument=$2"
    result=$1
    telemetry_timed step.part part=1 sh -c '. "$0"; telemetry_emit grandchild; exit 4' "$telemetry" ||
        status=$?
    return 0
}
telemetry=${0%/*}/../telemetry.sh
telemetry_span step tool=f rows:=3 step 'one two' 'three  four'
telemetry_emit after "result=$result" "status=$status" "span=${TELEMETRY_SPAN_ID-none}"
telemetry_span fails k=v -- sh -c 'exit 3' || telemetry_emit failed "status=$?"
telemetry_span killed sh -c 'kill -13 $$' || telemetry_emit failed "status=$?"
telemetry_span nothing
telemetry_span
telemetry_span '' k=v sh -c 'exit 6' || telemetry_emit failed "status=$?"
telemetry_span 'one word' k=v true
(exit 5) || telemetry_emit status "status=$?"

# Of a line that is too long the last metadata is left out.
i=0
set --
while [ $i -lt 90 ]; do
    set -- "$@" "k$i=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"\"" "m$i:=$i"
    i=$((i + 1))
done
telemetry_emit long "$@"
long=$(printf '%05000d' 0)
telemetry_emit long.value "a=$long" b=1
telemetry_emit long.measurement "a:=$long" "b:=2"
telemetry_emit "$long" a=1
