#!/bin/bash
# Refuses to move a release: runners are pinned to it by its name. Reads the registry, changes nothing.
#   IMAGE      registry and name, `docker.io/certyn/runner`
#   COMMIT_SHA the commit that is about to be built
#   TAGS       the tags that are about to be published, by spaces
#   SOURCE_TAG what they will be given to; empty to build
# Prints `source_tag=`, for $GITHUB_OUTPUT: the one given, or the release itself where this commit's is published
# already, so that a workflow that failed half-way can be run again. Exits with 2 and the reason when one of the tags is
# a release that is published as something else, with 1 when the registry cannot be asked.
set -euo pipefail

RELEASE='^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$'

# Prints what the template says of a tag, and nothing for one that is not there.
look_up() {
  local said
  if said=$(skopeo inspect --no-tags --format "$2" "docker://$IMAGE:$1" 2>&1); then
    echo "$said"
  elif [[ ! $said =~ manifest\ unknown|name\ unknown ]]; then
    echo "::error::$IMAGE:$1 cannot be looked up: $said" >&2
    return 1
  fi
}

source=${SOURCE_TAG:-}
read -ra tags <<<"${TAGS:-}"
for tag in "${tags[@]}"; do
  [[ $tag =~ $RELEASE ]] || continue
  published=$(look_up "$tag" '{{.Digest}}')
  [[ -n $published ]] || continue
  if [[ -n $source ]]; then
    wanted=$(look_up "$source" '{{.Digest}}')
    [[ $wanted != "$published" ]] || continue
  elif [[ $(look_up "$tag" '{{index .Labels "org.opencontainers.image.revision"}}') == "$COMMIT_SHA" ]]; then
    source=$tag
    continue
  fi
  echo "::error::$IMAGE:$tag is published already ($published); a release is never moved, publish the next one" >&2
  exit 2
done

echo "source_tag=$source"
