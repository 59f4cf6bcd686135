#!/bin/sh
# The guest's first process: runs every case of /cases and sends each one's folder to the host.
export PATH=/sbin:/bin HOME=/root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /run/netns
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
/sbin/ip link set lo up
# A tap's times are those of processing, not of queueing before it: what a program in the kernel sees, too.
echo 0 >/proc/sys/net/core/netdev_tstamp_prequeue

# Built in since 6.12.
/sbin/modprobe -q virtio_pci
/sbin/modprobe -q virtio_console
# Ports come a moment later.
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

say "booted $(uname -r) in $(cut -d' ' -f1 /proc/uptime) s"
for case in /cases/*; do
	name="$(cat "$case/name")"
	mkdir "/out/$name"
	cd "/out/$name" || exit 1
	start=$(cut -d. -f1 /proc/uptime)
	timeout "$(cat "$case/limit")" sh -e -c '. /lib.sh; . "$0"' "$case/script" >log 2>&1
	echo $? >status
	cd /
	# Nothing of a case outlives it.
	kill -9 -1
	wait
	/sbin/ip -all netns delete
	tar -cf "$results" -C /out "$name"
	say "$name: exit status $(cat "/out/$name/status"), $(($(cut -d. -f1 /proc/uptime) - start)) s"
	rm -rf "/out/$name"
done
say "done"
# The ports' buffers must reach the host first.
sleep 1
reboot -f
