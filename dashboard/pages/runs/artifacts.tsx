import { useQuery } from '@tanstack/react-query'
import type { Artifact } from '../../../protocol/session-files.ts'
import { messageOf } from '../../api/client.ts'
import { artifactsQuery, artifactUrl } from '../../api/runs.ts'
import { Loading } from '../../kit/list.tsx'
import { sizeWords } from '../../kit/size.ts'
import { Table } from '../../kit/table.tsx'
import { Trouble } from '../../kit/trouble.tsx'

interface ArtifactsProps {
  readonly runId: string
  readonly isOver: boolean
}

/** What the API serves inline; anything else is only ever downloaded. */
const PREVIEWED: ReadonlySet<string> = new Set(['image/png', 'image/jpeg', 'image/webp', 'image/gif'])

export function Artifacts({ runId, isOver }: ArtifactsProps) {
  const { data, error } = useQuery(artifactsQuery(runId, isOver))
  const items = data?.items ?? []
  const pictures = items.filter(({ content_type }) => PREVIEWED.has(content_type))
  return (
    <section className="stack" aria-labelledby="artifacts">
      <h2 id="artifacts">Artifacts</h2>
      {items.length === 0 ? (
        <NoArtifacts isOver={isOver} isKnown={data !== undefined} error={error} />
      ) : (
        <>
          <ul className="pictures">
            {pictures.map(({ name }) => (
              <li key={name}>
                <a href={artifactUrl(runId, name)}>
                  <img src={artifactUrl(runId, name)} alt={name} loading="lazy" />
                </a>
              </li>
            ))}
          </ul>
          <Table label="Artifacts" head={['Name', 'Size', 'Type', 'SHA-256']}>
            {items.map(artifact => (
              <ArtifactRow key={artifact.name} runId={runId} artifact={artifact} />
            ))}
          </Table>
        </>
      )}
    </section>
  )
}

interface NoArtifactsProps {
  readonly isOver: boolean
  readonly isKnown: boolean
  readonly error: Error | null
}

function NoArtifacts({ isOver, isKnown, error }: NoArtifactsProps) {
  if (!isOver)
    return <p className="soft">What the run leaves in CERTYN_ARTIFACTS_DIR is here after its end.</p>
  if (isKnown) return <p className="soft">The run left none in CERTYN_ARTIFACTS_DIR.</p>
  return error === null ? <Loading /> : <Trouble>{messageOf(error)}</Trouble>
}

function ArtifactRow({ runId, artifact }: { readonly runId: string; readonly artifact: Artifact }) {
  const { name, size, content_type, sha256 } = artifact
  return (
    <tr>
      <th scope="row">
        <a href={artifactUrl(runId, name)}>{name}</a>
      </th>
      <td>{sizeWords(size)}</td>
      <td>{content_type}</td>
      <td>
        <code title={sha256}>{sha256.slice(0, 12)}…</code>
      </td>
    </tr>
  )
}
