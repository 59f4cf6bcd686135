# The reader takes 10 ms for each message.
topology; path 10ms
serve --bind 10.2.0.1 --read-delay 10 --rcvbuf 30000
watch
send --bind 10.1.0.1 --count 300 --size 1000 --sndbuf 20000 --blocked --linger 2000
watched
