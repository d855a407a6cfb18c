import { useState } from 'react'
import type { BrowserSession } from '../../protocol/admin-api.ts'
import { fieldErrors, messageOf } from '../api/client.ts'
import { signIn } from '../api/session.ts'
import { Button } from '../kit/button.tsx'
import { TextField } from '../kit/field.tsx'
import { Trouble } from '../kit/trouble.tsx'

interface SignInFormProps {
  /** Why whoever was signed in no longer is. */
  readonly reason: string | null
  readonly onSignedIn: (session: BrowserSession) => void
}

/** The key is exchanged for a cookie that no script can read, and is kept nowhere. */
export function SignInForm({ reason, onSignedIn }: SignInFormProps) {
  const [key, setKey] = useState('')
  const [tenant, setTenant] = useState('')
  const [busy, setBusy] = useState<'key' | 'access' | null>(null)
  const [failure, setFailure] = useState<unknown>(null)
  const submit = async (how: 'key' | 'access') => {
    setBusy(how)
    setFailure(null)
    try {
      const who = how === 'key' ? { api_key: key.trim() } : tenant === '' ? {} : { tenant: tenant.trim() }
      onSignedIn(await signIn(who))
      setKey('')
    } catch (error) {
      setFailure(error)
    } finally {
      setBusy(null)
    }
  }
  return (
    <div className="stack">
      {reason !== null && <p>{reason}</p>}
      <form
        className="stack"
        onSubmit={event => {
          event.preventDefault()
          void submit('key')
        }}
      >
        <TextField
          label="API key"
          type="password"
          value={key}
          onChange={setKey}
          required
          autoFocus
          placeholder="cty_key_…"
          hint="It is exchanged for a session of this browser and not kept."
          error={fieldErrors(failure).get('api_key')}
        />
        {failure !== null && <Trouble>{messageOf(failure)}</Trouble>}
        <Button type="submit" look="primary" busy={busy === 'key'}>
          Sign in
        </Button>
      </form>
      <details>
        <summary>Sign in through Cloudflare Access</summary>
        <form
          className="stack"
          onSubmit={event => {
            event.preventDefault()
            void submit('access')
          }}
        >
          <TextField
            label="Tenant"
            value={tenant}
            onChange={setTenant}
            hint="Its short name; only where you are a member of several."
            error={fieldErrors(failure).get('tenant')}
          />
          <Button type="submit" busy={busy === 'access'}>
            Go on with Access
          </Button>
        </form>
      </details>
    </div>
  )
}
