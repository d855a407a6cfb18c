#!/bin/bash
# A release is what its sources say it is.
#   TAG  the git tag, `v1.2.3` or `v1.2.3-rc.1`
# Prints `latest=`: true but for a release to try out. Exits with 2 and the reason when TAG is not of this source.
set -euo pipefail

version=$(jq -r .version package.json)
if [[ $TAG != "v$version" ]]; then
  echo "::error::the tag is '$TAG', and package.json says $version; they have to be the same release" >&2
  exit 2
fi
if [[ $version == *-* ]]; then echo latest=false; else echo latest=true; fi
