#!/bin/bash
# Prints `tags=` (by spaces) and `names=` (a line for each, registry and name in front), for $GITHUB_OUTPUT.
#   IMAGE  registry and name, `docker.io/certyn/runner`
#   TAGS   by spaces
set -euo pipefail

read -ra tags <<<"${TAGS:-}"
printf 'tags=%s\nnames<<END\n' "${tags[*]}"
printf "$IMAGE:%s\n" "${tags[@]}"
echo END
