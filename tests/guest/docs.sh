# What the pages' scenarios call besides lib.sh. A scenario runs in a folder of its own, with a file N.command for each
# command that the page shows.

# watch: start the commands, all at once; they trace when this returns.
watch() {
	local command
	for command in *.command; do
		sh "$command" >"${command%.command}.shown" 2>&1 &
		watchers="$watchers $!"
	done
	until_true 60 tracing "$(ls ./*.command | wc -l)"
}

# watched: the commands have ended, after --duration.
watched() {
	# One by one, as `wait` tells of the last alone.
	local watcher
	for watcher in $watchers; do
		wait "$watcher"
	done
}

# lose_every N: of what a sends on path 0, every N-th packet. (netem's losses differ from run to run.)
lose_every() {
	modprobe sch_ingress
	modprobe cls_matchall
	modprobe act_gact
	tc -n r qdisc add dev ra0 clsact
	tc -n r filter add dev ra0 ingress protocol ip matchall action pass random determ drop "$1"
}

# end_scenario: nothing is left for the next one.
end_scenario() {
	/sbin/ip -all netns delete
	until_true 20 no_objects
}
