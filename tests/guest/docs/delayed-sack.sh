# Messages of three packets: the third waits for the receiver's SACK delay, which RTO.min is below.
topology; path 10ms
serve --bind 10.2.0.1 --sack-delay 200
watch
send --bind 10.1.0.1 --count 4 --rate 1 --size 4000 --rto-min 100 --rto-initial 300 --linger 1000
watched
a cat /proc/net/sctp/snmp >snmp
