import { readFile } from 'node:fs/promises'
import type { Locator } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
import { createUnsubscribeTokens } from '../../server/reminders/unsubscribing.ts'
import { type Mailbox, mailingTo, openMailbox } from '../support/mailbox.ts'
import { callerTo, type Person, SECRET, startServer, type TestServer } from '../support/server.ts'
import {
  areSaved,
  DESKTOP,
  EVERYTHING_KEPT,
  openDevice,
  PHONE,
  photograph,
  signedIn,
  story,
} from './stage.ts'
import { eventually, type Tab } from './tab.ts'

const HOUR_MS = 60 * 60 * 1000
const NEXT_PASSWORD = 'an early train to Porto'

let mailbox: Mailbox
let server: TestServer
beforeAll(async () => {
  mailbox = await openMailbox()
  server = await startServer(mailingTo(mailbox))
})
afterAll(async () => {
  await server.stop()
  await mailbox.close()
})

/** What the next mail to this address links to. */
async function linkTo(address: string, purpose: string): Promise<string> {
  const { mail } = await mailbox.next(address)
  const link = new RegExp(`#${purpose}=[\\w-]{43}`).exec(mail.text ?? '')?.[0]
  expect(link, mail.text).toBeDefined()
  return link!
}

const addressOf = ({ username }: Pick<Person, 'username'>) => `${username}@example.com`

const section = ({ page }: Tab, name: string): Locator => page.getByRole('region', { name })

/** Beside the tasks: on the account page the section is called the same. */
const banner = (tab: Tab) => section(tab, 'Email address')

const addressBar = ({ page }: Tab) => page.evaluate<string>('location.href')

story(
  'a newcomer is told to confirm the address until the link of the mail is followed',
  async () => {
    const device = await openDevice(server, { viewport: PHONE })
    const tab = await device.openTab()
    await tab.page.getByText('Create an account').click()
    const field = (name: string) => tab.page.getByRole('textbox', { name })
    await field('Username').fill('newcomer')
    await field('Email').fill('newcomer@example.com')
    await field('Password').fill('a ferry to Lisbon')
    await tab.button('Create account').click()
    const deadline = /^Confirm .* until .*, otherwise this account is deleted/
    await banner(tab).getByText(deadline).waitFor()
    await tab.hasStatus('Synced')
    await photograph(tab, 'unconfirmed')
    await banner(tab).getByRole('button', { name: 'Change the address' }).click()
    await section(tab, 'Email address').getByText(deadline).waitFor()
    await tab.page.goBack()
    await linkTo('newcomer@example.com', 'confirm_email')
    await tab.button('Resend the mail').click()
    const link = await linkTo('newcomer@example.com', 'confirm_email')

    const other = await device.openTab(link)
    await photograph(other, 'confirm')
    await other.button('Confirm the address').click()
    await other.page.getByRole('heading', { name: 'Your address is confirmed' }).waitFor()
    expect(await addressBar(other)).toBe(`${server.url}/`)
    await photograph(other, 'confirmed')
    await other.button('Go to my tasks').click()
    await other.newTask.waitFor()
    expect(await banner(other).count()).toBe(0)
    // The tab that was open hears of it.
    await banner(tab).waitFor({ state: 'detached' })

    const stranger = await (await openDevice(server)).openTab(link)
    await eventually(() => stranger.page.getByRole('alert').innerText()).toMatch(/has been used/)
    await photograph(stranger, 'link-used')
    await stranger.button('Go to sign-in').click()
    await stranger.button('Sign in').waitFor()
  },
)

story('whoever gets the confirmation mail of a stranger says so', async () => {
  const ann = await server.person()
  const link = await linkTo(addressOf(ann), 'confirm_email')
  const other = await (await openDevice(server)).openTab(link)
  await other.page.getByText(`do you use the account ${ann.username}?`).waitFor()
  await other.button('Not my account').click()
  await other.page.getByText('does not have your address any more').waitFor()
  const { tab } = await signedIn(server, ann)
  await banner(tab).getByText('Your account has no address').waitFor()
})

story('the link at the end of a digest asks, and then stops digests', async () => {
  const ann = await server.person()
  await ann.call('PATCH', '/api/profile/', { digest_at: '07:30' })
  const token = createUnsubscribeTokens([SECRET]).tokenFor(ann.id, 'digest')
  const tab = await (await openDevice(server)).openTab(`#unsubscribe=${token}`)
  await tab.page.getByText('stop the mail with the daily digest?').waitFor()
  expect((await ann.call('GET', '/api/profile/')).body.digest_at).toBe('07:30')
  await tab.button('Stop the mail').click()
  await tab.page.getByText('no more mail with the daily digest').waitFor()
  expect((await ann.call('GET', '/api/profile/')).body.digest_at).toBeNull()
})

