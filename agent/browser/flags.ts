/**
 * How Chromium is started: nothing it would look up, report or update by itself, nothing that slows a page down because
 * nobody seems to look at it, and DevTools on loopback only, which is Chromium's own default.
 */

/** What a page has to itself until the command asks for something else. */
export const VIEWPORT = { width: 1280, height: 720 } as const
/** Below this, large pages crash for want of shared memory; files under /tmp take its place. */
const SHM_MIN_BYTES = 256 * 1024 * 1024

const FIXED = [
  '--headless=new',
  // Without a GPU in the container; WebGL is not promised.
  '--disable-gpu',
  '--no-first-run',
  '--no-default-browser-check',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-default-apps',
  '--disable-sync',
  '--disable-breakpad',
  '--disable-crash-reporter',
  '--disable-client-side-phishing-detection',
  '--disable-domain-reliability',
  '--disable-search-engine-choice-screen',
  '--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider,AutofillServerCommunication,CertificateTransparencyComponentUpdater',
  '--metrics-recording-only',
  '--no-pings',
  '--no-service-autorun',
  '--password-store=basic',
  '--mute-audio',
  '--force-color-profile=srgb',
  // A test's tabs run at full speed, whichever of them is in front.
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
  '--disable-ipc-flooding-protection',
  '--disable-hang-monitor',
  '--disable-popup-blocking',
  '--disable-prompt-on-repost',
  // Otherwise a bar that warns of --no-sandbox takes its height from the first page.
  '--test-type',
  `--window-size=${VIEWPORT.width},${VIEWPORT.height}`,
] as const

export interface FlagChoices {
  /** 0 lets Chromium choose. */
  readonly port: number
  readonly profileDir: string
  readonly sandbox: boolean
  /** Size of /dev/shm. */
  readonly shmBytes: number
}

export function chromiumFlags({ port, profileDir, sandbox, shmBytes }: FlagChoices): string[] {
  return [
    ...FIXED,
    `--remote-debugging-port=${port}`,
    `--user-data-dir=${profileDir}`,
    ...(sandbox ? [] : ['--no-sandbox']),
    ...(shmBytes < SHM_MIN_BYTES ? ['--disable-dev-shm-usage'] : []),
    'about:blank',
  ]
}
