# The reader stops before it has begun, for six seconds.
topology; path 10ms
serve --bind 10.2.0.1 --read-after 6000 --rcvbuf 30000
watch
send --bind 10.1.0.1 --count 300 --size 1000
watched
