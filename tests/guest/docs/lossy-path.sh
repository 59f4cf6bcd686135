# Two paths, of which the primary one loses one packet in fifty.
topology; path 10ms; path 10ms 1; lose_every 50
serve --bind 10.2.0.1,10.2.1.1 --sack-delay 40
watch
send --bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 --count 800 --rate 100 --nodelay
watched
a cat /proc/net/sctp/snmp >snmp
