'use client'

import { ClientError } from '@tasktide/client'
import { useClient } from '@tasktide/client/react'
import { useActionState } from 'react'

export function SignIn() {
  const { session } = useClient()
  const [fault, submit, isBusy] = useActionState(async (_: string, form: FormData) => {
    const text = (name: string) => String(form.get(name))
    const account = { username: text('username'), password: text('password') }
    try {
      if (text('email')) await session.register({ ...account, email: text('email') })
      else await session.signIn(account)
      return ''
    } catch (error) {
      return messageOf(error)
    }
  }, '')
  return (
    <form action={submit}>
      <label>
        Username <input name="username" autoComplete="username" required />
      </label>
      <label>
        Password <input name="password" type="password" autoComplete="current-password" required />
      </label>
      <label>
        Email, for a new account <input name="email" type="email" autoComplete="email" />
      </label>
      <button type="submit" disabled={isBusy}>
        Sign in
      </button>
      <p role="alert">{fault}</p>
    </form>
  )
}

/** The first fault of a field, or what is wrong as a whole. */
function messageOf(error: unknown): string {
  if (!(error instanceof ClientError)) throw error
  return Object.values(error.errors).flat()[0] ?? error.message
}
