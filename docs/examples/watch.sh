#!/bin/sh
# Print score, interval and gates of every stream as they come: docs/examples/watch.sh [HOST] [PORT]
# The password of a broker that asks for one belongs into ~/.config/mosquitto_sub (-u NAME, -P PASSWORD), not here.
mosquitto_sub -h "${1:-127.0.0.1}" -p "${2:-1883}" -t 'agfn/+/sentiment' |
    jq --unbuffered -r '
        [.stream, .state, .score, (.interval // [] | join("..")),
         (.modalities | to_entries[] | "\(.key) \(.value.weight) \(.value.state)")] | @tsv'
