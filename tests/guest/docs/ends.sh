# One association is shut down, one aborted by the peer with a text, and one refused.
topology; path 10ms
b sctp-ends server --bind 10.2.0.1 2>server.err &
b sctp-ends server --bind 10.2.0.1 --port 5002 --many 2>many.err &
for server in server many; do until_true 10 grep -qs listening $server.err; done
watch
a sctp-ends client --bind 10.1.0.1 --own-port 46956 --to 10.2.0.1 close 2>client.err
a sctp-ends client --bind 10.1.0.1 --own-port 46957 --to 10.2.0.1 --port 5002 peer-aborts \
	--text 'going down for maintenance' 2>client.err
a sctp-ends client --bind 10.1.0.1 --own-port 46958 --to 10.2.0.1 --port 999 connect 2>client.err
watched
killall sctp-ends
