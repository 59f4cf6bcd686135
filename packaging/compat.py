#!/bin/sh
# @NAME@ under the name of the script that it stands in for. Both sh and python3 can run this file.
''':'
exec /usr/bin/@NAME@ "$@"
: <<'END' ':'''
import os
import sys

os.execv("/usr/bin/@NAME@", ["@NAME@"] + sys.argv[1:])
END
