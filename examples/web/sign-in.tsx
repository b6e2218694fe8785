import { useState } from 'preact/hooks'
import { ClientError, type FieldErrors } from '../../client-sdk/index.ts'
import { useClient } from './client-context.ts'
import { TextField } from './text-field.tsx'
import { Wordmark } from './wordmark.tsx'

/** What a newcomer sees first. */
export function SignIn() {
  const { session } = useClient()
  const [isNew, setIsNew] = useState(false)
  const [isBusy, setIsBusy] = useState(false)
  const [errors, setErrors] = useState<FieldErrors>({})
  const [fault, setFault] = useState('')

  async function submit(event: SubmitEvent) {
    event.preventDefault()
    const form = new FormData(event.currentTarget as HTMLFormElement)
    const given = (name: string) => String(form.get(name) ?? '')
    const credentials = { username: given('username').trim(), password: given('password') }
    setIsBusy(true)
    setFault('')
    setErrors({})
    try {
      if (isNew) await session.register({ ...credentials, email: given('email').trim() })
      else await session.signIn(credentials)
    } catch (error) {
      setIsBusy(false)
      if (!(error instanceof ClientError)) throw error
      setErrors(error.errors)
      const isBesideFields = Object.keys(error.errors).some((name) => FIELDS.includes(name))
      if (!isBesideFields) setFault(spoken(error))
    }
  }

  return (
    <main class="welcome">
      <div class="welcome-card">
        <h1>
          <Wordmark />
        </h1>
        <p class="welcome-line">Tasks that work offline and agree on every device.</p>
        <form onSubmit={submit} key={String(isNew)} noValidate>
          <TextField
            label="Username"
            name="username"
            autocomplete="username"
            autocapitalize="none"
            spellcheck={false}
            autofocus
            required
            errors={errors.username}
          />
          {isNew && (
            <TextField
              label="Email"
              name="email"
              type="email"
              autocomplete="email"
              required
              errors={errors.email}
            />
          )}
          <TextField
            label="Password"
            name="password"
            type="password"
            autocomplete={isNew ? 'new-password' : 'current-password'}
            required
            hint={isNew ? 'At least 8 characters; a few words make a good one.' : undefined}
            errors={errors.password}
          />
          {fault && (
            <p role="alert" class="fault">
              {fault}
            </p>
          )}
          <button type="submit" class="primary wide" disabled={isBusy}>
            {isNew ? 'Create account' : 'Sign in'}
          </button>
        </form>
        <button
          type="button"
          class="link"
          onClick={() => {
            setIsNew(!isNew)
            setErrors({})
            setFault('')
          }}
        >
          {isNew ? 'I have an account' : 'Create an account'}
        </button>
      </div>
    </main>
  )
}

const FIELDS = ['username', 'email', 'password']

/** What went wrong, for whoever wanted to sign in. */
export function spoken(error: ClientError): string {
  if (error.code === 'credentials_not_valid') return 'Username or password is not right.'
  if (error.code === 'unreachable') return 'The server cannot be reached. Try again in a moment.'
  return error.message
}
