#!/bin/sh
# A script as an operator may have it for the Python scripts that the commands replace: it uses only the
# Python scripts' names, flags and columns.
set -e
cd "$(mktemp -d)"
timeout -s INT 40 sctp_rtt.py >rtt.txt &
timeout -s INT 40 python3 /usr/bin/sctp_rtt.py --csv --file rtt.csv >/dev/null &
timeout -s INT 40 sctp_rto.py -c >rto.csv &
timeout -s INT 40 sctp_bufmon.py -c -f bufmon.csv >/dev/null &
timeout -s INT 40 sctp_jitter.py -i 100 >jitter.txt &
timeout -s INT 40 sctp_streamutil.py -c >streams.csv &
wait

echo "rtt rows: $(grep -cE '^[0-9]+ +[0-9]+ +[0-9]+\.[0-9]{3} +[0-9]{2}:[0-9]{2}:[0-9]{2} *$' rtt.txt)"
echo "rtt sum: $(sed -n 's/^  Samples: //p' rtt.txt)"
echo "rtt last: $(tail -n 1 rtt.txt)"
echo "rtt csv: $(awk -F, '$1 == "assoc_id" { next } { n += $2 } END { print n }' rtt.csv)"
echo "rtt below 1 ms: $(awk '/^[0-9]/ && $3 < 1 { n++ } END { print n + 0 }' rtt.txt)"
echo "rto of: $(awk -F, '/^[0-9]/ && $4 > 0 && $5 >= 200 { print $2 ":" $3 }' rto.csv)"
echo "bufmon header: $(head -n 1 bufmon.csv | cut -d, -f1,12)"
echo "bufmon samples: $(awk -F, 'NR > 1 && $5 > 0 { n++ } END { print n + 0 }' bufmon.csv)"
echo "jitter streams: $(grep -A 3 '^Stream [0-9]*:$' jitter.txt | grep -cE '^  Jitter: [0-9]+\.[0-9]{3} us$')"
echo "stream bytes and chunks: $(awk -F, '/^[0-9]/ { b += $4; n += $5 } END { print b, n }' streams.csv)"
