#!/bin/bash
# Decides what is published, and under which tags. Reads nothing but its environment:
#   IMAGE_REPO     the image's name without registry and tag, `certyn/runner`
#   COMMIT_SHA     the commit that is built, 40 hexadecimal digits
#   IMAGE_TAG      a tag to publish beside `sha-<shortsha>`; empty for none
#   SOURCE_TAG     a published tag to give the new tags to, instead of building; empty to build
#   PUBLISH_LATEST `true` to move `latest` as well
# Prints `sha_tag=` (empty when nothing is built), `tags=` (the others, by spaces) and `version=` (of a release), for
# $GITHUB_OUTPUT.
# Exits with 2 and the reason when asked for something that must not be published.
set -euo pipefail

refuse() {
  echo "::error::$1" >&2
  exit 2
}

RELEASE='^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$'
TAG='^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$'
SHA_TAG='^sha-[0-9a-f]{7}$'
# Host and port are the registry's business, a tag is given apart.
REPO='^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$'

repo=${IMAGE_REPO:-} commit=${COMMIT_SHA:-} tag=${IMAGE_TAG:-} source=${SOURCE_TAG:-} latest=${PUBLISH_LATEST:-false}

[[ $repo =~ $REPO ]] || refuse "image_repo is '$repo', and has to be like certyn/runner, in lower case and without a tag"
[[ $commit =~ ^[0-9a-f]{40}$ ]] || refuse "the commit is '$commit', and has to be its 40 hexadecimal digits"
[[ $latest == true || $latest == false ]] || refuse "latest is '$latest', and has to be true or false"

if [[ -n $tag ]]; then
  [[ $tag =~ $TAG ]] || refuse "image_tag is '$tag', which is no tag of an image"
  [[ $tag != latest ]] || refuse "image_tag is 'latest', which is moved by enabling latest"
  [[ ! $tag =~ ^sha- ]] || refuse "image_tag is '$tag', and tags that begin with sha- name the commit that was built"
fi

# What is tagged anew keeps the tag of the commit that it was built from, and is not this one's.
sha_tag=sha-${commit:0:7}
if [[ -n $source ]]; then
  sha_tag=
  [[ $source =~ $TAG ]] || refuse "source_tag is '$source', which is no tag of an image"
  [[ ! $source =~ ^sha- || $source =~ $SHA_TAG ]] || refuse "source_tag is '$source', and has to be like sha-0123abc"
  [[ -n $tag || $latest == true ]] || refuse "source_tag is '$source', and there is neither an image_tag nor latest to give it"
  [[ $source != "$tag" ]] || refuse "source_tag and image_tag are both '$tag'"
fi

tags=$tag
if [[ $latest == true ]]; then tags="${tags:+$tags }latest"; fi
version=
if [[ $tag =~ $RELEASE ]]; then version=${tag#v}; fi

printf 'sha_tag=%s\ntags=%s\nversion=%s\n' "$sha_tag" "$tags" "$version"
