#!/bin/sh
# Runs the command of a container. Exit code 4, "another process has taken this place over", becomes 0: with
# `restart: on-failure` the engine then leaves the container down, which otherwise would take the place back for ever.
# SIGTERM and SIGINT go on to the command as SIGTERM, which drains it.
umask 077 # what is stored has addresses and texts in it
"$@" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null; waiting=yes' TERM INT
waiting=yes
while [ "$waiting" ]; do # a signal interrupts `wait`
    waiting=
    wait "$child"
    code=$?
done
if [ "$code" -eq 4 ]; then
    echo "exit code 4: fenced, not started again" >&2
    exit 0
fi
exit "$code"
