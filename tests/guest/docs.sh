# Functions that the scenarios of README and docs/ call (the scripts in guest/docs/), besides those of lib.sh.
# A scenario runs in a folder of its own, with a file *.command for each command that the page shows of it.

# watch: start all of the scenario's commands at once, and wait until their hooks are attached.
watch() {
	local command
	for command in *.command; do
		sh "$command" >"${command%.command}.shown" 2>&1 &
		watchers="$watchers $!"
	done
	until_true 60 tracing "$(ls ./*.command | wc -l)"
}

# watched: wait until the commands that `watch` started have ended, which they do after their --duration.
watched() {
	# One by one, as `wait` with several process ids returns the exit status of the last one only.
	local watcher
	for watcher in $watchers; do
		wait "$watcher"
	done
}

# lose_every N: drop every N-th IPv4 packet that a sends on path 0. (netem's losses differ from run to run.)
lose_every() {
	modprobe sch_ingress
	modprobe cls_matchall
	modprobe act_gact
	tc -n r qdisc add dev ra0 clsact
	tc -n r filter add dev ra0 ingress protocol ip matchall action pass random determ drop "$1"
}

# end_scenario: delete the namespaces, and wait until no BPF objects are left, before the next scenario.
end_scenario() {
	/sbin/ip -all netns delete
	until_true 20 no_objects
}
