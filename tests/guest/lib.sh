# What cases call. Each runs with `sh -e` in a folder of its own, whose files reach the host.

# The commands under test, without `sctp-`.
TOOLS=$(cat /tools)

# busybox has applets of these names, and would take them.
ip() { /sbin/ip "$@"; }
tc() { /sbin/tc "$@"; }
modprobe() { /sbin/modprobe "$@"; }
rmmod() { /sbin/rmmod "$@"; }
unshare() { /sbin/unshare "$@"; }

# Run in namespace a (the sender), b (the receiver), or r (the router between).
a() { ip netns exec a "$@"; }
b() { ip netns exec b "$@"; }
r() { ip netns exec r "$@"; }

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

# until_true SECONDS COMMAND...: poll until the command succeeds.
until_true() {
	local tries=$(($1 * 20))
	shift
	while ! "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "gave up waiting for: $*"
		sleep 0.05
	done
}

# cable NS1 IF1 NS2 IF2 MTU: a veth pair without offloads, so that a packet on the tap is one on the wire.
cable() {
	ip link add "$2" netns "$1" mtu "$5" type veth peer name "$4" netns "$3" mtu "$5"
	local end
	for end in "$1 $2" "$3 $4"; do
		set -- $end
		ip netns exec "$1" ethtool -K "$2" gso off tso off gro off tx-sctp-segmentation off >/dev/null
		ip -n "$1" link set "$2" up
	done
}

# know NS IF NS2 IF2 ADDRESS...: permanent neighbour entries, so that no packet waits for address resolution.
know() {
	local ns=$1 if=$2 mac address
	mac=$(ip netns exec "$3" cat "/sys/class/net/$4/address")
	shift 4
	for address in "$@"; do
		ip -n "$ns" neighbour replace "$address" lladdr "$mac" dev "$if" nud permanent
	done
}

# topology [MTU]: a - r - b over two paths that share nothing.
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

# netem INTERFACE ARGUMENTS...: (re)set what r does to what leaves by that interface.
netem() {
	modprobe sch_netem
	local interface=$1
	shift
	tc -n r qdisc replace dev "$interface" root netem limit 100000 "$@"
}

# path DELAY [NUMBER]: delay each way, on path 0 unless another is named.
path() {
	netem "rb${2:-0}" delay "$1"
	netem "ra${2:-0}" delay "$1"
}

# lose PERCENT SEED: of the packets with DATA that a sends on path 0, drop the same ones in every run, until the case ends or
# lose_stop. Which ones goes to losses.json then.
lose() {
	modprobe sch_ingress
	modprobe cls_bpf
	# Not the function `r`: the process id must be sctp-drop's.
	/sbin/ip netns exec r sctp-drop ra0 --percent "$1" --seed "$2" >losses.json 2>losses.err &
	dropper=$!
	until_true 10 grep -qs dropping losses.err
}

# lose_stop: drop no more, if anything was dropped at all.
lose_stop() {
	[ -n "$dropper" ] || return 0
	kill -TERM "$dropper"
	wait "$dropper" || fail "sctp-drop: $(cat losses.err)"
	dropper=
}

# path_down NUMBER: nothing passes any more.
path_down() {
	netem "rb$1" loss 100%
	netem "ra$1" loss 100%
}

# capture INTERFACE...: whole packets of a0, a1, b0 or b1 into INTERFACE.pcap, from the moment this returns.
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
	# tcpdump gives up what the ring still holds: wait until it has been handed over (at most a second).
	sleep 1.5
	local pid interface
	for pid in *.pid; do
		interface=${pid%.pid}
		# Not INT: the shell starts background programs with that ignored.
		kill -TERM "$(cat "$pid")"
		wait "$(cat "$pid")"
		grep -q "^0 packets dropped by kernel" "$interface.tcpdump" || fail "$interface: capture incomplete"
		rm "$pid"
	done
}

# serve ARGUMENTS...: sctp-traffic as server in b; ready when this returns. Its truth goes to server.json.
serve() {
	# An earlier one's word does not count.
	rm -f server.err
	b sctp-traffic server "$@" >server.json 2>server.err &
	server=$!
	until_true 10 grep -qs listening server.err
}

# send ARGUMENTS...: sctp-traffic as client in a, to its end. Its truth goes to client.json.
send() {
	a sctp-traffic client "$@" >client.json
	wait $server
}

# start NAME TOOL ARGUMENTS...: run a tool in the background, with NAME.out and NAME.err, with the kind of hooks that $HOOKS
# asks for.
start() {
	local name=$1
	shift
	"$@" $HOOKS >"$name.out" 2>"$name.err" &
	echo $! >"$name.tracer"
}

# traced: all that were started trace when this returns.
traced() {
	local tracer
	for tracer in *.tracer; do
		until_true 60 attached "$(cat "$tracer")"
	done
}

# tracing COUNT: so many trace by now, whoever started them.
tracing() {
	local tool pid count=0
	for tool in $TOOLS; do
		for pid in $(pidof "sctp-$tool"); do
			! attached "$pid" || count=$((count + 1))
		done
	done
	[ $count = "$1" ]
}

# trace NAME TOOL ARGUMENTS...: start one, and wait for it alone.
trace() {
	start "$@"
	until_true 60 attached $!
}

# trace_all: all five, as comparisons want them: TOOL.json.
trace_all() {
	local tool
	for tool in rtt rto bufmon jitter; do start $tool sctp-$tool --json -q -f $tool.json; done
	start streamutil sctp-streamutil -i 1 --json -q -f streamutil.json
	traced
}

# scenario NAME: run the script on stdin in a folder of that name, and go on whatever becomes of it. Its namespaces are
# named in `netns`, and live on under no name.
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

# attached PID: all its hooks are in place, after which it confines itself; or it ended, which the case will see from
# its status.
attached() {
	grep -qs "^Seccomp:.*2" /proc/$1/status || [ ! -d /proc/$1 ]
}

# ended PID: of a child, too, that nobody has waited for.
ended() {
	! grep -qs "^State:.[^Z]" /proc/$1/status
}

# trace_stop [SIGNAL]: end all tools; each one's exit status goes to NAME.status.
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

# exits STATUS NAME COMMAND...: run to the end with NAME.out and NAME.err, and insist on the exit status.
exits() {
	local expected=$1 name=$2 status
	shift 2
	timeout 30 "$@" >"$name.out" 2>"$name.err" && status=0 || status=$?
	[ $status = "$expected" ] || fail "$*: exit status $status, not $expected: $(cat "$name.err")"
}

# kernel_state: BPF programs, maps and links, hooked functions, and users of the module.
kernel_state() {
	bpf-objects
	cat /sys/kernel/tracing/enabled_functions /sys/module/sctp/refcnt
}

# no_objects: what the case before had is freed.
no_objects() {
	[ -z "$(bpf-objects)" ]
}

# remember: how things stand before a tool runs, for `nothing_left`.
remember() {
	until_true 20 no_objects
	kernel_state >/tmp/kernel_state
}

# nothing_left: fail unless the kernel stands as it did, and no file was made outside of the case's own folder.
nothing_left() {
	local tries=200 files
	# What a program held is freed late.
	until kernel_state >kernel_state && cmp -s kernel_state /tmp/kernel_state; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "left in the kernel: $(diff /tmp/kernel_state kernel_state)"
		sleep 0.05
	done
	files=$(find / /tmp /sys/fs/bpf -xdev -newer /tmp/kernel_state ! -type d ! -path '/out/*')
	[ -z "$files" ] || fail "left behind: $files"
}
