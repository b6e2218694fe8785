import { expect } from 'vitest'
import type { FactorChallenge, OwnerProof } from '../../client-sdk/index.ts'
import { ClientError } from '../../client-sdk/index.ts'
import { Authenticator } from '../support/authenticator.ts'
import { App } from '../support/factors.ts'
import { test } from '../support/fixtures.ts'
import { device, deviceOf } from './device.ts'

/** The challenge of a request that needs a second factor. */
async function challengeOf(request: Promise<unknown>): Promise<FactorChallenge> {
  const error = await request.then(
    () => undefined,
    (error) => error,
  )
  expect(error).toBeInstanceOf(ClientError)
  expect(error).toMatchObject({ code: 'factor_required', status: 401 })
  return error.factor
}

test('a device sets up factors, and another one signs in with them', async ({ server, ann }) => {
  const { username, password } = ann
  const phone = await deviceOf(server, ann)
  const { account } = phone
  const { ticket, secret, uri } = await account.newTotp({ password })
  expect(uri).toContain(secret)
  const app = new App(server, secret)
  const codes = await account.confirmTotp({ ticket, code: app.code() })
  expect(codes).toHaveLength(10)
  expect(await account.factors()).toMatchObject({ passkeys: 0, recovery_codes: 10 })

  const laptop = await device(server)
  const { session } = laptop
  const challenge = await challengeOf(session.signIn({ username, password }))
  const wrong = session.confirmFactor({ ticket: challenge.ticket, totp: app.wrongCode() })
  await expect(wrong).rejects.toMatchObject({ code: 'factor_not_valid' })
  server.clock.advance(30_000)
  const totp = app.code()
  const proof = { ticket: challenge.ticket, totp }
  expect(await session.confirmFactor(proof, `${username}@example.com`)).toEqual({
    id: ann.id,
    username,
  })

  // A change of the account asks again.
  const proved = async (ask: (owner: OwnerProof) => Promise<unknown>, recovery_code: string) => {
    const { ticket } = await challengeOf(ask({ password }))
    return ask({ password, factor: { ticket, recovery_code } })
  }
  const passkey = new Authenticator()
  const begun = await proved((owner) => account.newPasskey(owner), codes[0]!)
  const options = begun as Awaited<ReturnType<typeof account.newPasskey>>
  const origin = server.url
  const made = passkey.create(options.public_key as never, { origin })
  await account.confirmPasskey({ ticket: options.ticket, name: 'Phone', passkey: made })
  const [kept] = await account.passkeys()
  await account.renamePasskey(kept!.id, 'Spare')
  expect(await account.passkeys()).toMatchObject([{ name: 'Spare' }])

  await laptop.session.signOut()
  const first = await session.passkeyChallenge()
  const answer = passkey.get(first.public_key as never, { origin })
  const user = await session.confirmFactor({ ticket: first.ticket, passkey: answer })
  expect(user).toEqual({ id: ann.id, username })

  expect(await proved((owner) => account.newRecoveryCodes(owner), codes[1]!)).toHaveLength(10)
  await challengeOf(account.removePasskey(kept!.id, { password }))
  await challengeOf(account.removeTotp({ password }))
  await challengeOf(account.delete(password))
})
