import { beforeEach, describe, expect, inject, test } from 'vitest'
import type { Database } from '../../../server/database/connect.ts'
import { addJob } from '../../../server/jobs/queue.ts'
import { SEND_REMINDERS } from '../../../server/reminders/reminders.ts'
import { atEnd } from '../../support/at-end.ts'
import { connectTo } from '../../support/cluster.ts'
import { createDatabase } from '../../support/database.ts'
import { addPeople } from '../../support/due-reminders.ts'
import { idle } from '../../support/jobs.ts'
import { type Mailbox, mailingTo, openMailbox } from '../../support/mailbox.ts'
import { startProcess } from '../../support/processes.ts'
import { SECRET } from '../../support/server.ts'

const CHILD_MS = 90_000
const PEOPLE = 20
const JOBS_AT_ONCE = 10

let db: Database
let url: string
let mailbox: Mailbox
beforeEach(async () => {
  mailbox = await openMailbox()
  const database = await createDatabase()
  db = database.db
  url = database.url
  atEnd(mailbox.close)
  atEnd(database.drop)
})
describe('a worker that is killed', () => {
  test.each<[string, (victim: string) => Promise<Held>]>([
    ['while it takes what is due', () => holdAtInsert()],
    ['when it has named the recipient', (victim) => holdAt('recipient', victim)],
  ])(
    '%s has sent nothing twice, and what it left is sent by the next within seconds',
    async (_when, holdFor) => {
      const victim = await addPeople(db, PEOPLE)
      const held = await holdFor(victim)
      const first = await startWorker()
      await addJob(db, SEND_REMINDERS, {})
      await held.reached
      first.child.kill('SIGKILL')
      await first.exit
      await held.release()
      expect(sentTo(victim)).toBe(0)

      await startWorker()
      await addJob(db, SEND_REMINDERS, {})
      await allSent(PEOPLE)
      expect(copies()).toEqual(Array(PEOPLE).fill(1))
    },
    CHILD_MS,
  )

  test.each<[string, (victim: string) => Promise<Held>]>([
    ['the mail server has all of the message', (victim) => holdAt('message', victim)],
    ['the mail server has kept the message', (victim) => holdAt('answer', victim)],
    ['the mail server has said so', () => holdAtMark()],
  ])(
    'after %s and before that is marked, sends it again under the same name, and no other',
    async (_when, holdFor) => {
      const victim = await addPeople(db, 1)
      const held = await holdFor(victim)
      const first = await startWorker()
      await addJob(db, SEND_REMINDERS, {})
      await held.reached
      first.child.kill('SIGKILL')
      await first.exit
      await held.release()
      await expect.poll(() => sentTo(victim)).toBe(1)
      await addPeople(db, PEOPLE - 1)

      await startWorker()
      await addJob(db, SEND_REMINDERS, {})
      await allSent(PEOPLE)
      expect(copies()).toEqual([...Array(PEOPLE - 1).fill(1), 2])
      const [one, other] = mailbox.delivered.filter(({ recipients }) => recipients[0] === victim)
      expect(one!.mail.messageId).toMatch(/^<[\w-]{36}@tasktide\.example>$/)
      expect(other!.mail.messageId).toBe(one!.mail.messageId)
    },
    CHILD_MS,
  )
})

test(
  'a worker that is killed after a mail is marked leaves a job that does nothing more',
  async () => {
    await addPeople(db, 1)
    const held = await holdAtEndOfJob()
    const first = await startWorker()
    await addJob(db, SEND_REMINDERS, {})
    await held.reached
    await allSent(1)
    first.child.kill('SIGKILL')
    await first.exit
    await held.release()
    const jobs = () => db('graphile_worker.jobs').where({ task_identifier: 'send_mail' }).count()
    expect(await jobs()).toEqual([{ count: '1' }])
    await startWorker()
    await expect.poll(jobs, { timeout: 20_000 }).toEqual([{ count: '0' }])
    expect(copies()).toEqual([1])
  },
  CHILD_MS,
)

test(
  'npm run worker, told to stop, lets what it sends come to its end, and takes nothing new',
  async () => {
    const victim = await addPeople(db, 1)
    const held = await holdAt('message', victim)
    const worker = await startWorker('worker.mjs')
    await addJob(db, SEND_REMINDERS, {})
    await held.reached
    worker.child.kill('SIGTERM')
    await expect.poll(worker.output, { timeout: 10_000 }).toContain('stopping')
    await addPeople(db, 1)
    await addJob(db, SEND_REMINDERS, {})
    expect(worker.child.exitCode).toBeNull()
    await held.release()
    expect(await worker.exit).toBe(0)
    expect(await db('mails').pluck('outcome')).toEqual(['sent'])
    expect(copies()).toEqual([1])
    expect(await db('reminders').count()).toEqual([{ count: '1' }])
  },
  CHILD_MS,
)

test(
  'a worker whose database goes away as it ends a job goes on when that is back',
  async () => {
    await addPeople(db, 1)
    const held = await holdAtEndOfJob()
    const worker = await startWorker()
    await addJob(db, SEND_REMINDERS, {})
    await held.reached
    await allowConnections(false)
    await held.release()
    await expect.poll(worker.output, { timeout: 20_000 }).toContain('cannot start yet')
    await allowConnections(true)
    await addPeople(db, 1)
    await addJob(db, SEND_REMINDERS, {})
    await allSent(2)
    await idle(db)
    expect(copies()).toEqual([1, 1])
    worker.child.kill('SIGTERM')
    expect(await worker.exit).toBe(0)
  },
  CHILD_MS,
)

