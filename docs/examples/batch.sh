#!/bin/sh
# Cuts out every picture of a folder in one request. Needs curl, zip and unzip.
#
#     sh batch.sh http://127.0.0.1:8000 photos cutouts
#
# curl reads results while it sends, so the folder may be of any size within the server's limits. The cutouts,
# and report.json with the outcome of each picture, are in the folder `cutouts` at the end.
set -eu
server=${1%/} photos=$2 cutouts=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$photos" && zip -q -0 -r "$work/photos.zip" .)
curl --fail-with-body --silent --show-error -T "$work/photos.zip" -X POST \
    -H 'Content-Type: application/zip' -H "Idempotency-Key: $(basename "$work")" \
    -o "$work/cutouts.zip" "$server/v1/batch?crop=true&margin=5%25"
unzip -q -o "$work/cutouts.zip" -d "$cutouts"
