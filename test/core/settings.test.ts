import { describe, expect, test } from 'vitest'
import { accessTeam, parseSettings, runnersEnabled, type Settings } from '../../durable-objects/settings.ts'

function settings(source: Record<string, unknown>): Settings {
  const parsed = parseSettings(source)
  if (!parsed.ok) throw new Error(parsed.problems.join('; '))
  return parsed.settings
}

describe('settings', () => {
  test('have the documented defaults', () => {
    expect(settings({})).toEqual({
      Features__SelfHostedRunnersEnabled: false,
      Features__SelfHostedRelayEnabled: false,
      SelfHosted__EnabledTenants: [],
      SelfHosted__RelayEnabledTenants: [],
      SelfHosted__LeaseTtlSeconds: 45,
      SelfHosted__LeaseGraceSeconds: 15,
      SelfHosted__OfferTtlSeconds: 20,
      SelfHosted__HandoverSeconds: 300,
      SelfHosted__SyncIdleSeconds: 5,
      SelfHosted__UploadWindowSeconds: 900,
      SelfHosted__RelayConnectTimeoutSeconds: 15,
      SelfHosted__MaxViewers: 100,
      SelfHosted__LogCapBytes: 268_435_456,
      SelfHosted__ArtifactRetentionDays: 30,
      SelfHosted__HistoryRetentionDays: 90,
      RateLimits__Enabled: true,
      OTEL_TRACES_SAMPLER_ARG: 1,
    })
  })

  test.each([
    ['SelfHosted__LeaseTtlSeconds', '4'],
    ['SelfHosted__LeaseTtlSeconds', '3601'],
    ['SelfHosted__LeaseTtlSeconds', '45s'],
    ['SelfHosted__LeaseGraceSeconds', '0'],
    ['SelfHosted__OfferTtlSeconds', '601'],
    ['SelfHosted__SyncIdleSeconds', '-1'],
    ['Features__SelfHostedRunnersEnabled', 'yes'],
    ['SelfHosted__EnabledTenants', 'acme,Acme Corp'],
    ['SelfHosted__HistoryRetentionDays', '0'],
    ['SelfHosted__RelayConnectTimeoutSeconds', '121'],
    ['SelfHosted__MaxViewers', '0'],
    ['SelfHosted__LogCapBytes', '1e9'],
    ['Docker__DefaultImage', 'not an image'],
    ['OPERATOR_KEY', 'short'],
    ['Access__TeamDomain', 'http://acme.cloudflareaccess.com'],
    ['Access__TeamDomain', 'http://127.0.0.1.evil.example'],
    ['Access__TeamDomain', 'acme.cloudflareaccess.com/path'],
    ['Access__TeamDomain', 'https://user:pass@acme.cloudflareaccess.com'],
    ['Access__TeamDomain', 'ftp://acme.cloudflareaccess.com'],
    ['Access__TeamDomain', 'a b'],
    ['Access__Audience', 'two words'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'https://user:pass@collector.example'],
    ['OTEL_EXPORTER_OTLP_HEADERS', 'secret'],
    ['OTEL_TRACES_SAMPLER_ARG', '1.5'],
    ['OTEL_EXPORTER_OTLP_HEADERS', 'authorization=%zz'],
  ])('%s=%s is refused by name, without the value', (name, value) => {
    const parsed = parseSettings({ [name]: value })
    if (parsed.ok) throw new Error('it was accepted')
    expect(parsed.problems).toHaveLength(1)
    expect(parsed.problems[0]).toMatch(new RegExp(`^${name}: `))
    expect(parsed.problems[0]).not.toContain(`"${value}"`)
  })

  test.each([
    ['5', '1', '2', '1'],
    ['3600', '300', '600', '300'],
    ['5', '300', '600', '1'],
  ])('the ranges’ ends go together: TTL %s, grace %s, offer %s, idle %s', (ttl, grace, offer, idle) => {
    const parsed = parseSettings({
      SelfHosted__LeaseTtlSeconds: ttl,
      SelfHosted__LeaseGraceSeconds: grace,
      SelfHosted__OfferTtlSeconds: offer,
      SelfHosted__SyncIdleSeconds: idle,
    })
    expect(parsed.ok).toBe(true)
  })

  test('an empty value is not set, and names of others are none of our business', () => {
    expect(
      settings({ SelfHosted__LeaseTtlSeconds: '', PATH: '/bin', DB: {} }).SelfHosted__LeaseTtlSeconds,
    ).toBe(45)
  })
})

describe('Cloudflare Access', () => {
  test.each([
    ['acme.cloudflareaccess.com', 'https://acme.cloudflareaccess.com'],
    ['https://acme.cloudflareaccess.com/', 'https://acme.cloudflareaccess.com'],
    ['http://127.0.0.1:8080', 'http://127.0.0.1:8080'],
  ])('knows the team %s by the issuer %s', (domain, issuer) => {
    const both = settings({ Access__TeamDomain: domain, Access__Audience: 'aud' })
    expect(accessTeam(both)).toEqual({ issuer, audience: 'aud' })
  })

  test('is off by default, and never half on', () => {
    expect(accessTeam(settings({}))).toBeNull()
    expect(parseSettings({ Access__TeamDomain: 'acme.cloudflareaccess.com' })).toEqual({
      ok: false,
      problems: ['Access__Audience: expected, because Access__TeamDomain is set'],
    })
    expect(parseSettings({ Access__Audience: 'aud' })).toMatchObject({
      problems: ['Access__TeamDomain: expected, because Access__Audience is set'],
    })
  })
})

describe('the allow-list', () => {
  test('empty allows every tenant, once the flag is on', () => {
    expect(runnersEnabled(settings({}), 'acme')).toBe(false)
    expect(runnersEnabled(settings({ Features__SelfHostedRunnersEnabled: 'true' }), 'acme')).toBe(true)
  })

  test('named tenants only, spaces around entries ignored', () => {
    const some = settings({
      Features__SelfHostedRunnersEnabled: 'true',
      SelfHosted__EnabledTenants: ' acme , globex,',
    })
    expect(runnersEnabled(some, 'acme')).toBe(true)
    expect(runnersEnabled(some, 'globex')).toBe(true)
    expect(runnersEnabled(some, 'initech')).toBe(false)
  })
})
