import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Task } from '../../protocol/index.ts'
import { ACCESS_SECONDS } from '../../server/accounts/tokens.ts'
import { purgeTombstones } from '../../server/store/purge.ts'
import { backupOf } from '../support/backup.ts'
import { callerTo, type Person, startServer, type TestServer } from '../support/server.ts'
import { createDevice, type Device, type Online, taskProperties } from './rxdb-server-device.ts'

let server: TestServer
let tasks: string
beforeAll(async () => {
  server = await startServer({ LOG_LEVEL: 'silent' })
  tasks = `${server.url}/replication/tasks/0`
})
afterAll(() => server.stop())

const devices: Device<Task>[] = []
afterEach(async () => {
  for (const device of devices.splice(0)) await device.close()
})

describe('the client of rxdb-server', () => {
  test('pulls 2,500 documents when it begins', async () => {
    const person = await server.person()
    for (let batch = 0; batch < 5; batch++) {
      const rows = manyTasks(500).map((task) => ({ newDocumentState: task }))
      const { status } = await person.call('POST', '/replication/tasks/0/push', rows)
      expect(status).toBe(200)
    }
    const phone = await createTaskDevice()
    await phone.online(tasks, person.access).initialReplication
    expect(await phone.count()).toBe(2500)
  })

  test('sends an insert to another device, and takes over what the server filled in', async () => {
    const { phone, laptop } = await twoDevices()
    const id = randomUUID()
    await phone.insert({ id, title: 'from the phone' })
    await laptop.until(id, (task) => task?.title === 'from the phone')
    await phone.until(id, (task) => task?.position)
    expect(await phone.read(id)).toEqual(await laptop.read(id))
  })

  test('hears of what is done by REST', async () => {
    const { phone, laptop, call } = await twoDevices()
    const { id } = (await call('POST', '/api/tasks/', { title: 'by REST' })).body
    for (const device of [phone, laptop]) await device.until(id, (task) => task)
    await call('PATCH', `/api/tasks/${id}/`, { priority: 'high' })
    for (const device of [phone, laptop])
      await device.until(id, (task) => task?.priority === 'high')
    await call('DELETE', `/api/tasks/${id}/`)
    for (const device of [phone, laptop]) await device.until(id, (task) => !task)
  })

  test('loses none of thirty fast edits', async () => {
    const { phone, laptop, id } = await twoDevicesWithATask()
    for (let i = 0; i < 30; i++) await phone.edit(id, { description: `edit ${i}` })
    await laptop.until(id, (task) => task?.description === 'edit 29')
    await phone.until(id, (task) => task?.description === 'edit 29')
  })

  test('sends 3,000 documents at once, in thirty pushes', async () => {
    const { phone, laptop } = await twoDevices()
    await phone.insertMany(manyTasks(3000))
    await laptop.untilCount(3000)
  })

  test('sends a deletion', async () => {
    const { phone, laptop, call, id } = await twoDevicesWithATask()
    await phone.remove(id)
    await laptop.until(id, (task) => !task)
    expect((await call('GET', `/api/tasks/${id}/`)).status).toBe(404)
  })

  test('drops a row that is refused, which is then in the journal', async () => {
    const { phone, call } = await twoDevices()
    const [id, title] = [randomUUID(), 'x'.repeat(501)]
    await phone.insert({ id, title, description: 'three hours of work' })
    await phone.until(id, (task) => !task)
    const { results } = (await call('GET', '/api/conflicts/?cause=refused')).body
    expect(results).toMatchObject([
      { document_id: id, lost: { title, description: 'three hours of work' } },
    ])
  })

  test('is told that its session has ended', async () => {
    const { phone, call, refresh, onPhone } = await twoDevices()
    await call('POST', '/api/logout/', { refresh })
    await phone.insert({ id: randomUUID(), title: 'after the session' })
    await onPhone.unauthorized
  })

  test('goes on by itself with a renewed token after its own has run out', async () => {
    const { phone, laptop, onPhone, onLaptop, refresh, id } = await twoDevicesWithATask()

    server.clock.advance(ACCESS_SECONDS * 1000)
    const renewed = await server.call('POST', '/api/token/refresh/', { refresh })
    const { access } = renewed.body
    const call = callerTo(server.url, { authorization: `Bearer ${access}` })
    await phone.edit(id, { description: 'made without a token' })
    expect((await call('PATCH', `/api/tasks/${id}/`, { priority: 'high' })).status).toBe(200)
    // The laptop has nothing to say: it is told only because its stream ends.
    await Promise.all([onPhone.unauthorized, onLaptop.unauthorized])
    expect(await phone.read(id)).toMatchObject({ priority: 'medium' })
    expect(await laptop.read(id)).toMatchObject({ priority: 'medium', description: '' })

    for (const online of [onPhone, onLaptop]) online.renew(access)
    for (const device of [phone, laptop])
      await device.until(
        id,
        (task) => task?.priority === 'high' && task.description === 'made without a token',
      )
    await agreement([phone, laptop], call)

    await call('PATCH', `/api/tasks/${id}/`, { title: 'heard of on the new stream' })
    for (const device of [phone, laptop])
      await device.until(id, (task) => task?.title === 'heard of on the new stream')
  })
})