story('a link that is opened in a tab that is there already is taken, too', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann)
  const link = await linkTo(addressOf(ann), 'confirm_email')
  await tab.page.evaluate(`location.hash = '${link}'`)
  await tab.button('Confirm the address').click()
  await tab.page.getByRole('heading', { name: 'Your address is confirmed' }).waitFor()
  expect(await addressBar(tab)).toBe(`${server.url}/`)
})

story('reminders are set for a task and for all of them, also without a network', async () => {
  const ann = await server.person()
  const { device, tab } = await signedIn(server, ann)
  await tab.add('Book the ferry')
  const dialog = await tab.openEditor('Book the ferry')
  await dialog.getByRole('button', { name: 'Tomorrow morning' }).click()
  await photograph(tab, 'reminder')
  await dialog.getByRole('button', { name: 'Save' }).click()
  const bell = tab.task('Book the ferry').getByText('Reminder: Tomorrow, 09:00')
  await bell.waitFor({ state: 'attached' })
  const morning = await tab.page.evaluate<string>(TOMORROW_AT_NINE)
  await eventually(() => reminders(ann)).toEqual([morning])

  // What is not touched stays as it is, to the second.
  const [task] = (await ann.call('GET', '/api/tasks/')).body.results
  const precise = new Date(Date.parse(morning) + HOUR_MS + 30_123).toISOString()
  await ann.call('PATCH', `/api/tasks/${task.id}/`, { remind_at: precise })
  const moved = tab.task('Book the ferry').getByText('Reminder: Tomorrow, 10:00')
  await moved.waitFor({ state: 'attached' })
  await tab.edit('Book the ferry', { Title: 'Book the night ferry' })
  await areSaved(server, ann, 'Book the night ferry')
  expect(await reminders(ann)).toEqual([precise])

  await device.goOffline()
  await tab.openAccount()
  const mails = section(tab, 'Reminders')
  await mails.getByLabel('Tasks with a due time').selectOption('30 minutes before')
  await mails.getByLabel('Daily summary of due and overdue tasks', { exact: true }).check()
  await mails.getByLabel('Daily summary of due and overdue tasks, at').fill('06:45')
  await section(tab, 'Profile').getByLabel('Display name').fill('Ann Lee')
  await section(tab, 'Profile').getByLabel('Display name').press('Enter')
  await section(tab, 'Profile').getByLabel('Language of mails').selectOption('Deutsch')
  await tab.hasStatus('Offline · 1 pending')
  await eventually(() => tab.page.evaluate(EVERYTHING_KEPT)).toMatch(/"locale":"de"/)
  await tab.page.reload()
  await eventually(() => mails.getByLabel(/, at$/).inputValue()).toBe('06:45')
  await device.comeBack()
  await eventually(async () => (await ann.call('GET', '/api/profile/')).body).toMatchObject({
    display_name: 'Ann Lee',
    locale: 'de',
    remind_minutes_before: 30,
    remind_all_day_at: null,
    digest_at: '06:45',
  })

  await tab.openView('All')
  const again = await tab.openEditor('Book the night ferry')
  await again.getByRole('button', { name: 'No reminder' }).click()
  await again.getByRole('button', { name: 'Save' }).click()
  await eventually(() => reminders(ann)).toEqual([null])
})

story('the timezone of the device is offered where the profile has another one', async () => {
  const ann = await server.person()
  await ann.call('PATCH', '/api/profile/', { timezone: 'Asia/Tokyo' })
  const { tab } = await signedIn(server, ann)
  await tab.openAccount()
  const here = await tab.page.evaluate<string>('Intl.DateTimeFormat().resolvedOptions().timeZone')
  await section(tab, 'Profile')
    .getByRole('button', { name: `Use ${here}` })
    .click()
  await eventually(async () => (await ann.call('GET', '/api/profile/')).body.timezone).toBe(here)
})

