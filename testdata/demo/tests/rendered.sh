#!/bin/sh
# Every rendered page has its frame, and nothing changed since it was rendered: rendered.sh DIST
set -eu
cd "$1"
sha256sum --check --quiet checksums.txt
for page in *.html; do
  grep -q '<!doctype html>' "$page"
  grep -q "<footer>version $SITE_VERSION</footer>" "$page"
  echo "ok   $page"
done
