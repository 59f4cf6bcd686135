topology; path 10ms
serve --bind 10.2.0.1
watch
send --bind 10.1.0.1 --count 11 --rate 20 --nodelay
watched
