# The demonstration: COMMAND over a path of 20 ms that loses 2 % of the packets.
topology
path 10ms 2%
serve
COMMAND --duration 8 >"$LIVE" 2>&1 &
tracer=$!
until_true 60 attached $tracer
send --count 200 --rate 25 --size 200
wait $tracer
