topology; path 10ms
serve --bind 10.2.0.1 --read-delay 5 --rcvbuf 30000
watch
send --bind 10.1.0.1 --count 400 --size 1000 --sndbuf 20000 --blocked --linger 2000
watched
