# Functions that cases call. Each case runs with `sh -e` in a folder of its own, whose files reach the host.

# The commands under test, without `sctp-`.
TOOLS=$(cat /tools)

# busybox's shell would run its own applets of these names instead of the real programs.
ip() { /sbin/ip "$@"; }
tc() { /sbin/tc "$@"; }
modprobe() { /sbin/modprobe "$@"; }
rmmod() { /sbin/rmmod "$@"; }
unshare() { /sbin/unshare "$@"; }

# a, b and r COMMAND...: run COMMAND in namespace a (the sender), b (the receiver), or r (the router between).
a() { ip netns exec a "$@"; }
b() { ip netns exec b "$@"; }
r() { ip netns exec r "$@"; }

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

# until_true SECONDS COMMAND...: run COMMAND again and again until it succeeds; fail after SECONDS.
until_true() {
	local tries=$(($1 * 20))
	shift
	while ! "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "gave up waiting for: $*"
		sleep 0.05
	done
}

# cable NS1 IF1 NS2 IF2 MTU: connect two namespaces by a veth pair without offloads, so that a capture has
# each packet as it is sent.
cable() {
	ip link add "$2" netns "$1" mtu "$5" type veth peer name "$4" netns "$3" mtu "$5"
	local end
	for end in "$1 $2" "$3 $4"; do
		set -- $end
		ip netns exec "$1" ethtool -K "$2" gso off tso off gro off tx-sctp-segmentation off >/dev/null
		ip -n "$1" link set "$2" up
	done
}

# know NS IF NS2 IF2 ADDRESS...: let NS reach each ADDRESS through IF at the MAC address of IF2 in NS2, by
# permanent neighbour entries, so that no packet waits for address resolution.
know() {
	local ns=$1 if=$2 mac address
	mac=$(ip netns exec "$3" cat "/sys/class/net/$4/address")
	shift 4
	for address in "$@"; do
		ip -n "$ns" neighbour replace "$address" lladdr "$mac" dev "$if" nud permanent
	done
}

# topology [MTU]: make the namespaces a, r and b, and two paths a - r - b that share no interface. The MTU is
# 1500 by default.
#   path 0: 10.1.0.1 (a0) - ra0 r rb0 - (b0) 10.2.0.1     fd00:1:0::1 - fd00:2:0::1
#   path 1: 10.1.1.1 (a1) - ra1 r rb1 - (b1) 10.2.1.1     fd00:1:1::1 - fd00:2:1::1
topology() {
	local mtu=${1:-1500} ns path side here there
	modprobe veth
	modprobe sctp
	for ns in a r b; do
		ip netns add $ns
		ip -n $ns link set lo up
		ip netns exec $ns sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
	done
	r sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	for path in 0 1; do
		for side in "a 1 2" "b 2 1"; do
			set -- $side
			ns=$1 here=$2 there=$3
			cable $ns $ns$path r r$ns$path $mtu
			ip -n $ns address add 10.$here.$path.1/24 dev $ns$path
			ip -n r address add 10.$here.$path.254/24 dev r$ns$path
			ip -n $ns -6 address add fd00:$here:$path::1/64 dev $ns$path nodad
			ip -n r -6 address add fd00:$here:$path::fe/64 dev r$ns$path nodad
			know $ns $ns$path r r$ns$path 10.$here.$path.254 fd00:$here:$path::fe
			know r r$ns$path $ns $ns$path 10.$here.$path.1 fd00:$here:$path::1
			ip -n $ns route add 10.$there.$path.0/24 via 10.$here.$path.254
			ip -n $ns -6 route add fd00:$there:$path::/64 via fd00:$here:$path::fe
		done
	done
}

# netem INTERFACE ARGUMENTS...: set or replace netem's arguments for packets that r sends out of INTERFACE.
netem() {
	modprobe sch_netem
	local interface=$1
	shift
	tc -n r qdisc replace dev "$interface" root netem limit 100000 "$@"
}

# path DELAY [NUMBER]: delay packets by DELAY in each direction, on path NUMBER (default: 0).
path() {
	netem "rb${2:-0}" delay "$1"
	netem "ra${2:-0}" delay "$1"
}

# lose PERCENT SEED: drop PERCENT % of the packets with DATA that a sends on path 0, the same ones in every
# run, until lose_stop or the end of the case. At lose_stop the list of dropped packets goes to losses.json.
lose() {
	modprobe sch_ingress
	modprobe cls_bpf
	# Not the function `r`: the process id must be sctp-drop's.
	/sbin/ip netns exec r sctp-drop ra0 --percent "$1" --seed "$2" >losses.json 2>losses.err &
	dropper=$!
	until_true 10 grep -qs dropping losses.err
}