describe('two devices and a REST client', () => {
  test('agree after editing one task at once, and no edit of one field hides that of another', async () => {
    const { phone, laptop, call, id } = await twoDevicesWithATask()
    const path = `/api/tasks/${id}/`
    const titles: string[] = []
    for (let round = 1; round <= 5; round++) {
      const [due_date, due_time] = [`2026-12-0${round}`, `0${round}:30`]
      const description = `round ${round}`
      titles.push(`phone ${round}`, `laptop ${round}`, `REST ${round}`)
      const [, , { status }] = await Promise.all([
        phone.edit(id, { title: `phone ${round}`, due_date }),
        laptop.edit(id, { title: `laptop ${round}`, description }),
        call('PATCH', path, { title: `REST ${round}`, due_time }),
      ])
      expect(status).toBe(200)
      for (const device of [phone, laptop])
        await device.until(
          id,
          (task) =>
            task?.due_date === due_date &&
            task.due_time === due_time &&
            task.description === description,
        )
      await agreement([phone, laptop], call)
    }
    const { title } = (await call('GET', path)).body
    expect(titles.slice(-3)).toContain(title)
    // Of two pushes, the second meets a conflict; what REST writes over is seen, not lost.
    const lost = await lostTitles(call)
    expect(lost).not.toEqual([])
    expect(titles).toEqual(expect.arrayContaining(lost))
    expect(lost).not.toContain(title)
  })

  test('agree after editing one task offline, and what lost is in the journal', async () => {
    const { phone, laptop, call, access, id } = await twoDevicesWithATask()
    await Promise.all([phone.offline(), laptop.offline()])
    const [made, other] = [randomUUID(), randomUUID()]
    await phone.insert({ id: made, title: 'made on the phone' })
    await laptop.insert({ id: other, title: 'made on the laptop' })

    server.clock.advance(60_000)
    await laptop.edit(id, { title: 'the laptop, first', priority: 'low' })
    server.clock.advance(60_000)
    await call('PATCH', `/api/tasks/${id}/`, { title: 'REST, second', due_time: '08:30' })
    server.clock.advance(60_000)
    await phone.edit(id, { title: 'the phone, last', due_date: '2026-12-24' })

    phone.online(tasks, access)
    laptop.online(tasks, access)
    for (const device of [phone, laptop]) {
      await device.until(made, (task) => task)
      await device.until(other, (task) => task)
      await device.until(
        id,
        (task) =>
          task?.title === 'the phone, last' &&
          task.due_date === '2026-12-24' &&
          task.priority === 'low' &&
          task.due_time === '08:30',
      )
    }
    await agreement([phone, laptop], call)
    expect((await lostTitles(call)).sort()).toEqual(['REST, second', 'the laptop, first'])
  })

  test('agree on a deletion that one makes while another edits offline', async () => {
    const { phone, laptop, call, access, id } = await twoDevicesWithATask()
    await Promise.all([phone.offline(), laptop.offline()])
    await phone.remove(id)
    await laptop.edit(id, { title: 'edited in vain' })
    await phone.online(tasks, access).initialReplication
    laptop.online(tasks, access)
    await laptop.until(id, (task) => !task)
    await agreement([phone, laptop], call)
    expect(await phone.all()).toEqual([])
    expect(await lostTitles(call)).toEqual(['edited in vain'])
  })
})

