# The demonstration: COMMAND over a path of 20 ms that loses 2 % of the packets.
topology
path 10ms 2%
serve --bind 10.2.0.1
COMMAND --duration 8 >"$LIVE" 2>&1 &
tracer=$!
until_true 60 attached $tracer
send --bind 10.1.0.1 --count 800 --rate 100 --size 200 --nodelay
wait $tracer
