#!/bin/bash
# Makes the agent image where no registry can be reached: agent/Dockerfile on the base of base-image.sh, with the
# packages of Debian's mirror. Prints its reference, whose tag is a hash of what went into it, so that it is made
# once. Needs what base-image.sh needs, and installed dependencies.
set -euo pipefail
cd "$(dirname "$0")/../.."

base=${CERTYN_BASE_IMAGE:-$(scripts/images/base-image.sh)}
node_modules/node/bin/node --disable-warning=ExperimentalWarning scripts/build/agent.ts >&2
# By its id, because another base may get the same name.
inputs() { docker image inspect --format '{{.Id}}' "$base"; cat agent/Dockerfile dist/agent/agent.mjs; }
reference="certyn/agent:$(inputs | sha256sum | cut -c1-12)"
if ! docker image inspect "$reference" >/dev/null 2>&1; then
  echo "Making $reference on $base; the first time takes a minute or two." >&2
  docker build --network=host -q -f agent/Dockerfile --build-arg BASE_IMAGE="$base" -t "$reference" . >/dev/null
fi
echo "$reference"
