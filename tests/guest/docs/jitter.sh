# Delays of 16 to 24 ms, two streams.
topology; netem rb0 delay 20ms 4ms; netem ra0 delay 10ms
serve --bind 10.2.0.1 --streams 2
watch
send --bind 10.1.0.1 --count 200 --rate 100 --streams 2 --nodelay
watched
