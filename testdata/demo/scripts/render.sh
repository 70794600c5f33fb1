#!/bin/sh
# Puts the frame of the site around each page: render.sh PAGES TO
set -eu
pages=$1
to=$2
mkdir -p "$to"
for page in "$pages"/*.html; do
  title=$(sed -n 's|.*<h1>\(.*\)</h1>.*|\1|p' "$page")
  {
    printf '<!doctype html>\n<html lang="en">\n<title>%s · %s</title>\n' "$title" "$SITE_NAME"
    cat "$page"
    printf '<footer>version %s</footer>\n</html>\n' "$SITE_VERSION"
  } > "$to/${page##*/}"
  echo "rendered ${page##*/}"
done
