#!/bin/sh
# What a build costs without `runner`: the four phases of a buildspec whose `build` has COUNT times the item `true`.
#
#   sh phases.sh DIRECTORY COUNT
#
# Every item runs as CodeBuild runs it: a wrapper in a file, a shell process of its own, variables and directory carried
# to the next item in two files. The wrapper is the one of src/exec/shell.rs without its guard against a full disk, which
# in a shell would take one more process per item; that is to this script's advantage.
set -u

directory=$1
count=$2
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
: > "$state/env.sh"

item() {
    printf 'Running command %s\n' "$1"
    printf '%s\n' \
        "cd '$directory'" \
        'set -a' \
        ". '$state/env.sh'; CODEBUILD_BUILD_SUCCEEDING=1" \
        "$1" \
        'CODEBUILD_LAST_EXIT=$?' \
        "command export -p > '$state/env.sh' && command pwd > '$state/dir.txt' || :" \
        'exit $CODEBUILD_LAST_EXIT' > "$state/script.sh"
    sh "$state/script.sh" < /dev/null 2>&1 || exit 1
    IFS= read -r directory < "$state/dir.txt"
}

for phase in INSTALL PRE_BUILD BUILD POST_BUILD; do
    printf 'Entering phase %s\n' "$phase"
    if [ "$phase" = BUILD ]; then
        while [ "$count" -gt 0 ]; do
            item true
            count=$((count - 1))
        done
    fi
    printf 'Phase complete: %s State: SUCCEEDED\n' "$phase"
done
