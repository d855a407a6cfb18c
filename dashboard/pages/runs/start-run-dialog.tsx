import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { useLocation } from 'wouter'
import type { Run } from '../../../protocol/run.ts'
import { targetNames } from '../../api/environments.ts'
import { createRun } from '../../api/runs.ts'
import { ChoiceField } from '../../kit/choice-field.tsx'
import { Dialog } from '../../kit/dialog.tsx'
import { TextField } from '../../kit/field.tsx'
import { Form } from '../../kit/form.tsx'
import { useAction } from '../../kit/use-action.ts'
import { bodyOf, draftOf, type RunDraft } from './run-draft.ts'

interface StartRunDialogProps {
  /** A run to do once more. */
  readonly from: Run | null
  readonly onClose: () => void
}

export function StartRunDialog({ from, onClose }: StartRunDialogProps) {
  const [draft, setDraft] = useState(() => draftOf(from))
  const set = (part: Partial<RunDraft>) => setDraft(before => ({ ...before, ...part }))
  const [, go] = useLocation()
  const newest = useQuery(targetNames.matching('')).data?.items[0]
  const environmentId = draft.environmentId === '' ? (newest?.id ?? '') : draft.environmentId
  const start = useAction(
    () => createRun(environmentId, bodyOf(draft)),
    () => 'The run is queued',
    [['runs'], ['pools']],
    'form',
  )
  return (
    <Dialog title={from === null ? 'Start a run' : 'Run it again'} onClose={onClose}>
      <Form
        action="Start"
        isReady={environmentId !== ''}
        mutation={start}
        onSubmit={() =>
          start.mutate(undefined, {
            onSuccess: run => {
              onClose()
              go(`/runs/${run.id}`)
            },
          })
        }
        onCancel={onClose}
      >
        {errors => (
          <>
            <ChoiceField
              label="Environment"
              source={targetNames}
              value={environmentId}
              onChange={value => set({ environmentId: value })}
              nothing="No environment is routed to a pool yet: create one first, under Environments."
            />
            <TextField
              label="Image"
              value={draft.image}
              onChange={image => set({ image })}
              placeholder="the environment’s default"
              error={errors.get('image')}
            />
            <TextField
              label="Command"
              rows={3}
              value={draft.command}
              onChange={command => set({ command })}
              placeholder={'npx\nplaywright\ntest'}
              hint="One argument a line, one with line breaks as a JSON string; empty for the image’s own."
              error={firstBelow(errors, 'command')}
            />
            <TextField
              label="Environment variables"
              rows={2}
              value={draft.env}
              onChange={env => set({ env })}
              placeholder="NAME=value"
              hint="One a line. They are never shown again."
              error={firstBelow(errors, 'env')}
            />
            <TextField
              label="Labels the runner must have"
              rows={2}
              value={draft.labels}
              onChange={labels => set({ labels })}
              placeholder="zone=east"
              error={firstBelow(errors, 'labels')}
            />
            <div className="side-by-side">
              <TextField
                label="Priority"
                type="number"
                value={draft.priority}
                onChange={priority => set({ priority })}
                error={errors.get('priority')}
              />
              <TextField
                label="Timeout in seconds"
                type="number"
                value={draft.timeoutSeconds}
                onChange={timeoutSeconds => set({ timeoutSeconds })}
                error={errors.get('timeout_seconds')}
              />
              <TextField
                label="Memory in MB"
                type="number"
                value={draft.memoryMb}
                onChange={memoryMb => set({ memoryMb })}
                placeholder="2048"
                error={errors.get('resources.memory_mb')}
              />
              <TextField
                label="CPUs"
                type="number"
                value={draft.cpus}
                onChange={cpus => set({ cpus })}
                placeholder="1"
                error={errors.get('resources.cpus')}
              />
            </div>
          </>
        )}
      </Form>
    </Dialog>
  )
}

/** The first complaint about a field, or about anything inside it. */
function firstBelow(errors: ReadonlyMap<string, string>, path: string): string | undefined {
  const found = [...errors].find(([at]) => at === path || at.startsWith(`${path}.`))
  return found === undefined
    ? undefined
    : found[0] === path
      ? found[1]
      : `${found[0].slice(path.length + 1)}: ${found[1]}`
}
