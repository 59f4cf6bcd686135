#!/bin/sh
# The guest's first process: runs every case of /cases and sends each one's folder to the host.
export PATH=/sbin:/bin HOME=/root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs security /sys/kernel/security
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /run/netns
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
/sbin/ip link set lo up
# Stamp a received packet when the kernel processes it, not when the kernel queues it before: so a capture has
# the time at which BPF programs see the packet, too.
echo 0 >/proc/sys/net/core/netdev_tstamp_prequeue

# Debian's kernels have these drivers built in since 6.12.
/sbin/modprobe -q virtio_pci
/sbin/modprobe -q virtio_console
# The virtio ports appear a moment after their driver.
tries=0
until [ -e /sys/class/virtio-ports/vport*p1/name ] || [ $tries = 50 ]; do
	sleep 0.1
	tries=$((tries + 1))
done
for port in /sys/class/virtio-ports/*; do
	eval "$(cat "$port/name")=/dev/${port##*/}"
done
export LIVE="$live"

say() {
	echo "bed: $*" >/dev/console
	echo "bed: $*" >"$LIVE"
}

# associations: print how many SCTP associations there are in the first and all named network namespaces.
associations() {
	local count ns
	count=$(sed 1d /proc/net/sctp/assocs 2>/dev/null | wc -l)
	for ns in $(ls /run/netns); do
		count=$((count + $(/sbin/ip netns exec "$ns" cat /proc/net/sctp/assocs 2>/dev/null | sed 1d | wc -l)))
	done
	echo $count
}

# end_associations: wait until no association is left, for 5 s at most. An association of a killed program
# goes on sending its data for minutes if nobody answers, and the next case would see that. So first remove
# whatever keeps packets back on the router: then the kernel at the other end answers with ABORT.
end_associations() {
	local tries=50 interface
	[ "$(associations)" != 0 ] || return
	for interface in ra0 rb0 ra1 rb1; do
		/sbin/tc -n r qdisc delete dev $interface root
		/sbin/tc -n r qdisc delete dev $interface ingress
	done 2>/dev/null
	while [ "$(associations)" != 0 ]; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || break
		sleep 0.1
	done
	[ $tries -gt 0 ] || say "$name: $(associations) associations outlive it"
}

say "booted $(uname -r) in $(cut -d' ' -f1 /proc/uptime) s"
for case in /cases/*; do
	name="$(cat "$case/name")"
	mkdir "/out/$name"
	cd "/out/$name" || exit 1
	start=$(cut -d. -f1 /proc/uptime)
	timeout "$(cat "$case/limit")" sh -e -c '. /lib.sh; . "$0"' "$case/script" >log 2>&1
	echo $? >status
	cd /
	# No process of a case outlives it.
	kill -9 -1
	wait
	end_associations
	/sbin/ip -all netns delete
	tar -cf "$results" -C /out "$name"
	say "$name: exit status $(cat "/out/$name/status"), $(($(cut -d. -f1 /proc/uptime) - start)) s"
	rm -rf "/out/$name"
done
say "done"
# Let the host read first what is still in the virtio ports' buffers.
sleep 1
reboot -f
