# Functions that the benchmark's scripts call, besides those of lib.sh.

# Make the kernel's slab allocator keep pages that become empty. Otherwise it depends on what ran before when
# the allocator returns pages and takes new ones: that was 6 % of all work in some runs of the bulk transfer
# and nothing in others, with commands and without.
for partial in /sys/kernel/slab/*/min_partial; do echo 1000 >"$partial"; done

# own PID: print the CPU time of a process so far, in ns.
own() { cut -d' ' -f1 "/proc/$1/schedstat"; }

# bench NAME SERVE SEND [COMMAND...]: run a transfer while the COMMANDs trace it. SERVE and SEND are the flags
# of sctp-traffic's server and client. Leaves NAME.json, the client's report, and for the N-th COMMAND
# NAME.N.own, a number per line: its CPU time in ns once its hooks are attached, before the transfer, and
# once it has written what the transfer left to write; then its peak memory and its kernel memory in bytes,
# and how many samples it has written as JSON.
bench() {
	local name=$1 send=$3 command index=0 tracer pid
	serve $2
	shift 3
	for command in "$@"; do
		index=$((index + 1))
		trace "$name.$index" $command
		own "$(cat "$name.$index.tracer")" >"$name.$index.own"
	done
	# Wait until the kernel has done the RCU work of attaching.
	sleep 1
	# For the client, which reports CPU times.
	BUSY_OF=
	for tracer in "$name".*.tracer; do
		[ -e "$tracer" ] || continue
		pid=$(cat "$tracer")
		own "$pid" >>"${tracer%.tracer}.own"
		BUSY_OF="$BUSY_OF $pid"
	done
	export BUSY_OF
	[ -z "$STATS" ] || bpf-objects --stats >"$name.before"
	send $send
	[ -z "$STATS" ] || bpf-objects --stats >"$name.after"
	# An interval of a second, and more than a batch of records takes.
	[ -z "$*" ] || sleep 1.5
	for tracer in "$name".*.tracer; do
		[ -e "$tracer" ] || continue
		pid=$(cat "$tracer")
		{
			own "$pid"
			awk '/^VmHWM:/ { print $2 * 1024 }' "/proc/$pid/status"
			locked "$pid"
			grep -c '"type":"sample"' "${tracer%.tracer}.out" || true
		} >>"${tracer%.tracer}.own"
	done
	mv client.json "$name.json"
	[ -z "$*" ] || trace_stop
	rm -f "$name".*.out "$name".*.rows
}

# quiet FILE: succeeds if FILE does not grow for 2.5 s, in which a command with -i 1 has two ticks.
quiet() {
	local size
	size=$(stat -c %s "$1")
	sleep 2.5
	[ "$(stat -c %s "$1")" = "$size" ]
}

# ticks NAME COUNT ASSOCIATIONS COMMAND: run COMMAND, which has -i 1, for COUNT ticks without traffic, after
# ASSOCIATIONS associations have come and gone. Leaves NAME.own: the command's CPU time in ns before these
# ticks and after them.
ticks() {
	local tracer
	trace "$1" $4
	tracer=$(cat "$1.tracer")
	if [ $3 -gt 0 ]; then
		serve --bind 10.2.0.1 --one-to-many --associations $3
		send --bind 10.1.0.1 --crowd --associations $3 --count 1
	fi
	# Associations that have ended are shown once more. If they are many, that takes seconds.
	until_true 60 quiet "$1.out"
	own $tracer >"$1.own"
	sleep $2
	own $tracer >>"$1.own"
	trace_stop
	rm -f "$1.out"
}

# floor NAME KIND SERVE SEND: run a transfer while a BPF program that does nothing is attached to a hook of
# KIND (fentry, fexit, kprobe or kretprobe). Leaves NAME.json, the client's report.
floor() {
	serve $3
	bpf-floor "$2" 2>floor.err &
	local pid=$!
	until_true 20 grep -qs attached floor.err
	sleep 1
	send $4
	mv client.json "$1.json"
	kill $pid
	wait $pid || true
}

# gap_peer: replace `serve` and `send`, so that in later transfers the kernel in b sends data to `sctp-fuzz
# gaps`, a peer that acknowledges with gap blocks.
gap_peer() {
	know r ra0 a a0 10.1.0.9
	serve() {
		rm -f server.err
		b sctp-fuzz echo "$@" 2>server.err &
		server=$!
		until_true 10 grep -qs listening server.err
	}
	send() {
		# Drop --bind and its value: the peer has an address of its own.
		shift 2
		a sctp-fuzz gaps "$@" >client.json
		# Not `kill $server`: that is a shell that waits for sctp-fuzz, and it passes no signal on.
		killall sctp-fuzz
		wait $server || true
	}
}
