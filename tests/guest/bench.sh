# What the bench calls, beside lib.sh.

# The allocator of the kernel's objects keeps what is freed. When it gives pages back and takes others is a matter of
# history: in a transfer in bulk that came and went, and was worth 6 % of all work, with commands and without.
for partial in /sys/kernel/slab/*/min_partial; do echo 1000 >"$partial"; done

# own PID: CPU time of a process so far, in ns.
own() { cut -d' ' -f1 "/proc/$1/schedstat"; }

# locked PID: kernel memory of its maps and programs, in bytes.
locked() { cat /proc/$1/fdinfo/* 2>/dev/null | awk '/^memlock:/ { sum += $2 } END { print sum + 0 }'; }

# bench NAME SERVE SEND [COMMAND...]: a transfer under commands. Leaves NAME.json, the client's truth, and for each
# command NAME.N.own: CPU time in ns at its banner, before and after the transfer; peak and kernel memory in bytes.
bench() {
	local name=$1 send=$3 command index=0 tracer before
	serve $2
	shift 3
	for command in "$@"; do
		index=$((index + 1))
		trace "$name.$index" $command
		own "$(cat "$name.$index.tracer")" >"$name.$index.own"
	done
	# The RCU work of attaching is over.
	sleep 1
	for tracer in "$name".*.tracer; do
		[ -e "$tracer" ] && own "$(cat "$tracer")" >>"${tracer%.tracer}.own"
	done
	[ -z "$STATS" ] || bpf-objects --stats >"$name.before"
	send $send
	[ -z "$STATS" ] || bpf-objects --stats >"$name.after"
	for tracer in "$name".*.tracer; do
		[ -e "$tracer" ] || continue
		before=$(cat "$tracer")
		{
			own "$before"
			awk '/^VmHWM:/ { print $2 * 1024 }' "/proc/$before/status"
			locked "$before"
		} >>"${tracer%.tracer}.own"
	done
	mv client.json "$name.json"
	[ -z "$*" ] || trace_stop
	rm -f "$name".*.out "$name".*.rows
}

# quiet FILE: it does not grow any more, from one tick to the next.
quiet() {
	local size
	size=$(stat -c %s "$1")
	sleep 2.5
	[ "$(stat -c %s "$1")" = "$size" ]
}

# ticks NAME COUNT ASSOCIATIONS COMMAND: what ticks of the command cost when nothing happens, after so many associations.
ticks() {
	local tracer
	trace "$1" $4
	tracer=$(cat "$1.tracer")
	if [ $3 -gt 0 ]; then
		serve --bind 10.2.0.1 --one-to-many --associations $3
		send --bind 10.1.0.1 --crowd --associations $3 --count 1
	fi
	# Those that ended are shown once more, which takes seconds where they are many.
	until_true 60 quiet "$1.out"
	own $tracer >"$1.own"
	sleep $2
	own $tracer >>"$1.own"
	trace_stop
	rm -f "$1.out"
}

# floor NAME KIND SERVE SEND: a transfer under a program that does nothing.
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

# gap_peer: from here on, transfers are those of a peer that acknowledges with gap blocks.
gap_peer() {
	know r ra0 a a0 10.1.0.9
	serve() {
		rm -f server.err
		b sctp-fuzz echo "$@" 2>server.err &
		server=$!
		until_true 10 grep -qs listening server.err
	}
	send() {
		# Not --bind: the peer has an address of its own.
		shift 2
		a sctp-fuzz gaps "$@" >client.json
		# The shell that waits for it in its namespace would not pass a signal on.
		killall sctp-fuzz
		wait $server || true
	}
}
