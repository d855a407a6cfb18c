#!/bin/bash
# Gives a published image further tags without building or changing it: the same digest, for every platform.
#   IMAGE      registry and name, `docker.io/certyn/runner`
#   SOURCE_TAG what is published already
#   TAGS       the tags to give to it, by spaces
# Prints `digest=` and `tags=` (all that were given), for $GITHUB_OUTPUT. Exits with 2 and the reason when there is no
# such image, or one that does not say which commit it was built from.
set -euo pipefail

refuse() {
  echo "::error::$1" >&2
  exit 2
}

source=docker://$IMAGE:$SOURCE_TAG
digest=$(skopeo inspect --no-tags --format '{{.Digest}}' "$source") || refuse "there is no $IMAGE:$SOURCE_TAG to tag anew"
revision=$(skopeo inspect --config "$source" | jq -r '.config.Labels["org.opencontainers.image.revision"] // ""')
[[ $revision =~ ^[0-9a-f]{40}$ ]] || refuse "$IMAGE:$SOURCE_TAG does not say which commit it was built from; build it anew"

read -ra tags <<<"${TAGS:-}"
tags=("sha-${revision:0:7}" "${tags[@]}")
for tag in "${tags[@]}"; do
  skopeo copy --quiet --all --preserve-digests "docker://$IMAGE@$digest" "docker://$IMAGE:$tag"
done

printf 'digest=%s\ntags=%s\n' "$digest" "${tags[*]}"