# lose_sacks PERCENT SEED [SPARED]: drop PERCENT % of the packets on path 0 that b sends and that begin with a SACK, as
# `lose` does of those with DATA, but none of the first SPARED ones of each association. The list goes to
# sack-losses.json.
lose_sacks() {
	modprobe sch_ingress
	modprobe cls_bpf
	/sbin/ip netns exec r sctp-drop rb0 --sacks --percent "$1" --seed "$2" --spare "${3:-0}" >sack-losses.json 2>sack-losses.err &
	sack_dropper=$!
	until_true 10 grep -qs dropping sack-losses.err
}

# lose_tsn TSN COPIES: drop the first COPIES transmissions of the chunk TSN (0: the association's first one) of
# each association, on path 0. The list goes to losses.json.
lose_tsn() {
	modprobe sch_ingress
	modprobe cls_bpf
	/sbin/ip netns exec r sctp-drop ra0 --tsn "$1" --copies "$2" >losses.json 2>losses.err &
	dropper=$!
	until_true 10 grep -qs dropping losses.err
}

# lose_stop: end `lose`, `lose_tsn` and `lose_sacks`. Does nothing if none was called.
lose_stop() {
	local pid
	for pid in $dropper $sack_dropper; do
		kill -TERM "$pid"
		wait "$pid" || fail "sctp-drop: $(cat losses.err sack-losses.err)"
	done
	dropper= sack_dropper=
}

# path_down NUMBER: drop all packets on path NUMBER, in both directions, until `path` is called for it.
path_down() {
	netem "rb$1" loss 100%
	netem "ra$1" loss 100%
}

# capture INTERFACE...: capture the whole SCTP packets on each INTERFACE (a0, a1, b0 or b1) into
# INTERFACE.pcap, from the moment this returns.
capture() {
	local interface
	for interface in "$@"; do
		# Not the function `ip`: the process id must be tcpdump's.
		/sbin/ip netns exec "${interface%[01]}" tcpdump -i "$interface" -s 0 -B 65536 -Z root \
			--time-stamp-precision=nano -w "$interface.pcap" 'sctp or udp port 9899' \
			2>"$interface.tcpdump" &
		echo $! >"$interface.pid"
	done
	for interface in "$@"; do
		until_true 10 grep -qs "listening on" "$interface.tcpdump"
	done
}

# capture_stop: end all captures, and fail if one of them missed a packet.
capture_stop() {
	# When tcpdump ends, it discards what is still in the capture's ring buffer: wait until the kernel has
	# handed that over (at most a second).
	sleep 1.5
	local pid interface
	for pid in *.pid; do
		interface=${pid%.pid}
		# Not INT: the shell starts background programs with SIGINT ignored.
		kill -TERM "$(cat "$pid")"
		wait "$(cat "$pid")"
		grep -q "^0 packets dropped by kernel" "$interface.tcpdump" || fail "$interface: capture incomplete"
		rm "$pid"
	done
}

# serve ARGUMENTS...: start `sctp-traffic server` in b, and wait until it listens. At its end it writes to
# server.json what it received.
serve() {
	# The `listening` of an earlier server does not count.
	rm -f server.err
	b sctp-traffic server "$@" >server.json 2>server.err &
	server=$!
	until_true 10 grep -qs listening server.err
}

# send ARGUMENTS...: run `sctp-traffic client` in a, and wait until client and server have ended. The client
# writes to client.json what it sent.
send() {
	a sctp-traffic client "$@" >client.json
	wait $server
}

# start NAME TOOL ARGUMENTS...: run a command in the background, with $HOOKS as further flags (the kind of
# hooks). Its output goes to NAME.out and NAME.err, its process id to NAME.tracer.
start() {
	local name=$1
	shift
	"$@" $HOOKS >"$name.out" 2>"$name.err" &
	echo $! >"$name.tracer"
}

# traced: wait until all commands that `start` has started have attached their hooks.
traced() {
	local tracer
	for tracer in *.tracer; do
		until_true 60 attached "$(cat "$tracer")"
	done
}

# tracing COUNT: succeeds if exactly COUNT running processes of the commands have attached their hooks,
# whoever started them.
tracing() {
	local tool pid count=0
	for tool in $TOOLS; do
		for pid in $(pidof "sctp-$tool"); do
			! attached "$pid" || count=$((count + 1))
		done
	done
	[ $count = "$1" ]
}

