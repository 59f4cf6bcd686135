# `cargo xtask demo`: COMMAND traces traffic over a path that has a round-trip time of 20 ms and loses 2 % of
# the packets with DATA. For sctp-rto the path also fails for three seconds; for sctp-bufmon the reader is
# slow.
topology
path 10ms
lose 2 1
flags= server= client="--count 800 --rate 100 --size 200 --nodelay"
case COMMAND in
sctp-rto) flags=-x ;;
sctp-bufmon)
	# The server reads nothing for four seconds. Then it pauses for 4 ms after each message.
	flags=-x server="--read-after 4000 --read-delay 4 --rcvbuf 30000"
	client="--count 600 --size 1000 --sndbuf 20000 --linger 1000"
	;;
esac
serve --bind 10.2.0.1 $server
COMMAND $flags --duration 10 >"$LIVE" 2>&1 &
tracer=$!
until_true 60 attached $tracer
if [ COMMAND = sctp-rto ]; then
	(sleep 3 && path_down 0 && sleep 3 && path 10ms) &
fi
send --bind 10.1.0.1 $client
wait $tracer