test('a device whose server was restored to an older point is told, and begins anew with what it has', async () => {
  const { phone, call, id: userId, access, task } = await onePhone()
  const restore = await backupOf(server.testDatabase, { id: userId })
  await phone.edit(task, { title: 'edited after the backup' })
  const made = randomUUID()
  await phone.insert({ id: made, title: 'made after the backup' })
  await vi.waitFor(async () => expect((await call('GET', `/api/tasks/${made}/`)).status).toBe(200))
  await phone.until(made, (task) => task?.position)
  await phone.offline()
  await restore()
  const online = phone.online(tasks, access)
  await online.expired('lost')
  // Neither the stream nor a later attempt passes it over.
  const { body } = await call('POST', '/api/tasks/', { title: 'made since the restore' })
  await online.expired('lost')
  expect(await phone.read(body.id)).toBeUndefined()

  await phone.forget()
  phone.online(tasks, access)
  await phone.until(body.id, (task) => task)
  await vi.waitFor(async () => expect((await call('GET', `/api/tasks/${made}/`)).status).toBe(200))
  await agreement([phone], call)
  expect((await call('GET', `/api/tasks/${task}/`)).body.title).toBe('edited after the backup')
})

test('a device that missed purged deletions is told, and begins anew without what was deleted', async () => {
  const { phone, call, access, task } = await onePhone()
  const [bread, eggs] = [randomUUID(), randomUUID()]
  for (const [id, title] of [
    [bread, 'Bread'],
    [eggs, 'Eggs'],
  ] as const)
    await call('POST', '/api/tasks/', { id, title })
  await phone.until(eggs, (task) => task)
  await phone.offline()
  await phone.edit(task, { description: 'edited offline' })
  await phone.edit(bread, { description: 'edited offline too' })
  const made = randomUUID()
  await phone.insert({ id: made, title: 'made offline' })
  for (const id of [bread, eggs]) await call('DELETE', `/api/tasks/${id}/`)
  await purgeTombstones(server.testDatabase.db, 0)
  await phone.online(tasks, access).expired('deleted')

  await phone.deliverAndEmpty(tasks, access)
  await phone.online(tasks, access).initialReplication
  await agreement([phone], call)
  const titles = (await phone.all()).map(({ title, description }) => [title, description])
  expect(titles.sort()).toEqual([
    ['made offline', ''],
    ['there from the start', 'edited offline'],
  ])
  const { results } = (await call('GET', '/api/conflicts/')).body
  expect(results).toMatchObject([{ lost: { title: 'Bread', description: 'edited offline too' } }])
})

type Call = Person['call']

async function onePhone() {
  const person = await server.person()
  const { body } = await person.call('POST', '/api/tasks/', { title: 'there from the start' })
  const phone = await createTaskDevice()
  await phone.online(tasks, person.access).initialReplication
  return { ...person, phone, task: body.id as string }
}

/** A new person, with two devices that are online. */
async function twoDevices() {
  const person = await server.person()
  const [phone, laptop] = [await createTaskDevice(), await createTaskDevice()]
  const online: Online[] = []
  for (const device of [phone, laptop]) {
    online.push(device.online(tasks, person.access))
    await online.at(-1)!.initialReplication
  }
  return { ...person, phone, laptop, onPhone: online[0]!, onLaptop: online[1]! }
}

async function twoDevicesWithATask() {
  const scene = await twoDevices()
  const { id } = (await scene.call('POST', '/api/tasks/', { title: 'there from the start' })).body
  for (const device of [scene.phone, scene.laptop]) await device.until(id, (task) => task)
  return { ...scene, id: id as string }
}

/** Waits until both devices hold what REST lists, to the last character. */
async function agreement(devices: Device<Task>[], call: Call): Promise<void> {
  await vi.waitFor(
    async () => {
      const { body } = await call('GET', '/api/tasks/?page_size=100')
      const listed = inOneForm(body.results)
      for (const device of devices) expect(inOneForm(await device.all())).toBe(listed)
    },
    { timeout: 20_000 },
  )
}

function inOneForm(documents: Task[]): string {
  const byId = documents.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  return JSON.stringify(byId.map((document) => Object.entries(document).sort()))
}

async function lostTitles(call: Call): Promise<string[]> {
  const { body } = await call('GET', '/api/conflicts/?page_size=100')
  return body.results.map(({ lost }: { lost: { title: string } }) => lost.title)
}

const manyTasks = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: randomUUID(), title: `task ${i}` }))

async function createTaskDevice(): Promise<Device<Task>> {
  const device = await createDevice<Task>(taskProperties, server.clock.now)
  devices.push(device)
  return device
}