# trace NAME TOOL ARGUMENTS...: `start` a command, and wait until this one has attached its hooks.
trace() {
	start "$@"
	until_true 60 attached $!
}

# trace_all: start all five commands with the flags that comparisons need: TOOL writes JSON to TOOL.json.
trace_all() {
	local tool
	for tool in rtt rto bufmon jitter; do start $tool sctp-$tool --json -q -f $tool.json; done
	start streamutil sctp-streamutil -i 1 --json -q -f streamutil.json
	traced
}

# scenario NAME: run the script on stdin in a folder NAME; if it fails, only the file `status` says so. The
# inode numbers of its namespaces a and b go to the file `netns`. Both stay mounted below /run/held, so that
# no later namespace gets the same number.
scenario() {
	local start
	start=$(cut -d. -f1 /proc/uptime)
	mkdir "$1"
	cd "$1"
	cat >script
	set +e
	(
		set -e
		. ./script
		for ns in a b; do
			stat -L -c %i /run/netns/$ns >>netns
			mkdir -p /run/held
			: >"/run/held/$1-$ns"
			mount --bind /run/netns/$ns "/run/held/$1-$ns"
		done
	) >log 2>&1
	echo $? >status
	set -e
	cd ..
	/sbin/ip -all netns delete
	echo "bed: $1: exit status $(cat "$1/status"), $(($(cut -d. -f1 /proc/uptime) - start)) s" >"$LIVE"
}

# attached PID: succeeds if the command has attached all its hooks. Then it confines itself, which its seccomp
# mode shows. Also succeeds if the command has ended: the case sees that from its exit status.
attached() {
	grep -qs "^Seccomp:.*2" /proc/$1/status || [ ! -d /proc/$1 ]
}

# ended PID: succeeds if the process has ended, even if nobody has waited for it (a zombie).
ended() {
	! grep -qs "^State:.[^Z]" /proc/$1/status
}

# trace_stop [SIGNAL]: send SIGNAL (default: TERM) to all started commands, and wait for their end. Each one's
# exit status goes to NAME.status.
trace_stop() {
	local tracer status
	for tracer in *.tracer; do
		[ -e "$tracer" ] || continue
		kill -"${1:-TERM}" "$(cat "$tracer")" || true
		wait "$(cat "$tracer")" && status=0 || status=$?
		echo $status >"${tracer%.tracer}.status"
		rm "$tracer"
	done
}

# exits STATUS NAME COMMAND...: run COMMAND to its end, with its output in NAME.out and NAME.err; fail unless
# its exit status is STATUS.
exits() {
	local expected=$1 name=$2 status
	shift 2
	timeout 30 "$@" >"$name.out" 2>"$name.err" && status=0 || status=$?
	[ $status = "$expected" ] || fail "$*: exit status $status, not $expected: $(cat "$name.err")"
}

# locked PID [map|prog]: print the kernel memory of a process's BPF maps, programs, or both, in bytes. Several
# descriptors of one count once.
locked() {
	cat /proc/$1/fdinfo/* 2>/dev/null | awk -v kind="^(${2:-map|prog})_id:" '
		/^memlock:/ { bytes = $2 }
		$1 ~ kind && !seen[$1 $2]++ { sum += bytes }
		END { print sum + 0 }'
}

# kernel_state: print the kernel's BPF programs, maps and links, its hooked functions, and the reference count
# of the sctp module.
kernel_state() {
	bpf-objects
	cat /sys/kernel/tracing/enabled_functions /sys/module/sctp/refcnt
}

# no_objects: succeeds if the kernel has no BPF objects, apart from sctp-drop's.
no_objects() {
	[ -z "$(bpf-objects)" ]
}

# remember: store the kernel's state before a command runs, for `nothing_left`. First wait until the kernel
# has freed all earlier BPF objects.
remember() {
	until_true 20 no_objects
	kernel_state >/tmp/kernel_state
}

# nothing_left: fail unless the kernel's state becomes the one that `remember` stored, and no file outside of
# the case's folder was made or changed since.
nothing_left() {
	local tries=200 files
	# The kernel frees BPF objects some time after their process has ended.
	until kernel_state >kernel_state && cmp -s kernel_state /tmp/kernel_state; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "left in the kernel: $(diff /tmp/kernel_state kernel_state)"
		sleep 0.05
	done
	files=$(find / /tmp /sys/fs/bpf -xdev -newer /tmp/kernel_state ! -type d ! -path '/out/*')
	[ -z "$files" ] || fail "left behind: $files"
}
