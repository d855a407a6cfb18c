import { describe, expect, test } from 'vitest'
import { ACTIONS, type Outcome, run } from './script.ts'

const COMMIT = '0123abcd'.repeat(5)
const DEFAULTS = { IMAGE_REPO: 'certyn/runner', COMMIT_SHA: COMMIT }

function plan(env: Readonly<Record<string, string>>): Outcome {
  return run(`${ACTIONS}/publish-image/plan.sh`, { ...DEFAULTS, ...env })
}

/** Every combination of what a caller may give. */
const WANTED = [
  { image_tag: '', source_tag: '', latest: 'false', sha_tag: 'sha-0123abc', tags: '' },
  { image_tag: '', source_tag: '', latest: 'true', sha_tag: 'sha-0123abc', tags: 'latest' },
  { image_tag: 'v1.2.3', source_tag: '', latest: 'false', sha_tag: 'sha-0123abc', tags: 'v1.2.3' },
  { image_tag: 'v1.2.3', source_tag: '', latest: 'true', sha_tag: 'sha-0123abc', tags: 'v1.2.3 latest' },
  { image_tag: 'v1.2.3', source_tag: 'sha-fedcba9', latest: 'false', sha_tag: '', tags: 'v1.2.3' },
  { image_tag: 'v1.2.3', source_tag: 'v1.2.3-rc.1', latest: 'true', sha_tag: '', tags: 'v1.2.3 latest' },
  { image_tag: '', source_tag: 'v1.2.3', latest: 'true', sha_tag: '', tags: 'latest' },
]

describe('what is published', () => {
  test.each(WANTED)(
    'image_tag "$image_tag", source_tag "$source_tag", latest $latest: $sha_tag $tags',
    wanted => {
      const { image_tag, source_tag, latest, sha_tag, tags } = wanted
      const { code, outputs } = plan({ IMAGE_TAG: image_tag, SOURCE_TAG: source_tag, PUBLISH_LATEST: latest })
      expect([code, outputs.sha_tag, outputs.tags]).toEqual([0, sha_tag, tags])
    },
  )

  test.each([
    ['v1.2.3', '1.2.3'],
    ['v10.20.30-rc.1', '10.20.30-rc.1'],
    ['nightly', ''],
    ['v1.2', ''],
  ])('%s is of the release "%s"', (IMAGE_TAG, version) => {
    expect(plan({ IMAGE_TAG }).outputs.version).toBe(version)
  })

  test('nothing but the commit’s own tag is published where nothing is said', () => {
    expect(plan({}).outputs).toEqual({ sha_tag: 'sha-0123abc', tags: '', version: '' })
  })
})

describe('refused, with the reason', () => {
  test.each([
    [{ SOURCE_TAG: 'v1.2.3' }, 'neither an image_tag nor latest'],
    [{ SOURCE_TAG: 'v1.2.3', IMAGE_TAG: 'v1.2.3' }, 'both'],
    [{ SOURCE_TAG: 'a b', IMAGE_TAG: 'v1.2.3' }, 'source_tag'],
    [{ SOURCE_TAG: 'sha-1', IMAGE_TAG: 'v1.2.3' }, 'sha-0123abc'],
    [{ IMAGE_TAG: 'latest' }, 'enabling latest'],
    [{ IMAGE_TAG: 'sha-0123abc' }, 'sha-'],
    [{ IMAGE_TAG: '.hidden' }, 'no tag of an image'],
    [{ IMAGE_TAG: 'x'.repeat(129) }, 'no tag of an image'],
    [{ IMAGE_TAG: 'v1.2.3\nlatest' }, 'no tag of an image'],
    [{ IMAGE_TAG: '$(touch /tmp/owned)' }, 'no tag of an image'],
    [{ PUBLISH_LATEST: 'yes' }, 'true or false'],
    [{ IMAGE_REPO: 'runner' }, 'image_repo'],
    [{ IMAGE_REPO: 'Certyn/Runner' }, 'image_repo'],
    [{ IMAGE_REPO: 'certyn/runner:v1' }, 'image_repo'],
    [{ COMMIT_SHA: '0123abc' }, 'commit'],
    [{ COMMIT_SHA: '' }, 'commit'],
  ])('%j', (env, reason) => {
    const { code, outputs, errors } = plan(env)
    expect([code, outputs]).toEqual([2, {}])
    expect(errors).toMatch(/^::error::/)
    expect(errors).toContain(reason)
  })
})
