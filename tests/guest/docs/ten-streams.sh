# The same traffic as of one-stream, on all ten.
topology; path 10ms; lose_every 50
serve --bind 10.2.0.1 --streams 10
watch
send --bind 10.1.0.1 --streams 10 --count 800 --rate 200 --nodelay
watched
