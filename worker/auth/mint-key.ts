import type { z } from 'zod'
import type { CreateApiKey, CreatedApiKey } from '../../protocol/admin-api.ts'
import { hashSecret, mintSecret, secretHint } from '../../protocol/secrets.ts'
import { timestampOrNull } from '../../protocol/text.ts'
import type { NewApiKey } from '../directory/api-keys.ts'
import { mintId } from '../ids.ts'

/** The secret exists here and in the one answer that shows it; the key itself holds only its hash. */
export async function mintKey(
  wanted: z.output<typeof CreateApiKey>,
  now: number,
): Promise<{ key: NewApiKey; secret: string }> {
  const secret = mintSecret('apiKey')
  const key = {
    id: mintId('apiKey'),
    name: wanted.name,
    role: wanted.role,
    hash: await hashSecret(secret),
    hint: secretHint('apiKey', secret),
    expiresAt: wanted.expires_in_seconds === undefined ? null : now + wanted.expires_in_seconds * 1000,
  }
  return { key, secret }
}

export function createdKey(key: NewApiKey, secret: string): z.output<typeof CreatedApiKey> {
  return {
    id: key.id,
    name: key.name,
    role: key.role,
    secret,
    expires_at: timestampOrNull(key.expiresAt),
  }
}
