# Ten streams, and all messages on the first; one packet in fifty is lost.
topology; path 10ms; lose_every 50
serve --bind 10.2.0.1 --streams 10
watch
send --bind 10.1.0.1 --streams 10 --used-streams 1 --count 800 --rate 200 --nodelay
watched
