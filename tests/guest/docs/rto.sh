# The path is dead for a second and a half.
topology; path 10ms
serve --bind 10.2.0.1
watch
(sleep 2; path_down 0; sleep 1.5; path 10ms) &
send --bind 10.1.0.1 --count 60 --rate 10 --nodelay --rto-min 200 --rto-initial 500 --linger 1000
watched
a cat /proc/net/sctp/snmp >snmp
