#!/bin/sh
# Every link between pages leads to a page: links.sh PAGES
set -eu
cd "$1"
failed=0
for page in *.html; do
  for target in $(sed -n 's/.*href="\([^"]*\)".*/\1/p' "$page"); do
    if [ -f "$target" ]; then
      echo "ok   $page -> $target"
    else
      echo "FAIL $page -> $target" >&2
      failed=1
    fi
  done
done
exit "$failed"
