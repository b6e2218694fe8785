import { generateSync } from 'otplib'
import type { Locator } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
import { type Person, startServer, type TestServer } from '../support/server.ts'
import { type Device, openDevice, photograph, signedIn, story } from './stage.ts'
import type { Tab } from './tab.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
  // Passkeys belong to a host name, and an address is none.
  server = { ...server, url: server.url.replace('127.0.0.1', 'localhost') }
})
afterAll(() => server.stop())

const factors = ({ page }: Tab): Locator => page.getByRole('region', { name: 'Second factor' })
const prompt = ({ page }: Tab): Locator => page.getByRole('dialog', { name: 'Second factor' })

async function openFactors(tab: Tab): Promise<Locator> {
  await tab.openAccount()
  await factors(tab).getByText('Off.').waitFor()
  return factors(tab)
}

/** Signs in as far as the password does. */
async function enterPassword(tab: Tab, { username, password }: Person): Promise<void> {
  await tab.page.getByRole('textbox', { name: 'Username' }).fill(username)
  await tab.page.getByRole('textbox', { name: 'Password' }).fill(password)
  await tab.button('Sign in').click()
}

story(
  'an authenticator app is set up, asked for at sign-in, and replaced by a recovery code',
  async () => {
    const ann = await server.person()
    const { tab } = await signedIn(server, ann)
    const section = await openFactors(tab)
    await section.getByText('Change second factors').click()
    await section.getByLabel('Password').fill(ann.password)
    await section.getByRole('button', { name: 'Set up an authenticator app' }).click()
    const secret = await section.locator('pre').innerText()
    await photograph(tab, 'authenticator-app')
    await section.getByLabel('Code').fill(generateSync({ secret }))
    await section.getByRole('button', { name: 'Turn on' }).click()
    await section.getByText('On: authenticator app').waitFor()
    const [code] = (await section.getByRole('alert').locator('pre').innerText()).split('\n')
    await photograph(tab, 'recovery-codes')

    const other = await (await openDevice(server)).openTab()
    await enterPassword(other, ann)
    await prompt(other).getByLabel('Code').fill('000 000')
    await photograph(other, 'second-factor')
    await prompt(other).getByRole('button', { name: 'Confirm' }).click()
    await prompt(other).locator('.fault').waitFor()
    await prompt(other).getByLabel('Code').fill(code!)
    await prompt(other).getByRole('button', { name: 'Confirm' }).click()
    await other.hasStatus('Synced')
  },
)

story('a passkey is added, asked for beside the password, and signs in alone', async () => {
  const ann = await server.person()
  const { device, tab } = await signedIn(server, ann)
  const authenticator = await withAuthenticator(device, tab)
  const section = await openFactors(tab)
  await section.getByText('Change second factors').click()
  await section.getByLabel('Password').fill(ann.password)
  await section.getByLabel('Name of a new passkey').fill('This laptop')
  await section.getByRole('button', { name: 'Add a passkey' }).click()
  await section.getByText('On: This laptop').waitFor()

  const phone = await openDevice(server)
  const other = await phone.openTab()
  await authenticator.moveTo(phone, other)
  await enterPassword(other, ann)
  await prompt(other).getByRole('button', { name: 'Use a passkey' }).click()
  await other.hasStatus('Synced')

  const tablet = await openDevice(server)
  const alone = await tablet.openTab()
  await authenticator.moveTo(tablet, alone)
  await alone.button('Use a passkey instead').click()
  await alone.hasStatus('Synced')
})

/** Chromium's virtual authenticator, whose passkeys can be taken to another device. */
async function withAuthenticator(device: Device, tab: Tab) {
  let at = await plugIn(device, tab)
  return {
    async moveTo(device: Device, tab: Tab) {
      const { credentials } = await at.session.send('WebAuthn.getCredentials', {
        authenticatorId: at.authenticatorId,
      })
      expect(credentials).toHaveLength(1)
      const next = await plugIn(device, tab)
      const { authenticatorId } = next
      for (const credential of credentials)
        await next.session.send('WebAuthn.addCredential', { authenticatorId, credential })
      at = next
    },
  }
}

async function plugIn({ context }: Device, { page }: Tab) {
  const session = await context.newCDPSession(page)
  await session.send('WebAuthn.enable')
  const { authenticatorId } = await session.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  })
  return { session, authenticatorId }
}
