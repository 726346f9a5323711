#!/bin/sh
# Publishes one event through dispatchd and waits for its ack: shell.sh TYPE DATA [KEY], where DATA is a JSON object. It
# prints the ack, or the error, and then ends with 1. Needs curl. What may pass is tried again for DISPATCHD_TIMEOUT
# seconds (150), with the same id, so that nothing is stored twice.
set -eu
socket="${DISPATCHD_SOCKET:-/run/dispatchd/dispatchd.sock}"
timeout="${DISPATCHD_TIMEOUT:-150}"

quoted() { printf '%s' "$1" | sed 's/[\\"]/\\&/g'; }
event="$(printf '{"type":"%s","data":%s,"options":{"id":"%s","partitionKey":"%s"}}' \
    "$(quoted "$1")" "$2" "$(cat /proc/sys/kernel/random/uuid)" "$(quoted "${3:-}")")"

deadline=$(($(date +%s) + timeout))
wait=0
answer='no answer'
while left=$((deadline - $(date +%s))) && [ "$left" -gt 0 ]; do
    answer="$(printf '%s' "$event" | curl --silent --show-error --max-time "$left" --unix-socket "$socket" \
        --header 'Content-Type: application/json' --data-binary @- http://localhost/v1/events 2>&1)" || true
    case "$answer" in
    *'"ok":true'*)
        printf '%s\n' "$answer"
        exit 0
        ;;
    *'"retryable":false'*)
        printf '%s\n' "$answer" >&2
        exit 1
        ;;
    esac
    sleep "$wait"
    wait=$((wait < 5 ? wait + 1 : 5))
done
printf 'Timeout: not published within %s s, at last: %s\n' "$timeout" "$answer" >&2
exit 1