story('the address is changed by whoever reads the mail to the new one', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann)
  await tab.openAccount()
  const address = section(tab, 'Email address')
  await address.getByText('Change the address').first().click()
  const [email, password] = [address.getByLabel('New address'), address.getByLabel('Password')]
  await email.fill(`new-${addressOf(ann)}`)
  await password.fill('not mine')
  await address.getByRole('button', { name: 'Change the address' }).click()
  await address.locator('.fault').waitFor()
  expect(await email.inputValue()).toBe(`new-${addressOf(ann)}`)
  await password.fill(ann.password)
  await address.getByRole('button', { name: 'Change the address' }).click()
  await address.getByText('The address changes to').waitFor()
  await photograph(tab, 'address-pending')
  const link = await linkTo(`new-${addressOf(ann)}`, 'confirm_email')
  const other = await (await openDevice(server)).openTab(link)
  await other.page.getByText('replaces the one').waitFor()
  await other.button('Confirm the address').click()
  await eventually(async () => {
    await tab.page.reload()
    await address.locator('.tag').waitFor()
    return address.innerText()
  }).toMatch(/new-.*Confirmed/s)
})

story(
  'a forgotten password is set anew by the link of the mail, and other tabs are signed out',
  async () => {
    const ann = await server.person()
    const { tab } = await signedIn(server, ann)
    await linkTo(addressOf(ann), 'confirm_email')
    const phone = await openDevice(server, { viewport: PHONE })
    const one = await phone.openTab()
    await one.button('Forgot your password?').click()
    const answers: string[] = []
    for (const address of [`nobody-${addressOf(ann)}`, addressOf(ann)]) {
      await one.page.getByRole('textbox', { name: 'Email' }).fill(address)
      await one.button('Send the link').click()
      const answer = await one.page.getByRole('status').innerText()
      answers.push(answer.replace(address, 'ADDRESS'))
      await one.button('Back to sign-in').click()
      await one.button('Forgot your password?').click()
    }
    expect(answers[0]).toBe(answers[1])
    const link = await linkTo(addressOf(ann), 'reset_password')

    const two = await phone.openTab(link)
    expect(await addressBar(two)).toBe(`${server.url}/`)
    const password = two.page.getByRole('textbox', { name: 'New password' })
    await password.fill('short')
    await two.button('Change the password').click()
    await two.page.locator('.fault').waitFor()
    await photograph(two, 'reset-password')
    await password.fill(NEXT_PASSWORD)
    await two.button('Change the password').click()
    await two.page.getByRole('heading', { name: 'Your password was changed' }).waitFor()
    await tab.hasStatus('Sign in again')
    await two.button('Go to sign-in').click()
    await two.signIn({ ...ann, password: NEXT_PASSWORD })
    await two.hasStatus('Synced')

    const again = await phone.openTab(link)
    await again.page.getByRole('textbox', { name: 'New password' }).fill(NEXT_PASSWORD)
    await again.button('Change the password').click()
    await eventually(() => again.page.getByRole('alert').innerText()).toMatch(/has been used/)
  },
)

story(
  'a changed password signs out other devices, and what was written there is sent later',
  async () => {
    const ann = await server.person()
    const { tab: laptop } = await signedIn(server, ann)
    const { tab: phone } = await signedIn(server, ann, { viewport: PHONE })
    await phone.workOffline.click()
    await phone.add('Written offline')
    await laptop.openAccount()
    const form = section(laptop, 'Password')
    await form.getByText('Change the password').first().click()
    await form.getByLabel('Current password').fill(ann.password)
    await form.getByLabel('New password').fill(NEXT_PASSWORD)
    await form.getByRole('button', { name: 'Change the password' }).click()
    await form.getByRole('status').waitFor()
    await phone.workOffline.click()
    await phone.hasStatus('Sign in again')
    await phone.shows('Written offline')
    await phone.page.getByLabel('Password').fill(NEXT_PASSWORD)
    await phone.page.getByLabel('Password').press('Enter')
    await phone.hasStatus('Synced')
    await laptop.openView('All')
    await laptop.shows('Written offline')
  },
)