test(
  'a worker that waits for its database stops when it is told to',
  async () => {
    await addPeople(db, 1)
    const held = await holdAtEndOfJob()
    const worker = await startWorker()
    await addJob(db, SEND_REMINDERS, {})
    await held.reached
    await allowConnections(false)
    await held.release()
    await expect.poll(worker.output, { timeout: 20_000 }).toContain('cannot start yet')
    worker.child.kill('SIGTERM')
    expect(await worker.exit).toBe(0)
    await allowConnections(true)
  },
  CHILD_MS,
)

test(
  'two workers send each of many reminders once',
  async () => {
    await addPeople(db, 200)
    await Promise.all([startWorker(), startWorker()])
    await Promise.all([1, 2, 3, 4].map(() => addJob(db, SEND_REMINDERS, {})))
    await allSent(200)
    await idle(db)
    expect(copies()).toEqual(Array(200).fill(1))
  },
  CHILD_MS,
)

test(
  'workers that are killed again and again lose nothing, and double only what was on its way',
  async () => {
    await addPeople(db, 200)
    const kills = [10, 60, 120]
    for (const count of kills) {
      const worker = await startWorker()
      await addJob(db, SEND_REMINDERS, {})
      await expect
        .poll(() => copies().length, { timeout: 40_000, interval: 1 })
        .toBeGreaterThan(count)
      worker.child.kill('SIGKILL')
      await worker.exit
    }
    await startWorker()
    await addJob(db, SEND_REMINDERS, {})
    await allSent(200)
    expect(copies()).toHaveLength(200)
    const names = new Set(mailbox.delivered.map(({ mail }) => mail.messageId))
    expect(names.size).toBe(200)
    const doubled = mailbox.delivered.length - 200
    expect(doubled).toBeLessThanOrEqual(kills.length * JOBS_AT_ONCE)
  },
  CHILD_MS,
)

interface Held {
  /** Resolves when the worker has come there. */
  reached: Promise<unknown>
  release(): Promise<void>
}

/** Holds a message to this address in the mail server, until all others have gone out. */
async function holdAt(point: 'recipient' | 'message' | 'answer', victim: string): Promise<Held> {
  let release = () => {}
  const gate = new Promise<void>((open) => {
    release = open
  })
  const came = new Promise<void>((come) => {
    mailbox.hold = (at, recipient) => {
      if (at !== point || recipient !== victim) return
      come()
      return gate
    }
  })
  const others = async () => {
    const waiting = () => db('mails').where({ outcome: null }).count()
    await expect.poll(waiting, { timeout: 20_000 }).toEqual([{ count: '1' }])
  }
  return {
    reached: came.then(others),
    async release() {
      mailbox.hold = undefined
      release()
    },
  }
}

const holdAtInsert = () => holdInDatabase('insert on mails')
const holdAtMark = () => holdInDatabase('update on mails')
const holdAtEndOfJob = () => holdInDatabase('delete on graphile_worker._private_jobs')

/** Holds whoever would do this in the database, and in the end cuts them off. */
async function holdInDatabase(event: string): Promise<Held> {
  await db.raw(`
    create function hold() returns trigger language plpgsql as $$
    begin
      perform pg_advisory_xact_lock(1);
      return coalesce(new, old);
    end $$;
    create trigger hold before ${event} execute function hold()`)
  const holder = await db.transaction()
  await holder.raw('select pg_advisory_xact_lock(1)')
  const waiting = () =>
    db('pg_locks').where({ locktype: 'advisory', objid: 1, granted: false }).count()
  return {
    reached: expect.poll(waiting, { timeout: 20_000 }).not.toEqual([{ count: '0' }]),
    async release() {
      await db.raw(`
        select pg_terminate_backend(pid) from pg_locks
        where locktype = 'advisory' and objid = 1 and not granted`)
      await expect.poll(waiting, { timeout: 10_000 }).toEqual([{ count: '0' }])
      await holder.rollback()
      await db.raw(`drop trigger hold ${event.slice(event.indexOf('on '))}`)
    },
  }
}

/** As while a database is moved to another machine. Connections that are there are left. */
async function allowConnections(allowed: boolean): Promise<void> {
  const admin = connectTo(inject('adminUrl'))
  try {
    const name = new URL(url).pathname.slice(1)
    await admin.raw(`alter database ${name} with allow_connections ${allowed}`)
  } finally {
    await admin.destroy()
  }
}

async function startWorker(program: 'worker' | 'worker.mjs' = 'worker') {
  const environment = {
    DATABASE_URL: url,
    SECRET_KEY: SECRET,
    ...mailingTo(mailbox),
    WORKER_CONCURRENCY: String(JOBS_AT_ONCE),
  }
  const worker = await startProcess(program, environment, 'waiting for jobs')
  atEnd(worker.kill)
  return worker
}

async function allSent(count: number): Promise<void> {
  const sent = () => db('mails').where({ outcome: 'sent' }).count()
  await expect.poll(sent, { timeout: 40_000 }).toEqual([{ count: String(count) }])
}

const sentTo = (address: string) =>
  mailbox.delivered.filter(({ recipients }) => recipients[0] === address).length

/** How often each mail has come, fewest first. */
function copies(): number[] {
  const counts = new Map<string, number>()
  for (const { recipients } of mailbox.delivered)
    counts.set(recipients[0]!, (counts.get(recipients[0]!) ?? 0) + 1)
  return [...counts.values()].sort()
}
