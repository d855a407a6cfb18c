import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { type Member, ROLES, type Role } from '../../../protocol/admin-api.ts'
import { deleteMember, membersQuery, putMember } from '../../api/administration.ts'
import { Button } from '../../kit/button.tsx'
import { Confirm } from '../../kit/confirm.tsx'
import { Dialog } from '../../kit/dialog.tsx'
import { SelectField, TextField } from '../../kit/field.tsx'
import { Form } from '../../kit/form.tsx'
import { List } from '../../kit/list.tsx'
import { Page } from '../../kit/page.tsx'
import { Table } from '../../kit/table.tsx'
import { Ago } from '../../kit/time.tsx'
import { useAction } from '../../kit/use-action.ts'

/** Who may sign in through Cloudflare Access, and as what. */
export default function MembersPage() {
  const members = useInfiniteQuery(membersQuery)
  const [edited, setEdited] = useState<{ readonly email: string; readonly role: Role } | null>(null)
  return (
    <Page
      title="Members"
      actions={
        <Button look="primary" onClick={() => setEdited({ email: '', role: 'member' })}>
          Add member
        </Button>
      }
    >
      <p className="soft">Members sign in through Cloudflare Access with their e-mail address.</p>
      <List
        query={members}
        empty={<p>Nobody signs in through Cloudflare Access yet; keys are enough to start with.</p>}
      >
        {items => (
          <Table label="Members" head={['E-mail', 'Role', 'Since', '']}>
            {items.map(member => (
              <MemberRow key={member.id} member={member} onEdit={() => setEdited(member)} />
            ))}
          </Table>
        )}
      </List>
      {edited !== null && <MemberDialog member={edited} onClose={() => setEdited(null)} />}
    </Page>
  )
}

interface MemberRowProps {
  readonly member: Member
  readonly onEdit: () => void
}

function MemberRow({ member: { email, role, created_at }, onEdit }: MemberRowProps) {
  const [isRemoving, setRemoving] = useState(false)
  const remove = useAction(
    () => deleteMember(email),
    () => `Removed ${email}`,
    [['members']],
    'form',
  )
  return (
    <tr>
      <th scope="row">{email}</th>
      <td>{role}</td>
      <td>
        <Ago at={created_at} />
      </td>
      <td>
        <div className="actions">
          <Button onClick={onEdit} aria-label={`Change the role of ${email}`}>
            Change role
          </Button>
          <Button look="danger" onClick={() => setRemoving(true)} aria-label={`Remove ${email}`}>
            Remove
          </Button>
        </div>
        {isRemoving && (
          <Confirm
            title="Remove the member"
            name={email}
            action="Remove member"
            onConfirm={() => remove.mutateAsync()}
            onClose={() => setRemoving(false)}
          >
            They are signed out at once and cannot sign in again.
          </Confirm>
        )}
      </td>
    </tr>
  )
}

interface MemberDialogProps {
  readonly member: { readonly email: string; readonly role: Role }
  readonly onClose: () => void
}

function MemberDialog({ member, onClose }: MemberDialogProps) {
  const [email, setEmail] = useState(member.email)
  const [role, setRole] = useState<Role>(member.role)
  const isNew = member.email === ''
  const save = useAction(
    () => putMember({ email, role }),
    saved => `${saved.email} is ${saved.role}`,
    [['members']],
    'form',
  )
  return (
    <Dialog title={isNew ? 'Add a member' : `The role of ${member.email}`} onClose={onClose}>
      <Form
        action="Save"
        mutation={save}
        onSubmit={() => save.mutate(undefined, { onSuccess: onClose })}
        onCancel={onClose}
      >
        {errors => (
          <>
            {isNew && (
              <TextField
                label="E-mail"
                type="email"
                value={email}
                onChange={setEmail}
                required
                autoFocus
                error={errors.get('email')}
              />
            )}
            <SelectField
              label="Role"
              value={role}
              onChange={setRole}
              options={ROLES.map(value => ({ value, label: value }))}
            />
          </>
        )}
      </Form>
    </Dialog>
  )
}