story('a device that is signed out from another one is cut, and keeps what it has', async () => {
  const ann = await server.person()
  const { tab: phone } = await signedIn(server, ann, { viewport: PHONE })
  await phone.add('Book the ferry')
  await areSaved(server, ann, 'Book the ferry')
  const { password } = ann
  const wanted = { name: 'Nightly report', scopes: ['tasks:read'], password }
  const token = await ann.call('POST', '/api/account/tokens/', wanted)
  const { tab: laptop } = await signedIn(server, ann)
  await laptop.openAccount()
  const devices = section(laptop, 'Devices')
  await devices.getByText('This device').waitFor()
  await devices
    .getByRole('listitem', { name: 'Nightly report' })
    .getByText(/tasks:read/)
    .waitFor()
  await photograph(laptop, 'devices', { fullPage: true })
  await devices.getByRole('button', { name: 'Revoke Nightly report' }).click()
  await devices.getByText('Nightly report').waitFor({ state: 'detached' })
  const report = callerTo(server.url, { authorization: `Bearer ${token.body.token}` })
  expect((await report('GET', '/api/tasks/')).status).toBe(401)
  await devices.getByRole('button', { name: 'Sign out all other devices' }).click()
  await phone.hasStatus('Sign in again')
  await phone.shows('Book the ferry')
  await eventually(() => devices.getByRole('listitem').count()).toBe(1)

  await phone.page.getByLabel('Password').fill(ann.password)
  await phone.page.getByLabel('Password').press('Enter')
  await phone.hasStatus('Synced')
  await laptop.page.reload()
  await devices.getByRole('button', { name: /Sign out .*last seen/ }).click()
  await phone.hasStatus('Sign in again')
})

story('everything can be downloaded, with what was just written', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann, { viewport: DESKTOP })
  let isPushed = false
  let push = () => {}
  const mayPush = new Promise<void>((may) => {
    push = may
  })
  await tab.page.route('**/replication/tasks/*/push?*', async (route) => {
    await mayPush
    const response = await route.fetch()
    isPushed = true
    await route.fulfill({ response })
  })
  const askedUnsent: string[] = []
  tab.page.on('request', (request) => {
    if (request.url().includes('/export/') && !isPushed) askedUnsent.push(request.url())
  })
  await tab.add('Book the ferry')
  await tab.openAccount()
  const contents = {
    'Everything (JSON)': /^\{"account".*Book the ferry/s,
    'Tasks (CSV)': /Book the ferry/,
    'Tasks (iCalendar)': /SUMMARY:Book the ferry/,
  }
  for (const [name, content] of Object.entries(contents)) {
    const downloading = tab.page.waitForEvent('download')
    await tab.button(name).click()
    push()
    const download = await downloading
    expect(download.suggestedFilename()).toMatch(/^tas.*\.(json|csv|ics)$/)
    expect(await readFile(await download.path(), 'utf8')).toMatch(content)
  }
  expect(askedUnsent).toEqual([])
})

story(
  'a deleted account is gone from all tabs and devices, also from one that was offline',
  async () => {
    const ann = await server.person()
    const { device, tab } = await signedIn(server, ann)
    const beside = await device.openTab()
    await beside.newTask.waitFor()
    const { device: second, tab: phone } = await signedIn(server, ann, { viewport: PHONE })
    await tab.add('Book the ferry')
    await phone.shows('Book the ferry')
    await second.goOffline()
    await phone.add('Never sent')
    await phone.hasStatus('Offline · 1 pending')

    await tab.openAccount()
    await tab.button('Delete my account').click()
    const dialog = tab.page.getByRole('dialog', { name: 'Delete the account' })
    await dialog.getByLabel('Password').fill('not mine')
    await dialog.getByRole('button', { name: 'Delete everything' }).click()
    await dialog.locator('.fault').waitFor()
    await photograph(tab, 'delete-account')
    await dialog.getByLabel('Password').fill(ann.password)
    await dialog.getByRole('button', { name: 'Delete everything' }).click()
    for (const one of [tab, beside]) await one.page.getByText('The account was deleted').waitFor()
    expect(await addressBar(tab)).toBe(`${server.url}/`)
    await photograph(tab, 'account-deleted')

    await second.comeBack()
    await phone.page.getByText('The account was deleted').waitFor()
    for (const { page } of [tab, phone])
      await eventually(() => page.evaluate<string[]>(DATABASES)).toEqual([])

    const bob = await server.person()
    await phone.signIn(bob)
    await phone.hasStatus('Synced')
    await phone.shows()
  },
)

const reminders = async ({ call }: Person): Promise<(string | null)[]> =>
  (await call('GET', '/api/tasks/')).body.results.map(
    ({ remind_at }: { remind_at: string | null }) => remind_at,
  )

const TOMORROW_AT_NINE = `(() => {
  const moment = new Date()
  moment.setDate(moment.getDate() + 1)
  moment.setHours(9, 0, 0, 0)
  return moment.toISOString()
})()`

/** The databases of persons, besides that of who is signed in. */
const DATABASES = `indexedDB.databases().then((all) =>
  all.map(({ name }) => name).filter((name) => /[0-9a-f]{8}-[0-9a-f]{4}/.test(name)))`
