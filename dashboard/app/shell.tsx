import { useQueryClient } from '@tanstack/react-query'
import { Suspense, useEffect, useRef, useState } from 'react'
import { Link, Switch, useLocation } from 'wouter'
import type { BrowserSession } from '../../protocol/admin-api.ts'
import { changeSession, mayAct, signOut } from '../api/session.ts'
import { Button } from '../kit/button.tsx'
import { Loading } from '../kit/list.tsx'
import { useAction } from '../kit/use-action.ts'
import { ConnectionLine } from './connection-line.tsx'
import { NAVIGATION } from './navigation.ts'
import { PartBoundary } from './part-boundary.tsx'
import { useFocusOnArrival } from './place.ts'
import { routes } from './routes.tsx'
import { chooseTheme, chosenTheme, THEMES, type Theme } from './theme.ts'

/** What is around every page: where one can go, as whom, and whether what is shown is fresh. */
export function Shell({ session }: { readonly session: BrowserSession }) {
  const [location] = useLocation()
  useFocusOnArrival()
  const queries = useQueryClient()
  const leave = useAction(signOut, () => 'Signed out', [])
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="bar">
        <strong>Self-hosted runners</strong>
        <span className="tenant">{session.tenant.name}</span>
        <ThemeChoice />
        <span className="who" title={`Role: ${session.key.role}`}>
          {session.key.name}
        </span>
        <Button
          look="quiet"
          busy={leave.isPending}
          onClick={() => leave.mutate(undefined, { onSuccess: () => changeSession(queries, null) })}
        >
          Sign out
        </Button>
      </header>
      <Places session={session} location={location} />
      <main id="main" tabIndex={-1}>
        <ConnectionLine />
        {/* Another page may well be there. */}
        <PartBoundary key={location}>
          <Suspense fallback={<Loading />}>
            <Switch>{routes}</Switch>
          </Suspense>
        </PartBoundary>
      </main>
    </div>
  )
}

interface PlacesProps {
  readonly session: BrowserSession
  readonly location: string
}

function Places({ session, location }: PlacesProps) {
  const nav = useRef<HTMLElement>(null)
  // On a phone they do not all fit: the one that is shown is brought into sight.
  // biome-ignore lint/correctness/useExhaustiveDependencies: another location has another current place
  useEffect(() => {
    const current = nav.current?.querySelector<HTMLElement>('[aria-current]')
    const spare = (nav.current?.clientWidth ?? 0) - (current?.offsetWidth ?? 0)
    nav.current?.scrollTo({ left: (current?.offsetLeft ?? 0) - spare / 2 })
  }, [location])
  return (
    <nav ref={nav} className="places" aria-label="Places">
      {NAVIGATION.filter(({ role }) => mayAct(session, role)).map(({ href, label, isUnder }) => (
        <Link
          key={href}
          href={href}
          className={isUnder === true ? 'under' : ''}
          aria-current={isAt(location, href) ? 'page' : undefined}
        >
          {label}
        </Link>
      ))}
    </nav>
  )
}

/** The longest place that the address begins with is the one it is at. */
function isAt(location: string, href: string): boolean {
  const begins = (place: string) => location === place || (place !== '/' && location.startsWith(`${place}/`))
  const best = NAVIGATION.map(place => place.href)
    .filter(begins)
    .toSorted((a, b) => b.length - a.length)[0]
  return best === href
}

const THEME_LABELS: Readonly<Record<Theme, string>> = { system: 'Auto', light: 'Light', dark: 'Dark' }

function ThemeChoice() {
  const [theme, setTheme] = useState(chosenTheme)
  const choose = (next: Theme) => {
    chooseTheme(next)
    setTheme(next)
  }
  return (
    <select
      aria-label="Theme"
      className="theme"
      value={theme}
      onChange={event => choose(THEMES.find(one => one === event.target.value) ?? 'system')}
    >
      {THEMES.map(one => (
        <option key={one} value={one}>
          {THEME_LABELS[one]}
        </option>
      ))}
    </select>
  )
}
