#!/bin/bash
# Makes a Debian image with Node 24 where no registry can be reached: debootstrap's smallest system and the Node
# binary of node_modules. Prints its reference. Needs root, debootstrap and a Docker Engine; made once per Node
# version and Debian release.
set -euo pipefail
cd "$(dirname "$0")/../.."

node=node_modules/node/bin/node
suite=bookworm
reference="certyn/base:${suite}-node$("$node" --version)"
if docker image inspect "$reference" >/dev/null 2>&1; then
  echo "$reference"
  exit 0
fi

echo "Making $reference with debootstrap; this takes a minute or two." >&2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The mirror this machine's own packages come from, where apt tells.
# shellcheck disable=SC2016 # apt's own placeholder
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/$' || true)
debootstrap --variant=minbase --include=ca-certificates "$suite" "$folder" ${mirror:+"$mirror"} >&2
rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/* "$folder"/usr/share/{doc,man,locale}
install -D -m 0755 "$node" "$folder/usr/local/bin/node"
tar -C "$folder" -c . | docker import - "$reference" >/dev/null
echo "$reference"
