# Ten streams, of which four carry more or less.
topology; path 10ms; lose_every 50
serve --bind 10.2.0.1 --streams 10
watch
send --bind 10.1.0.1 --streams 10 --used-streams 4 --skew --count 400 --rate 100 --nodelay --unordered-every 10
watched
